"""The vocabulary of a run's life: phases, their order, statuses, and the classes of failure.

Phases are derived from conditions for people (Kubernetes API conventions, "typical status
properties"); conditions are the record. Terminal phases never change again. docs/architecture.md
has the table.
"""

from enum import StrEnum
from typing import Self


class OpenEnum(StrEnum):
    """A closed list for what this version writes, an open one for what it reads.

    A newer operator may write a value that this version does not know; it is read as text: equal to
    that text, shown as it is, and no member of the list (`known` is False).
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = value
        unknown._value_ = value
        return unknown

    @property
    def known(self) -> bool:
        return self.value in type(self)._value2member_map_


class Phase(OpenEnum):
    PENDING = "Pending"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL_PHASES

    @property
    def rank(self) -> int:
        """Return the position within one attempt: nothing goes to a smaller rank, and all terminal
        phases share the last one.

        What is not known stands above all, so that nothing is started or written in its place.
        """
        return _RANKS.get(self, UNKNOWN_RANK)


_RANKS = {
    phase: min(place, list(Phase).index(Phase.SUCCEEDED)) for place, phase in enumerate(Phase)
}
# The registry keeps ranks: no later list of phases may come to mean something by it.
UNKNOWN_RANK = 1000

TERMINAL_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED})
LIVE_PHASES = tuple(phase for phase in Phase if phase not in TERMINAL_PHASES)
SLOT_PHASES = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})  # a pod's slot is taken

# A status is what people see of a run, and what a row of the registry has: its phase in lower case,
# or DELETED for a row whose object went while nobody watched. That is no phase, for how the run
# ended is not known.
DELETED = "deleted"
STATUSES = (*(phase.lower() for phase in Phase), DELETED)
LIVE_STATUSES = tuple(phase.lower() for phase in LIVE_PHASES)
TERMINAL_STATUSES = frozenset(phase.lower() for phase in TERMINAL_PHASES)
SLOT_STATUSES = frozenset(phase.lower() for phase in SLOT_PHASES)
ENDED_STATUSES = TERMINAL_STATUSES | {DELETED}  # such a run never moves again

# What a watch that only wants live runs sends to the server (KEP-4358, selectable fields of custom
# resources).
LIVE_RUNS_SELECTOR = ",".join(
    f"status.phase!={phase}" for phase in Phase if phase in TERMINAL_PHASES
)


class FailureClass(OpenEnum):
    """Class of the failure, also used as a metric label."""

    AUTH = "auth"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    BUDGET = "budget"
    TIMEOUT = "timeout"
    STALL = "stall"
    OOM = "oom"
    STORAGE = "storage"
    EVICTED = "evicted"
    NODE_LOST = "node_lost"
    IMAGE = "image"
    UNSCHEDULABLE = "unschedulable"
    WORKSPACE = "workspace"
    CONFIG = "config"
    GUARDRAIL = "guardrail"
    AGENT_ERROR = "agent_error"
    MODEL_ERROR = "model_error"
    POLICY = "policy"
    SILENT_DEATH = "silent_death"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Return whether the same run, started again unchanged, has a fair chance, as its cause is
        mostly outside of the run. What saw the failure may say otherwise of this one."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        FailureClass.RATE_LIMIT,
        FailureClass.STALL,
        FailureClass.EVICTED,
        FailureClass.NODE_LOST,
        FailureClass.UNSCHEDULABLE,
        FailureClass.MODEL_ERROR,
        FailureClass.SILENT_DEATH,
        FailureClass.INTERNAL,
    }
)
