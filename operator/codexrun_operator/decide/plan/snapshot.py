"""The planner's view of one run: all that may decide what happens to it next."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from codexrun_core import reasons
from codexrun_core.prices.table import UNKNOWN_PRICES, Prices
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_operator.decide.observed import Event, Job, Pod
from codexrun_operator.decide.plan.pod_start_problem import StartProblem, start_problem
from codexrun_operator.decide.run_reader import unreadable_fields
from codexrun_operator.decide.validation import Accepted, Missing, Rejected, validate_run

# A younger Job is merely starting: mounts fail at first where a kubelet has not yet heard of a
# ConfigMap, for one.
WARNINGS_AFTER = timedelta(seconds=5)


@dataclass(frozen=True)
class Blocked:
    """The cause that keeps a run waiting although a slot may be free; `message` is the middle of a
    sentence."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All there is to know about one run.

    `queued`: how many other runs of its job type wait. `waits`: whether this one has its place
    among them. `admitted`: whether it may take a slot now. `unreadable`: what it names that is
    there and cannot be read, "" for nothing. `missing_for`: how long this process has observed that
    something it names is not there. `source`: the run that this one resumes, if its object is
    there. `creating`: its Job's creation was sent, and the Job has not come on the watch yet.
    `witnessed`: this operator observed the deletion of what is missing now. `warnings`: those of
    Kubernetes about its Job and pod, newest last.

    A Job or pod that is None is unknown, as watches may be behind. Only where `absence_proven` it
    does not exist: the apiserver was asked for this very decision. A rule that concludes from
    absence, or sees Job and pod contradict each other, asks for that first (READ_LIVE).
    """

    run: CodexRun
    job_type: CodexJobType | None = None
    prompt: Prompt | None = None
    prices: Prices = UNKNOWN_PRICES
    source: CodexRun | None = None
    queued: int = 0
    waits: bool = False
    blocked: Blocked | None = None
    unreadable: str = ""
    missing_for: timedelta = timedelta()
    admitted: bool = False
    creating: bool = False
    job: Job | None = None
    pod: Pod | None = None
    absence_proven: bool = False
    witnessed: bool = False
    warnings: tuple[Event, ...] = ()

    @cached_property
    def verdict(self) -> Accepted | Rejected | Missing | None:
        """The run against its job type and prompt; None while there is no job type."""
        return (
            validate_run(self.run, self.job_type, self.prompt, self.prices, self.source)
            if self.job_type
            else None
        )

    @property
    def readable(self) -> bool:
        """Whether the run was read in full, and what it names can be read."""
        return not (self.unreadable or unreadable_fields(self.run))

    @property
    def missing(self) -> str | None:
        """What a run that has not begun waits for, as the reason that says so; None if it is there
        or unreadable."""
        if self.begun or not self.readable:
            return None
        if self.job_type is None:
            return reasons.JOB_TYPE_NOT_FOUND
        return self.verdict.reason if isinstance(self.verdict, Missing) else None

    def start_problem(self, now: datetime) -> StartProblem:
        """Return why the agent does not run. Warnings count WARNINGS_AFTER a pod is due.

        Raises:
            ValueError: there is no Job.
        """
        if self.job is None:
            raise ValueError(f"{self.run.metadata.name} has no Job")
        since = self.job.expects_pod_since
        old = since is not None and now - since > WARNINGS_AFTER
        return start_problem(self.job, self.pod, self.warnings if old else ())

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
