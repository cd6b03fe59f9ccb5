"""May a run start? One authority for a job type's slots, counted as ResourceQuota counts: what is
not proven gone holds a slot.

Pure. `running + starting + stopping <= concurrencyLimit` at every instant follows from counting
every Job that is not proven gone, every pod that is not terminal, and every Job creation whose
result has not been seen yet.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple


class QueueKey(NamedTuple):
    """Orders the runs in the queue of a job type: priority first, then age; the uid breaks ties for
    good."""

    minus_priority: int
    created: float  # seconds since the epoch
    uid: str


class RunQueue:
    """The runs of one job type that wait for a slot, best first. Whatever is asked of one run takes
    the logarithm of their number."""

    def __init__(self) -> None:
        self._keys: list[QueueKey] = []  # sorted
        self._by_uid: dict[str, QueueKey] = {}

    def put(self, key: QueueKey) -> bool:
        """Put a run in its place; return whether it was in another one."""
        known = self._by_uid.get(key.uid)
        if known == key:
            return False
        moved = self.remove(key.uid)
        insort(self._keys, key)
        self._by_uid[key.uid] = key
        return moved

    def remove(self, uid: str) -> bool:
        """Take a run out; return whether it was there."""
        key = self._by_uid.pop(uid, None)
        if key is None:
            return False
        del self._keys[bisect_left(self._keys, key)]
        return True

    def ahead_of(self, key: QueueKey, without: Collection[str] = ()) -> int:
        """Return how many runs are better than `key`, but for those `without` (uids)."""
        others = (self._by_uid.get(uid) for uid in without)
        passed_over = sum(1 for other in others if other is not None and other < key)
        return bisect_left(self._keys, key) - passed_over

    def best(self, count: int, without: Collection[str] = ()) -> list[QueueKey]:
        """Return the first runs, but for those `without` (uids)."""
        return list(islice((key for key in self._keys if key.uid not in without), count))

    def __contains__(self, uid: object) -> bool:
        return uid in self._by_uid

    def __iter__(self) -> Iterator[QueueKey]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True)
class Slots:
    """The slots of one job type; `holders` counts the runs that hold one."""

    limit: int
    holders: int
    suspended: bool = False

    @property
    def free(self) -> int:
        return 0 if self.suspended else max(0, self.limit - self.holders)


def may_start(
    key: QueueKey, waiting: RunQueue, slots: Slots, without: Collection[str] = ()
) -> bool:
    """Return whether the run with `key` gets a slot now; `waiting` holds all runs that wait for
    one, with or without this one. Those `without` (uids) may not start, whatever their place."""
    return key.uid not in without and waiting.ahead_of(key, without) < slots.free


def next_to_start(waiting: RunQueue, slots: Slots, without: Collection[str] = ()) -> list[QueueKey]:
    """Return the runs to look at when slots have become free, best first."""
    return waiting.best(slots.free, without)
