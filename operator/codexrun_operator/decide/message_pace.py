"""When is a new message of a run worth a status write? Pure; times are in seconds of a monotonic
clock.

Why a run waits or does not start is told in the words of scheduler, kubelet or apiserver, and those
change all the time: that of an image that cannot be pulled alternates between two.
"""

from dataclasses import dataclass

from codexrun_core.resources import RunStatus

FIRST_PAUSE_SECONDS = 60.0
MAX_PAUSE_SECONDS = 64 * 60.0


@dataclass
class Told:
    """What the status of a run tells (its phase and reason), and when its message may change."""

    state: tuple[str, str | None]
    due: float
    pause: float = FIRST_PAUSE_SECONDS


class MessagePace:
    """When the messages of all runs may change, by uid: while phase and reason stay the same, a new
    one is written 1, 2, 4 ... minutes after the one before."""

    def __init__(self) -> None:
        self._told: dict[str, Told] = {}

    def wait(self, uid: str, status: RunStatus, now: float) -> float:
        """Return the seconds until the message of `status`, which is stored, may change.

        What an earlier operator has written counts as written when this one first asks.
        """
        return max(0.0, self._of(uid, status, now).due - now)

    def record(self, uid: str, status: RunStatus, now: float, *, message_only: bool) -> None:
        """Record that `status` was written; `message_only`: nothing but messages has changed."""
        told = self._of(uid, status, now)
        if message_only:
            told.pause = min(MAX_PAUSE_SECONDS, 2 * told.pause)
            told.due = now + told.pause

    def forget(self, uid: str) -> None:
        """Drop what is known of a run that is over."""
        self._told.pop(uid, None)

    def __len__(self) -> int:
        return len(self._told)

    def _of(self, uid: str, status: RunStatus, now: float) -> Told:
        state = (status.phase.value, status.reason)
        told = self._told.get(uid)
        if told is None or told.state != state:
            told = self._told[uid] = Told(state, now + FIRST_PAUSE_SECONDS)
        return told
