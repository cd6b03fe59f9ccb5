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
        # runs whose Job was deleted before anything told of a pod, until a live read has looked
        self.unproven: set[str] = set()

    def reserve(self, uid: str, job_type: str, body: Json) -> None:
        """Take a slot, before the Job's creation is sent."""
        self.creations[uid] = Creation(job_type, body)
        self.holders[job_type].add(uid)

    def recount(self, uid: str, job_type: str, job: Job | None, pod: Pod | None) -> bool:
        """Count one run anew, from its Job and pod as they are known; return whether it has given
        its slot back."""
        if (
            uid in self.creations
            or uid in self.unproven
            or (job is not None and (job.held_back or not job.gone))
            or (pod is not None and pod.holds_slot)
        ):
            self.holders[job_type].add(uid)
            return False
        holders = self.holders.get(job_type, set())
        freed = uid in holders
        holders.discard(uid)
        if not holders:
            self.holders.pop(job_type, None)  # anybody may make names of job types up
        return freed

    def taken(self, job_type: str) -> int:
        """Return how many slots of a job type are taken."""
        return len(self.holders.get(job_type, ()))

    def awaits_answer(self, uid: str) -> bool:
        """Return whether a creation is under way for the run; one whose answer was lost is not
        waited for by others."""
        creation = self.creations.get(uid)
        return creation is not None and not (creation.confirmed or creation.doubtful)
