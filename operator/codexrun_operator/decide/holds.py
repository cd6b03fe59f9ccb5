"""Holds on job types whose Jobs the apiserver refuses: one run tries, with a growing pause, and the
others wait.

Pure; times are in seconds of a monotonic clock.

The first in the queue tries. Where the refusal may be about its own Job (a policy, an invalid
field), each other run may try once after the first has had its three tries, so that one bad run
holds nobody up; who keeps being refused while others pass is passed over and tries again now and
then. A try that succeeds ends the hold for all."""

from dataclasses import dataclass, field

from codexrun_core.refusals import Cause

FIRST_PAUSE_SECONDS = 1.0  # between tries
MAX_PAUSE_SECONDS = 60.0
FIRST_RUN_TRIES = 3  # of the first in the queue, before it is passed over
OTHER_RUN_TRIES = 1  # of each other run
NOTIFY_AFTER_REFUSALS = 3  # in a row; a shorter hold is not worth a status write per waiting run
# A hold that comes and goes (quota) costs a waiting run one write in this time at most.
NOTIFY_SECONDS = 60.0


@dataclass
class Hold:
    """A job type's hold. `prober` is the run that tries, or tried last; `due` is when the next
    may."""

    cause: Cause
    message: str
    prober: str
    due: float
    refusals: int = 1

    def put_off(self, now: float) -> None:
        """Count a try in vain; the next one may come after a longer pause."""
        self.due = now + min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self.refusals)
        self.refusals += 1


@dataclass
class RunRefusals:
    """The refusals of one run's own Job; `due` is when it may try again, once it is passed over."""

    count: int
    due: float
    message: str


@dataclass
class JobTypeQueue:
    """The hold of one job type, and the refusals of its runs.

    `notified` is the cause that the waiting runs were last told of, and when.
    """

    hold: Hold | None = None
    refusals: dict[str, RunRefusals] = field(default_factory=dict)  # by run uid
    notified: tuple[Cause | None, float] = (None, float("-inf"))


class Holds:
    """The holds of all job types, by name."""

    def __init__(self) -> None:
        self._queues: dict[str, JobTypeQueue] = {}

    def of(self, job_type: str) -> Hold | None:
        """Return the hold on a job type, if there is one."""
        queue = self._queues.get(job_type)
        return queue.hold if queue else None

    def passed_over(self, job_type: str, uid: str, now: float) -> RunRefusals | None:
        """Return the run's own refusals while it is passed over, although its job type is not
        held."""
        queue = self._queues.get(job_type)
        refusals = queue.refusals.get(uid) if queue and not queue.hold else None
        return refusals if refusals and refusals.due > now else None

    def record_refusal(
        self, job_type: str, uid: str, cause: Cause, message: str, now: float
    ) -> bool:
        """Record that the apiserver has refused this run's Job; return whether the job type is held
        now."""
        queue = self._queues.setdefault(job_type, JobTypeQueue())
        hold = queue.hold
        if hold and uid != hold.prober:
            return True  # it was under way when the hold began, and says nothing new
        if cause.about_the_object:
            refusals = queue.refusals.setdefault(uid, RunRefusals(0, 0.0, message))
            refusals.count += 1
            refusals.due = now + MAX_PAUSE_SECONDS
            refusals.message = message
            if hold is None and refusals.count > FIRST_RUN_TRIES:
                return False  # others have passed since: it is this run alone
        if hold is None:
            queue.hold = Hold(cause, message, uid, now + FIRST_PAUSE_SECONDS)
            return True
        hold.put_off(now)
        if hold.cause is not cause:
            # Within one cause the first message stays: numbers in it would be a status write each
            # time.
            hold.cause = cause
            hold.message = message
        return True

    def record_unknown(self, job_type: str, uid: str, now: float) -> None:
        """Record a try of unknown outcome: the next one is another run's, after the same growing
        pause."""
        hold = self.of(job_type)
        if hold and hold.prober == uid:
            hold.put_off(now)

    def record_creation(self, job_type: str, uid: str, now: float) -> bool:
        """Record that this run's Job was created; return whether that has ended a hold.

        A Job sent before the hold proves nothing.
        """
        queue = self._queues.get(job_type)
        if queue is None:
            return False
        queue.refusals.pop(uid, None)
        if queue.hold is None or queue.hold.prober != uid:
            return False
        queue.hold = None
        # Whoever had all its tries gets one more at once, in its turn: it was the policy, or it is
        # the run.
        queue.refusals = {
            other: refusals
            for other, refusals in queue.refusals.items()
            if refusals.count >= FIRST_RUN_TRIES
        }
        for refusals in queue.refusals.values():
            refusals.due = now
        return True

    def lift(self, job_type: str) -> None:
        """End the hold: the job type was changed or deleted, or nobody waits."""
        if queue := self._queues.get(job_type):
            queue.hold = None
            queue.refusals.clear()

    def forget_run(self, job_type: str, uid: str) -> None:
        """Drop what is remembered of a run that is over."""
        if queue := self._queues.get(job_type):
            queue.refusals.pop(uid, None)

    def ineligible(self, job_type: str, first: str, now: float) -> set[str]:
        """Return the uids of the runs that are passed over now; `first` is the uid of the first in
        the queue."""
        queue = self._queues.get(job_type)
        if queue is None:
            return set()
        passed_over = set()
        for uid, refusals in queue.refusals.items():
            free_tries = FIRST_RUN_TRIES if uid == first else OTHER_RUN_TRIES
            if refusals.due > now and not (queue.hold and refusals.count < free_tries):
                passed_over.add(uid)
        return passed_over

    def next_due(self, job_type: str, now: float) -> float | None:
        """Return the seconds until a run may try that may not now; None if there is none."""
        queue = self._queues.get(job_type)
        if queue is None:
            return None
        dues = [refusals.due for refusals in queue.refusals.values()]
        if queue.hold:
            dues.append(queue.hold.due)
        return min((due - now for due in dues if due > now), default=None)

    def must_notify(self, job_type: str, now: float) -> bool:
        """Return whether the waiting runs' statuses are to say that the hold came, changed or went,
        and remember that they do."""
        queue = self._queues.get(job_type)
        if queue is None:
            return False
        hold = queue.hold
        cause = hold.cause if hold and hold.refusals >= NOTIFY_AFTER_REFUSALS else None
        if cause is queue.notified[0] or now - queue.notified[1] < NOTIFY_SECONDS:
            return False
        queue.notified = (cause, now)
        return True
