"""Lifecycle hooks: what a process does when a run has moved, once per move.

Where a move was seen (the operator's own status write, the mirror's new row) decides whether it is
new; the hooks carry it to the process's sinks. The operator hangs its log and run metrics here, the
api its log. Registry and operator give the same move the same id, so that lines of both can be
joined. That a terminal phase never changes is held where statuses are made, in the operator's
decide/status.py, and again here for rows.
"""

import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from codexrun_core.logs import fields
from codexrun_core.resources.phases import DELETED, TERMINAL_STATUSES, UNKNOWN_RANK, Phase
from codexrun_core.runs.record import RunRecord

log = logging.getLogger("codexrun.lifecycle")

# Of the event ids of runs whose ids are not UUIDs.
_NAMESPACE = uuid.UUID("6b2f0a0e-54a6-4c39-9d9b-0a4d2c1e7f55")


@dataclass(frozen=True)
class Transition:
    """One move of one run: from a status to the state that it has now."""

    event_id: str
    before: str | None  # the status; None: seen for the first time
    run: RunRecord
    at: datetime

    @property
    def status(self) -> str:
        """Return the status that the run has now."""
        return self.run.status

    @property
    def terminal(self) -> bool:
        """Return whether the run has ended by this move."""
        return self.run.terminal

    @property
    def queue_ms(self) -> int | None:
        """Return the milliseconds from the run's creation to the agent's start; None before it."""
        if self.run.started_at is None:
            return None
        return max(0, (self.run.started_at - self.run.created_at) // timedelta(milliseconds=1))


Sink = Callable[[Transition], None]


def event_id(run_id: str, attempt: int, status: str) -> str:
    """Return the id of a move: the same one, whoever sees it and however often."""
    try:
        namespace = uuid.UUID(run_id)
    except ValueError:
        namespace = uuid.uuid5(_NAMESPACE, run_id)
    return str(uuid.uuid5(namespace, f"{attempt}/{status}"))


def transition_between(before: RunRecord | None, after: RunRecord) -> Transition | None:
    """Return the move from one state of a run to a later one; None if it did not move, or would
    move back. Pure."""
    if before and not _moves_forward(before, after):
        return None
    return Transition(
        event_id=event_id(after.run_id, after.attempt, after.status),
        before=before.status if before else None,
        run=after,
        at=_time_of(after),
    )


def _time_of(after: RunRecord) -> datetime:
    """Return when the run moved: the agent's start and end as its node saw them, for the operator
    looks later, and maybe after both."""
    time = None
    if after.status in TERMINAL_STATUSES:
        time = after.finished_at
    elif after.status == Phase.RUNNING.lower():
        time = after.started_at
    return time or after.updated_at


def _moves_forward(before: RunRecord, after: RunRecord) -> bool:
    if before.status in TERMINAL_STATUSES:
        return False
    if before.status == DELETED:
        return after.status in TERMINAL_STATUSES  # the end was seen after all
    if max(before.rank, after.rank) >= UNKNOWN_RANK and before.attempt == after.attempt:
        return before.status != after.status
    return (after.attempt, after.rank) > (before.attempt, before.rank)


def publish(transition: Transition, sinks: Iterable[Sink]) -> None:
    """Hand a transition to the process's sinks, by the hook of its kind where it has one."""
    match transition.status:
        case "running":
            record_run_start(transition, sinks)
        case "succeeded":
            record_run_success(transition, sinks)
        case "failed" | "rejected":
            record_run_failure(transition, sinks)
        case "cancelled":
            record_run_cancelled(transition, sinks)
        case _:  # on the way between start and end
            _send(transition, sinks)


def record_run_start(transition: Transition, sinks: Iterable[Sink]) -> None:
    """Record that the agent runs."""
    _send(transition, sinks)


def record_run_success(transition: Transition, sinks: Iterable[Sink]) -> None:
    """Record that the run ended, and that its success is proven."""
    _send(transition, sinks)


def record_run_failure(transition: Transition, sinks: Iterable[Sink]) -> None:
    """Record that the run failed, or was rejected before it could start."""
    _send(transition, sinks)


def record_run_cancelled(transition: Transition, sinks: Iterable[Sink]) -> None:
    """Record that somebody stopped the run."""
    _send(transition, sinks)


def _send(transition: Transition, sinks: Iterable[Sink]) -> None:
    for sink in sinks:
        sink(transition)


def log_transition(transition: Transition) -> None:
    """Log one line with the fields that every line about a run has: a sink."""
    run = transition.run
    log.info(
        f"run.{run.status}",
        extra=fields(
            event_id=transition.event_id,
            run_id=run.run_id,
            name=run.name,
            namespace=run.namespace,
            job_type=run.job_type,
            status=run.status,
            reason=run.reason,
            attempt=run.attempt,
            prompt_version=run.prompt_version,
            phase="report" if run.terminal else "admit",
            duration_ms=run.lasted_ms,
            cost_tokens=run.cost_tokens,
            cost_cents=run.cost_cents,
            cost_micro_usd=run.cost_micro_usd,
            failure_class=run.failure_class,
        ),
    )
