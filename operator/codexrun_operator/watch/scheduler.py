"""Which run of a job type starts next: its queue, its free slots, and its hold while the apiserver
refuses its Jobs. The only place that reserves a slot.

A run that waits costs nothing before its turn comes. It is looked at when it is among as many of
the best as slots are free: because one was given back, a hold ended, or others left the queue.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from codexrun_core.refusals import Cause
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_operator.decide.holds import Holds
from codexrun_operator.decide.slots import QueueKey, RunQueue, Slots, may_start, next_to_start
from codexrun_operator.watch.keys import Key, Kind, run_key
from codexrun_operator.watch.ledger import SlotLedger

Json = dict[str, Any]


class Scheduler:
    """The queues of all job types, by name. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        enqueue: Callable[[Key], None],
        clock: Callable[[], float],
        job_types: Mapping[str, CodexJobType],
        ledger: SlotLedger,
    ) -> None:
        self._enqueue = enqueue
        self._clock = clock
        self._job_types = job_types
        self._ledger = ledger
        self.queues: dict[str, RunQueue] = defaultdict(RunQueue)
        self.holds = Holds()

    # -- the queue -------------------------------------------------------------------------------

    def join(self, run: CodexRun) -> None:
        """Put the run in the queue, or to its new place there."""
        if self.queues[run.spec.job_type].put(queue_key(run)):
            self.offer(run.spec.job_type)  # it may have gone behind others

    def leave(self, run: CodexRun) -> None:
        """The run waits for no slot any more; one that was free for it is the next one's."""
        if self._remove(run.spec.job_type, run.metadata.uid):
            self.offer(run.spec.job_type)

    def queue_of(self, job_type: str) -> RunQueue:
        """The runs of a job type that wait, to look at: of one that nobody waits for no queue is
        kept, as anybody may make names up."""
        return self.queues.get(job_type) or RunQueue()

    def _remove(self, job_type: str, uid: str) -> bool:
        queue = self.queue_of(job_type)
        removed = queue.remove(uid)
        if not queue:
            self.queues.pop(job_type, None)
        return removed

    def forget(self, run: CodexRun) -> None:
        """The run is over."""
        self.holds.forget_run(run.spec.job_type, run.metadata.uid)
        self.leave(run)

    def offer(self, job_type: str) -> None:
        """Look at the runs for which a slot is free."""
        slots = self._slots(job_type)
        if not slots.free:
            return
        if self.holds.of(job_type):
            self._enqueue(Key(Kind.PROBE, job_type))
            return
        queue = self.queue_of(job_type)
        for key in next_to_start(queue, slots, self._passed_over(job_type)):
            self._enqueue(run_key(key.uid))

    # -- whose turn it is ------------------------------------------------------------------------

    def may_start(self, run: CodexRun) -> bool:
        """Whether the run gets a slot now: it is among the best of those who wait, or the one whose
        turn it is to try."""
        name = run.spec.job_type
        slots = self._slots(name)
        if not slots.free or not self._may_try(name):
            return False
        own = queue_key(run)
        if self.holds.of(name):
            slots = Slots(limit=1, holders=0)  # one at a time
        return may_start(own, self.queue_of(name), slots, self._passed_over(name, own))

    def next_to_try(self, job_type: str) -> str | None:
        """The run that may try now although its job type is held; None if none may yet, or no slot
        is free."""
        if not self._slots(job_type).free or not self._may_try(job_type):
            return None
        best = self.queue_of(job_type).best(1, self._passed_over(job_type))
        return best[0].uid if best else None

    def _slots(self, job_type: str) -> Slots:
        resource = self._job_types.get(job_type)
        if resource is None:
            return Slots(limit=0, holders=0)
        return Slots(
            limit=resource.spec.concurrency_limit,
            holders=self._ledger.taken(job_type),
            suspended=resource.spec.suspended,
        )

    def _may_try(self, job_type: str) -> bool:
        """Whether a creation may be sent at all: while the job type is held one at a time, and not
        too soon."""
        hold = self.holds.of(job_type)
        return hold is None or (
            hold.due <= self._clock() and not self._ledger.awaits_answer(hold.prober)
        )

    def _passed_over(self, job_type: str, newcomer: QueueKey | None = None) -> set[str]:
        """The runs whose own Job was refused, and that may not try now."""
        first = min(
            [*self.queue_of(job_type).best(1), *([newcomer] if newcomer else [])], default=None
        )
        return self.holds.ineligible(job_type, first.uid if first else "", self._clock())

    # -- creations -------------------------------------------------------------------------------

    def reserve(self, run: CodexRun, body: Json) -> None:
        """Count the slot before the Job's creation is sent."""
        uid = run.metadata.uid
        job_type = run.spec.job_type
        self._ledger.reserve(uid, job_type, body)
        self._remove(job_type, uid)
        if hold := self.holds.of(job_type):
            hold.prober = uid

    def record_creation(self, uid: str, job_type: str) -> None:
        """The run's Job was created."""
        if self.holds.record_creation(job_type, uid, self._clock()):
            self._enqueue(Key(Kind.PROBE, job_type))

    def record_unknown(self, uid: str, job_type: str) -> None:
        """The answer to the creation was lost."""
        self.holds.record_unknown(job_type, uid, self._clock())
        self._enqueue(Key(Kind.PROBE, job_type))

    def record_refusal(
        self, uid: str, job_type: str, cause: Cause, message: str, run: CodexRun | None
    ) -> None:
        """The apiserver has refused the Job of a run, which waits again where it waited before;
        None: it is over."""
        self.holds.record_refusal(job_type, uid, cause, message, self._clock())
        if run is None:
            self.holds.forget_run(job_type, uid)
        elif run.spec.when_full == "Queue":
            self.queues[job_type].put(queue_key(run))
        self._enqueue(Key(Kind.JOB_TYPE, job_type))
        self._enqueue(Key(Kind.PROBE, job_type))


def queue_key(run: CodexRun) -> QueueKey:
    created = run.metadata.creation_timestamp
    assert created is not None
    return QueueKey(-run.spec.priority, created.timestamp(), run.metadata.uid)
