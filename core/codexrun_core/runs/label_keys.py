"""Names in the cluster: the keys of the labels that codexrun sets, its finalizer, and the names of
attempts' Jobs. Pure."""

import re

RUN_NAME_LABEL = "codexrun.dev/run"
RUN_UID_LABEL = "codexrun.dev/run-uid"
JOB_TYPE_LABEL = "codexrun.dev/job-type"
ATTEMPT_LABEL = "codexrun.dev/attempt"

PROMPT_LABEL = "codexrun.dev/prompt"
PROMPT_VERSION_LABEL = "codexrun.dev/prompt-version"

QUEUE_NAME_LABEL = "kueue.x-k8s.io/queue-name"  # Kueue's, on Jobs

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "codexrun"

# On a pod: its end is not yet recorded.
EVIDENCE_FINALIZER = "codexrun.dev/evidence"

# RFC 1123 subdomain: what the apiserver takes as metadata.name of every kind that is used here
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
MAX_NAME_CHARACTERS = 253


def is_object_name(name: str) -> bool:
    """Return whether an object of that name can exist; no such name means anything in a URL."""
    return len(name) <= MAX_NAME_CHARACTERS and OBJECT_NAME.fullmatch(name) is not None


def job_name(run: str, uid: str, attempt: int) -> str:
    """Return the name of an attempt's Job: the operator makes it so, and the api holds a pod's
    controller to it.

    Derived from uid and attempt, so that "already exists" means "done before"; the run's name is
    for people.
    """
    return f"{run[:40].rstrip('-.')}-{uid[:8]}-{attempt}"


def is_job_name(name: str, run: str, uid: str) -> bool:
    """Return whether that is the name of the Job of any attempt of the run."""
    prefix = job_name(run, uid, 0)[:-1]
    return name.startswith(prefix) and name[len(prefix) :].isdecimal()
