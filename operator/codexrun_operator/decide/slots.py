"""May a run start? One authority for a job type's slots, counted as ResourceQuota counts: what is
not proven gone holds a slot.

Pure. `running + starting + stopping <= concurrencyLimit` at every instant follows from counting
every Job that is not proven gone, every pod that is not terminal, and every Job creation whose
result has not been seen yet.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, order=True)
class QueueKey:
    """Orders the runs in the queue of a job type: priority first, then age; the uid breaks ties for
    good."""

    minus_priority: int
    created: datetime
    uid: str


@dataclass(frozen=True)
class Slots:
    """The slots of one job type; `holders` counts the runs that hold one."""

    limit: int
    holders: int
    suspended: bool = False

    @property
    def free(self) -> int:
        return 0 if self.suspended else max(0, self.limit - self.holders)


def may_start(key: QueueKey, waiting: Collection[QueueKey], slots: Slots) -> bool:
    """Return whether the run with `key` gets a slot now; `waiting` holds all runs that wait for
    one, with or without this one."""
    ahead = sum(1 for other in waiting if other < key)
    return ahead < slots.free


def next_to_start(waiting: Iterable[QueueKey], slots: Slots) -> list[QueueKey]:
    """Return the runs to look at when slots have become free, best first."""
    return sorted(waiting)[: slots.free]
