"""May it start? One authority for a job type's slots, counted as ResourceQuota counts: what is not
proven gone holds a slot.

Pure. `running + starting + stopping <= concurrencyLimit` at every instant follows from counting
every Job that is not proven gone, every pod that is not terminal, and every Job creation whose
result has not been seen yet.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, order=True)
class QueueKey:
    """Where a run stands in the queue of its job type: priority first, then age; the uid breaks
    ties for good."""

    minus_priority: int
    created: datetime
    uid: str


@dataclass(frozen=True)
class Slots:
    """The state of one job type's slots."""

    limit: int
    holders: int
    suspended: bool = False

    @property
    def free(self) -> int:
        return 0 if self.suspended else max(0, self.limit - self.holders)


def may_start(place: QueueKey, waiting: Collection[QueueKey], slots: Slots) -> bool:
    """Whether the run at `place` gets a slot now; `waiting` holds all runs that wait for one, with
    or without this one."""
    ahead = sum(1 for other in waiting if other < place)
    return ahead < slots.free


def next_to_start(waiting: Iterable[QueueKey], slots: Slots) -> list[QueueKey]:
    """Whom to look at when slots have become free, best first."""
    return sorted(waiting)[: slots.free]
