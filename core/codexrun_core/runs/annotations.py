"""What the REST facade writes on the runs that it makes, and what others read there."""

from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase

REQUESTED_BY = "codexrun.dev/requested-by"
ORIGIN = "codexrun.dev/origin"  # api, cli, console, kubectl
REQUEST_ID = "codexrun.dev/request-id"
# of the body, so that a repeated Idempotency-Key is held against it
REQUEST_SHA256 = "codexrun.dev/request-sha256"

# "true": nobody has been told of this run yet. If it is Rejected it never was: no row, and the
# object goes at once.
DELETE_IF_REJECTED = "codexrun.dev/delete-if-rejected"


def untold(run: CodexRun) -> bool:
    """A run whose caller still waits for the first verdict, or was refused by it; one that was
    queued has been told of."""
    if run.metadata.annotations.get(DELETE_IF_REJECTED) != "true":
        return False
    queued = any(condition.type == "Admitted" for condition in run.status.conditions)
    return run.status.phase is Phase.PENDING or (run.status.phase is Phase.REJECTED and not queued)
