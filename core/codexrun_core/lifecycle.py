"""The vocabulary of a run's life: phases, their order, and the classes of failure.

Phases are derived from conditions for people (Kubernetes API conventions, "typical status properties"); conditions are the
record. Terminal phases never change again. docs/architecture.md has the table.
"""

from enum import StrEnum


class Phase(StrEnum):
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
        return self in TERMINAL

    @property
    def rank(self) -> int:
        """Position within one attempt: nothing goes to a smaller rank, and all terminal phases share the last one."""
        return min(list(Phase).index(self), list(Phase).index(Phase.SUCCEEDED))


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED})

# What a watch that only wants live runs sends to the server (KEP-4358, selectable fields of custom resources).
LIVE_RUNS_SELECTOR = ",".join(f"status.phase!={phase}" for phase in Phase if phase.terminal)


class FailureClass(StrEnum):
    """Why a run failed, for people and as a metric label: a closed list."""

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
    SILENT_DEATH = "silent_death"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether the same run, started again unchanged, has a fair chance: the cause lies outside of it."""
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
