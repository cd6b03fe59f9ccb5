"""Names of new runs: fresh ones, those of idempotency keys, and those of retries. Pure; standard
library only, since the command line imports this module at every start."""

import secrets
import uuid

MAX_JOB_TYPE_CHARACTERS = 50  # of a job type's name in a run's name
MAX_STEM_CHARACTERS = 46  # of the earlier run's name in its retry's name

# Namespace of names that derive from idempotency keys. Another one would make a second run of a
# request that is repeated across an upgrade.
_KEY_NAMESPACE = uuid.UUID("6f6b8f0c-6f0a-5b0e-9d55-0f2f6f8a1c11")


def name_of(job_type: str, user: str, key: str | None) -> str:
    """Return the name of a run to start: derived from user and key, or a new one without a key."""
    return keyed_name(user, key) if key else fresh_name(job_type)


def fresh_name(job_type: str) -> str:
    """Return a name that no run has."""
    return f"{job_type[:MAX_JOB_TYPE_CHARACTERS].rstrip('-')}-{secrets.token_hex(4)}"


def keyed_name(user: str, key: str) -> str:
    """Return the one name of all requests of this user with this idempotency key."""
    return "run-" + uuid.uuid5(_KEY_NAMESPACE, f"{user}\n{key}").hex[:20]


def retry_name(name: str, run_id: str, earlier_retries: int) -> str:
    """Return a retry's name: the same for calls at the same time, another one once a retry has
    ended.

    Args:
        name: the earlier run's.
        run_id: the earlier run's.
        earlier_retries: how many retries of that run there have been.
    """
    stem = name.split("-retry-", maxsplit=1)[0][:MAX_STEM_CHARACTERS].rstrip("-.")
    return f"{stem}-retry-{uuid.uuid5(uuid.UUID(run_id), str(earlier_retries)).hex[:8]}"
