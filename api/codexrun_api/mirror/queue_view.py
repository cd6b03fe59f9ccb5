"""How long until a slot is free, and where does a queued run stand? The runs that are there, for
core's queueing. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from codexrun_api.schemas.responses import QueueView
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import SLOT_PHASES
from codexrun_core.runs import queue_position

MAX_RETRY_SECONDS = 600  # bounds of what is worth saying
UNKNOWN_RETRY_SECONDS = 30


@dataclass(frozen=True)
class Peer:
    """What decides about a place in the queue: made once a change, not once a reader."""

    run_id: str
    status: str
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def holds_slot(run: CodexRun) -> bool:
    """Return whether the run has a slot of its job type."""
    return run.status.phase in SLOT_PHASES


def peer_of(run: CodexRun) -> Peer:
    created = run.metadata.creation_timestamp or datetime.now(UTC)
    status = run.status
    return Peer(
        run.metadata.uid,
        status.phase.lower(),
        run.spec.priority,
        created,
        status.started_at,
        status.finished_at,
    )


def position_of(
    run: Peer, peers: Collection[Peer], limit: int, now: datetime | None = None
) -> QueueView | None:
    """Return the position of a queued run among all runs of its job type; None for one that does
    not wait."""
    now = now or datetime.now(UTC)
    position = queue_position.queue_position(
        run, peers, limit, queue_position.usual_duration(peers), now
    )
    if position is None:
        return None
    eta = max(0, round((position.eta - now).total_seconds())) if position.eta else None
    return QueueView(position=position.position, eta_seconds=eta)


def seconds_to_next_slot(peers: Collection[Peer], limit: int, now: datetime | None = None) -> int:
    """Return the seconds until the first slot may be free: for Retry-After."""
    now = now or datetime.now(UTC)
    eta = queue_position.slot_free_at(0, peers, limit, queue_position.usual_duration(peers), now)
    if eta is None:
        return UNKNOWN_RETRY_SECONDS
    return min(MAX_RETRY_SECONDS, max(1, round((eta - now).total_seconds())))
