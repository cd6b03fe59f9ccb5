"""How often may somebody fail? Pure; the clock is passed in."""

from collections import OrderedDict

MAX_KEYS = 4096  # the one that failed longest ago is forgotten first


class Throttle:
    """Lets each key fail `burst` times at once, and once more every `seconds` (GCRA, ITU-T I.371).

    What succeeds costs nothing.
    """

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Return the seconds until the key may try again; 0 if it may now."""
        free_at = self._free_at.get(key, now)
        return max(0.0, free_at - now - (self._burst - 1) * self._seconds)

    def fail(self, key: str, now: float) -> None:
        """Count a failure of the key."""
        self._free_at[key] = max(now, self._free_at.get(key, now)) + self._seconds
        self._free_at.move_to_end(key)
        if len(self._free_at) > MAX_KEYS:
            self._free_at.popitem(last=False)
