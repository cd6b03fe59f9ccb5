"""How long until a slot is free, and where does a queued run stand? The runs that are there, for core's queueing. Pure."""

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from codexrun_api.views import QueueView
from codexrun_core import queueing
from codexrun_core.lifecycle import Phase
from codexrun_core.resources import CodexRun

SUCCEEDED = Phase.SUCCEEDED.lower()
LONGEST, UNKNOWN = 600, 30  # seconds: bounds of what is worth saying


@dataclass(frozen=True)
class Peer:
    """What decides about a place in the queue: made once a change, not once a reader."""

    run_id: str
    status: str
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def peer(run: CodexRun) -> Peer:
    created, status = run.metadata.creation_timestamp or datetime.now(UTC), run.status
    return Peer(run.metadata.uid, status.phase.lower(), run.spec.priority, created, status.started_at, status.finished_at)


def place(run: Peer, peers: Collection[Peer], limit: int, now: datetime | None = None) -> QueueView | None:
    """The place of a queued run among all runs of its job type; None for one that does not wait."""
    now = now or datetime.now(UTC)
    found = queueing.place(run, peers, limit, usual(peers), now)
    if found is None:
        return None
    eta = max(0, round((found.eta - now).total_seconds())) if found.eta else None
    return QueueView(position=found.position, eta_seconds=eta)


def next_slot(peers: Collection[Peer], limit: int, now: datetime | None = None) -> int:
    """Seconds until the first slot may be free: for Retry-After."""
    now = now or datetime.now(UTC)
    eta = queueing.free_at(0, peers, limit, usual(peers), now)
    return min(LONGEST, max(1, round((eta - now).total_seconds()))) if eta else UNKNOWN


def usual(peers: Iterable[Peer]) -> timedelta | None:
    """The median length of its good runs; None where there was none."""
    done = [
        (run.finished_at - run.started_at).total_seconds()
        for run in peers
        if run.status == SUCCEEDED and run.started_at and run.finished_at
    ]
    return timedelta(seconds=statistics.median(done)) if done else None
