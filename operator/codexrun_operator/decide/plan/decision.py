"""The planner's question and answer: what was seen of a run, and what to do about it."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from codexrun_core import reasons
from codexrun_core.prices.table import UNKNOWN_PRICES, Prices
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, CodexRun, RunStatus
from codexrun_core.resources.phases import Phase
from codexrun_operator.decide.observed import Event, Job, Pod
from codexrun_operator.decide.validation import Accepted, Missing, Refused, judge


@dataclass(frozen=True)
class Blocked:
    """What keeps a run waiting although a slot may be free; `trouble` is the middle of a
    sentence."""

    reason: str
    trouble: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All there is to know about one run.

    `queued` is how many other runs of its job type wait, `waits` whether this one has its place
    among them, `admitted` the answer of admission (may it take a slot now?), `unreadable` what it
    names that is there and cannot be read, `missing_for` how long this process has seen that
    something it names is not there, `creating` that its Job's creation was sent and has not been
    seen yet, `witnessed` that this operator saw the deletion of what is missing now.
    """

    run: CodexRun
    job_type: CodexJobType | None = None
    prompt: Prompt | None = None
    prices: Prices = UNKNOWN_PRICES
    queued: int = 0
    waits: bool = False
    blocked: Blocked | None = None
    unreadable: str = ""
    missing_for: timedelta = timedelta()
    admitted: bool = False
    creating: bool = False
    job: Job | None = None
    pod: Pod | None = None
    witnessed: bool = False
    warnings: tuple[Event, ...] = ()

    @cached_property
    def verdict(self) -> Accepted | Refused | Missing | None:
        """The run against its job type and prompt; None while there is no job type."""
        return judge(self.run, self.job_type, self.prompt, self.prices) if self.job_type else None

    @property
    def missing(self) -> str | None:
        """What a run that has not begun waits for, as the reason that says so; None if it is there
        or unreadable."""
        if self.begun or self.unreadable:
            return None
        if self.job_type is None:
            return reasons.JOB_TYPE_NOT_FOUND
        return self.verdict.reason if isinstance(self.verdict, Missing) else None

    @property
    def phase(self) -> Phase:
        return self.run.status.phase

    @property
    def begun(self) -> bool:
        """Something was started for it, now or before, even if no status says so: nothing may be
        started again."""
        status = self.run.status
        traces = self.job is not None or self.pod is not None or self.witnessed
        return traces or status.attempt is not None or status.phase.rank > Phase.QUEUED.rank


@dataclass(frozen=True)
class CreateJob:
    """Create the Job of `attempt`; one of that name is this one."""

    attempt: int
    accepted: Accepted


@dataclass(frozen=True)
class StopPod:
    """Hold the evidence (finalizer first: none can be added once a deletion has begun), then delete
    the pod."""

    name: str
    uid: str


@dataclass(frozen=True)
class ReleaseEvidence:
    """Take our finalizer off the pod."""

    name: str
    uid: str


@dataclass(frozen=True)
class SuspendJob:
    """No pod is on a node: suspending makes sure that none gets there."""

    name: str


@dataclass(frozen=True)
class DeleteJob:
    """Delete a suspended Job, which anyone could resume. Always with a propagation policy: without,
    REST orphans its pod."""

    name: str
    uid: str


Action = CreateJob | StopPod | ReleaseEvidence | SuspendJob | DeleteJob


@dataclass(frozen=True)
class Decision:
    """Actions, then at most one status write; `look_again` is in seconds, for what no event will
    announce."""

    actions: tuple[Action, ...] = ()
    status: RunStatus | None = None
    look_again: float | None = None
    waiting: bool = False  # valid, and in the queue for a slot

    @property
    def starts(self) -> bool:
        return any(isinstance(action, CreateJob) for action in self.actions)


NOTHING = Decision()
