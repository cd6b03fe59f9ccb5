"""Who holds a slot: the one place that counts, apart from what the watches have told.

A run holds its slot from before its Job's creation is sent until nothing of it can run any more.
What says so is the Job controller, the pod's own end, or a live read; that a watch shows nothing
says nothing.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from codexrun_operator.decide.observed import Job, Pod

Json = dict[str, Any]


@dataclass
class Creation:
    """A Job's creation that was sent; `confirmed` when the apiserver has answered. It holds a slot
    until the watch shows the Job."""

    job_type: str
    body: Json
    confirmed: bool = False
    doubtful: bool = False  # an answer was lost: it may exist
    checks: int = 0  # in vain, whether the watch has shown the Job since


class SlotLedger:
    """Slots by job type and run uid."""

    def __init__(self) -> None:
        self.creations: dict[str, Creation] = {}
        self.holders: dict[str, set[str]] = defaultdict(set)  # job type -> run uids
        self._job_types: dict[str, str] = {}  # run uid -> job type whose slot it holds
        # runs whose Job was deleted before anything told of a pod, until a live read has looked
        self.unproven: set[str] = set()

    def reserve(self, uid: str, job_type: str, body: Json) -> None:
        """Take a slot, before the Job's creation is sent."""
        self.creations[uid] = Creation(job_type, body)
        self._hold(uid, job_type)

    def recount(
        self, uid: str, job_type: str, job: Job | None, pod: Pod | None, *, certain: bool
    ) -> str | None:
        """Count one run anew, from its Job and pod as they are known; return the job type whose
        slot it has given back, if it has.

        `certain` if the run itself names the job type. A label does not change where a slot is
        held: anybody may have edited it.
        """
        held = self._job_types.get(uid)
        if not (
            uid in self.creations
            or uid in self.unproven
            or (job is not None and job.holds_slot)
            or (pod is not None and pod.holds_slot)
        ):
            return self._release(uid)
        if held == job_type or (held is not None and not certain):
            return None
        freed = self._release(uid)
        self._hold(uid, job_type)
        return freed

    def _hold(self, uid: str, job_type: str) -> None:
        self._job_types[uid] = job_type
        self.holders[job_type].add(uid)

    def _release(self, uid: str) -> str | None:
        job_type = self._job_types.pop(uid, None)
        if job_type is None:
            return None
        self.holders[job_type].discard(uid)
        if not self.holders[job_type]:
            del self.holders[job_type]  # anybody may make names of job types up
        return job_type

    def taken(self, job_type: str) -> int:
        """Return how many slots of a job type are taken."""
        return len(self.holders.get(job_type, ()))

    def awaits_answer(self, uid: str) -> bool:
        """Return whether a creation is under way for the run; one whose answer was lost is not
        waited for by others."""
        creation = self.creations.get(uid)
        return creation is not None and not (creation.confirmed or creation.doubtful)
