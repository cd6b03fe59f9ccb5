"""The keys of the work queue: what kind of object is to be looked at, and which one."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a key asks for; the value is the metrics' label `handler`."""

    RUN = "run"  # by uid: the planner's turn
    JOB_TYPE = "jobtype"  # by name: its Ready condition
    PROBE = "probe"  # by job type: one of its runs may try, although the apiserver refuses its Jobs
    STRAY = "stray"  # by run uid: the run seems over, while its Job or pod is not
    ORPHAN = "orphan"  # by Job uid: a Job that no run controls
    EVIDENCE = "evidence"  # by run uid: a pod is held for a run that is over
    EXPIRY = "expire"  # by run name: a finished run may have to be deleted


class Key(NamedTuple):
    """One object to look at; as text, what the log shows."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return self.name if self.kind is Kind.RUN else f"{self.kind}/{self.name}"


def run_key(uid: str) -> Key:
    """Return the key under which the planner looks at a run."""
    return Key(Kind.RUN, uid)
