"""Job types whose Jobs the apiserver refuses: one run tries, with a growing pause, and the others
wait.

Pure; times are in seconds of a monotonic clock.

The first in line tries. Where the refusal may be about its own Job (a policy, an invalid field),
each other run may try once after the first has had its three tries, so that one bad run holds
nobody up; who keeps being refused while others pass is passed over and tries again now and then. A
try that succeeds ends the hold for all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from codexrun_core.kube.refusals import Cause
from codexrun_operator.decide.slots import QueueKey

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between tries
FIRST_TRIES, OTHER_TRIES = (
    3,
    1,
)  # of the first in line, of each other run, before they are passed over
TOLD_AFTER = 3  # refusals in a row; a shorter hold is not worth a status write per waiting run
# seconds; a hold that comes and goes (quota) costs a waiting run one write in this time at most
TOLD_PERIOD = 60.0


@dataclass
class Hold:
    """`prober` is the run that tries, or tried last; `due` when the next may."""

    cause: Cause
    words: str
    prober: str
    due: float
    refusals: int = 1

    def put_off(self, now: float) -> None:
        """Count a try that was of no use; the next one may come after a longer pause."""
        self.due = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.refusals)
        self.refusals += 1


@dataclass
class Tries:
    """One run's own refusals."""

    count: int
    due: float
    words: str


@dataclass
class Line:
    """What is remembered of one job type."""

    hold: Hold | None = None
    tries: dict[str, Tries] = field(default_factory=dict)  # by run uid
    told: tuple[Cause | None, float] = (None, float("-inf"))


class Holds:
    """By name of the job type."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def of(self, job_type: str) -> Hold | None:
        """The hold on a job type, if there is one."""
        line = self._lines.get(job_type)
        return line.hold if line else None

    def passed_over(self, job_type: str, uid: str, now: float) -> Tries | None:
        """The run's own refusals while it is passed over, although its job type is not held."""
        line = self._lines.get(job_type)
        tries = line.tries.get(uid) if line and not line.hold else None
        return tries if tries and tries.due > now else None

    def record_refusal(self, job_type: str, uid: str, cause: Cause, words: str, now: float) -> bool:
        """The apiserver has refused this run's Job; returns whether the job type is held now."""
        line = self._lines.setdefault(job_type, Line())
        hold = line.hold
        if hold and uid != hold.prober:
            return True  # it was under way when the hold began, and says nothing new
        if cause.about_the_object:
            tries = line.tries.setdefault(uid, Tries(0, 0.0, words))
            tries.count += 1
            tries.due, tries.words = now + LONGEST_PAUSE, words
            if hold is None and tries.count > FIRST_TRIES:
                return False  # others have passed since: it is this run alone
        if hold is None:
            line.hold = Hold(cause, words, uid, now + FIRST_PAUSE)
            return True
        hold.put_off(now)
        if hold.cause is not cause:
            # Within one cause the first words stay: numbers in them would be a status write each
            # time.
            hold.cause, hold.words = cause, words
        return True

    def record_unknown(self, job_type: str, uid: str, now: float) -> None:
        """Nothing is known of this run's try: the next one is another run's, after the same growing
        pause."""
        hold = self.of(job_type)
        if hold and hold.prober == uid:
            hold.put_off(now)

    def record_creation(self, job_type: str, uid: str, now: float) -> bool:
        """This run's Job was created; returns whether that has ended a hold. One sent before the
        hold proves nothing."""
        line = self._lines.get(job_type)
        if line is None:
            return False
        line.tries.pop(uid, None)
        if line.hold is None or line.hold.prober != uid:
            return False
        line.hold = None
        # Whoever had all its tries gets one more at once, in its turn: it was the policy, or it is
        # the run.
        line.tries = {
            other: tries for other, tries in line.tries.items() if tries.count >= FIRST_TRIES
        }
        for tries in line.tries.values():
            tries.due = now
        return True

    def lift(self, job_type: str) -> None:
        """The job type was changed or deleted, or nobody waits: start anew."""
        if line := self._lines.get(job_type):
            line.hold = None
            line.tries.clear()

    def forget_run(self, job_type: str, uid: str) -> None:
        """The run is over."""
        if line := self._lines.get(job_type):
            line.tries.pop(uid, None)

    def eligible(self, job_type: str, waiting: Iterable[QueueKey], now: float) -> list[QueueKey]:
        """Those who wait and are not passed over now, in no order."""
        places = list(waiting)
        line = self._lines.get(job_type)
        if not places or line is None or not line.tries:
            return places
        first = min(places)
        found = []
        for place in places:
            tries = line.tries.get(place.uid)
            allowed = FIRST_TRIES if place is first else OTHER_TRIES
            if tries is None or tries.due <= now or (line.hold and tries.count < allowed):
                found.append(place)
        return found

    def next_due(self, job_type: str, now: float) -> float | None:
        """Seconds until somebody may try who may not now; None if nobody is waited for."""
        line = self._lines.get(job_type)
        if line is None:
            return None
        dues = [tries.due for tries in line.tries.values()] + ([line.hold.due] if line.hold else [])
        return min((due - now for due in dues if due > now), default=None)

    def must_notify(self, job_type: str, now: float) -> bool:
        """Whether those who wait are to be told that the hold came, changed or went; remembers that
        they were."""
        line = self._lines.get(job_type)
        if line is None:
            return False
        hold = line.hold
        cause = hold.cause if hold and hold.refusals >= TOLD_AFTER else None
        if cause is line.told[0] or now - line.told[1] < TOLD_PERIOD:
            return False
        line.told = (cause, now)
        return True
