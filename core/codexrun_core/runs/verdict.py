"""What the operator's answer to a new run means, for REST api and command line. Pure."""

from dataclasses import dataclass
from enum import Enum

from codexrun_core import reasons
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.annotations import DELETE_IF_REJECTED

# A run that kubectl made waits a minute for these; who sends a request or types a command does not.
_MISSING = frozenset({reasons.JOB_TYPE_NOT_FOUND, reasons.PROMPT_NOT_FOUND})

# The same request may be accepted later.
_FULL = frozenset(
    {
        reasons.CONCURRENCY_LIMIT,
        reasons.SUSPENDED,
        reasons.JOB_TYPE_HELD,
        reasons.JOB_REFUSED,
        reasons.QUEUE_FULL,
    }
)


class Verdict(Enum):
    PENDING = "pending"  # the operator has not answered yet
    QUEUED = "queued"  # accepted; it waits for a slot
    ADMITTED = "admitted"  # accepted, with a slot, or past that
    REFUSED = "refused"

    @property
    def final(self) -> bool:
        """Whether the operator has answered."""
        return self is not Verdict.PENDING


class RefusalKind(Enum):
    """Why a run is refused, as far as its caller can do something about it."""

    FULL = "full"  # try again later, or let it wait
    JOB_TYPE_NOT_FOUND = "job type not found"
    INVALID = "invalid"  # correct the request


@dataclass(frozen=True)
class Refusal:
    """A refused run, for its caller. reason: one CamelCase word; message: the same for people."""

    kind: RefusalKind
    reason: str
    message: str


def read_verdict(phase: str, reason: str | None) -> Verdict:
    """Return what the operator has answered, from a run's status.phase and status.reason."""
    if phase == Phase.REJECTED:
        return Verdict.REFUSED
    if phase == Phase.PENDING:
        return Verdict.REFUSED if reason in _MISSING else Verdict.PENDING
    return Verdict.QUEUED if phase == Phase.QUEUED else Verdict.ADMITTED


def verdict_of(run: CodexRun) -> Verdict:
    """Return what the operator has answered to a run."""
    return read_verdict(run.status.phase, run.status.reason)


def read_refusal(reason: str | None, message: str | None) -> Refusal:
    """Return why a run is refused, from the status.reason and status.message of one that is."""
    reason = reason or "Rejected"
    kind = RefusalKind.INVALID
    if reason == reasons.JOB_TYPE_NOT_FOUND:
        kind = RefusalKind.JOB_TYPE_NOT_FOUND
    elif reason in _FULL:
        kind = RefusalKind.FULL
    return Refusal(kind, reason, message or "the operator rejected the run")


def is_provisional(run: CodexRun) -> bool:
    """Tell a run whose caller still waits for the first verdict, or was refused by it. One that was
    queued is none: its caller has been told of it."""
    if run.metadata.annotations.get(DELETE_IF_REJECTED) != "true":
        return False
    was_queued = any(condition.type == "Admitted" for condition in run.status.conditions)
    return run.status.phase is Phase.PENDING or (
        run.status.phase is Phase.REJECTED and not was_queued
    )
