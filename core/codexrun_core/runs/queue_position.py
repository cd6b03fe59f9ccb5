"""The position of a waiting run in the queue, and about when it may start: from the runs of its job
type, its limit, and how long its like usually take.

Computed when read: storing it would cost a write per waiting run per freed slot. Pure.
"""

import heapq
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from codexrun_core.resources.phases import SLOT_STATUSES

MIN_GOOD_RUNS = 5  # below that a median says nothing


class Queueable(Protocol):
    """What decides about a run's position in the queue; a registry row has it."""

    @property
    def run_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def started_at(self) -> datetime | None: ...


class Timed(Protocol):
    """What says how long a run took."""

    @property
    def status(self) -> str: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def finished_at(self) -> datetime | None: ...


@dataclass(frozen=True)
class QueuePosition:
    position: int  # 1 is next
    # when a slot is likely free; None: nothing to learn from, or no slot will come
    eta: datetime | None


def usual_duration(runs: Iterable[Timed]) -> timedelta | None:
    """Return the median duration of the good runs, from the agent's start; None if there are
    fewer than `MIN_GOOD_RUNS`."""
    return usual_of(
        [
            (run.finished_at - run.started_at).total_seconds()
            for run in runs
            if run.status == "succeeded" and run.started_at and run.finished_at
        ]
    )


def usual_of(seconds: Sequence[float]) -> timedelta | None:
    """Return the median of the good runs' seconds; None if there are fewer than `MIN_GOOD_RUNS`."""
    if len(seconds) < MIN_GOOD_RUNS:
        return None
    return timedelta(seconds=statistics.median(seconds))


def admission_order(run: Queueable) -> tuple[int, datetime, str]:
    """Return the sort key of admission: priority, then age; the id breaks ties for good."""
    return -run.priority, run.created_at, run.run_id


def queue_position(
    run: Queueable,
    peers: Iterable[Queueable],
    limit: int,
    usual: timedelta | None,
    now: datetime,
) -> QueuePosition | None:
    """Return the position of `run` among all runs of its job type (`peers`, with or without it);
    None if it does not wait.

    `usual` is the median duration of the job type's last good runs. A suspended job type has a
    limit of 0.
    """
    if run.status != "queued":
        return None
    everyone = list(peers)
    ahead = sum(
        1
        for peer in everyone
        if peer.status == "queued" and admission_order(peer) < admission_order(run)
    )
    return QueuePosition(ahead + 1, slot_free_at(ahead, everyone, limit, usual, now))


def slot_free_at(
    ahead: int,
    peers: Iterable[Queueable],
    limit: int,
    usual: timedelta | None,
    now: datetime,
) -> datetime | None:
    """Return when a slot is free for the run that has `ahead` others before it.

    Slots become free as their runs reach the usual length; each run ahead takes the first free one
    and holds it as long. Of a run that is past that length nobody knows when it ends: its slot
    counts as taken for good. Where the limit was lowered, as many runs must end first as are too
    many. None if no slot has a known end, or the limit allows none.
    """
    holders = [peer for peer in peers if peer.status in SLOT_STATUSES]
    if limit <= 0:
        return None
    free = limit - len(holders)
    if usual is None:
        return now if free > ahead else None
    ends = [(peer.started_at or now) + usual for peer in holders]
    slots = [now] * free + sorted(end for end in ends if end > now)[max(0, -free) :]
    if not slots:
        return None
    heapq.heapify(slots)
    for _ in range(ahead):
        heapq.heapreplace(slots, slots[0] + usual)
    return slots[0]
