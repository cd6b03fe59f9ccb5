"""The planner's answer: actions on the cluster, and the status that the run gets."""

from dataclasses import dataclass

from codexrun_core.resources import RunStatus
from codexrun_operator.decide.validation import Accepted


@dataclass(frozen=True)
class CreateJob:
    """Create the Job of `attempt`; one of that name is this one."""

    attempt: int
    accepted: Accepted


@dataclass(frozen=True)
class StopPod:
    """End the containers of a pod and keep the object, with what they say at their end: its
    `activeDeadlineSeconds` become STOP_DEADLINE_SECONDS. The kubelet then ends them as it does for
    a deletion (preStop, order, grace)."""

    name: str
    uid: str


@dataclass(frozen=True)
class DeletePod:
    """Delete a pod whose evidence is recorded, or whose agent has never run."""

    name: str
    uid: str


@dataclass(frozen=True)
class ReleaseEvidence:
    """Take off the pod the finalizer with which earlier versions have held it."""

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


Action = CreateJob | StopPod | DeletePod | ReleaseEvidence | SuspendJob | DeleteJob


@dataclass(frozen=True)
class Decision:
    """Actions, then at most one status write; `look_again` is in seconds, for what no event will
    announce. With `read_live` nothing of that: the decision would follow from the absence of a Job
    or pod, or from a pod that its Job contradicts, so that the apiserver is to be asked for both,
    and the plan made again."""

    actions: tuple[Action, ...] = ()
    status: RunStatus | None = None
    look_again: float | None = None
    waiting: bool = False  # valid, and in the queue for a slot
    read_live: bool = False

    @property
    def starts(self) -> bool:
        return any(isinstance(action, CreateJob) for action in self.actions)


NOTHING = Decision()
READ_LIVE = Decision(read_live=True)
