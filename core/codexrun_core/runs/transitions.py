"""Lifecycle hooks: what a process does when a run has moved, once per move.

Where a move was seen (the operator's own status write, the mirror's new row) decides whether it is
new; the hooks carry it to the process's sinks. The operator hangs its log and run metrics here, the
api its log. Registry and operator give the same move the same id, so that lines of both can be
joined.
"""

import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from codexrun_core.logs import fields
from codexrun_core.resources.phases import DELETED, TERMINAL_STATUSES, UNKNOWN_RANK, Phase

if TYPE_CHECKING:  # the operator needs no database
    from codexrun_core.runs.record import RunRecord

log = logging.getLogger("codexrun.lifecycle")

_FAILED = frozenset({Phase.FAILED.lower(), Phase.REJECTED.lower()})
_LOST_ID = uuid.UUID(
    "6b2f0a0e-54a6-4c39-9d9b-0a4d2c1e7f55"
)  # namespace for run ids that are no UUIDs


@dataclass(frozen=True)
class Transition:
    """One move of one run, with what log and metrics say about it."""

    event_id: str
    run_id: str
    name: str
    namespace: str
    job_type: str
    attempt: int
    before: str | None  # None: seen for the first time
    status: str
    reason: str | None
    at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    prompt_name: str | None
    prompt_version: str | None
    model: str | None
    origin: str
    failure_class: str | None
    retryable: bool
    cost_tokens: int
    cost_cents: int
    cost_micro_usd: int | None
    usage_complete: bool

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def duration_ms(self) -> int | None:
        """From the agent's start to the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0, int((self.finished_at - self.started_at).total_seconds() * 1000))

    @property
    def queue_ms(self) -> int | None:
        """From the run's creation to the agent's start."""
        if self.started_at is None:
            return None
        return max(0, int((self.started_at - self.created_at).total_seconds() * 1000))


Sink = Callable[[Transition], None]


def event_id(run_id: str, attempt: int, status: str) -> str:
    """The same move has the same id, whoever sees it and however often."""
    try:
        space = uuid.UUID(run_id)
    except ValueError:
        space = uuid.uuid5(_LOST_ID, run_id)
    return str(uuid.uuid5(space, f"{attempt}/{status}"))


def transition(before: "RunRecord | None", after: "RunRecord") -> Transition | None:
    """The move from one state of a run to a later one; None if it did not move, or would move back.
    Pure."""
    if before and not _forward(before, after):
        return None
    return Transition(
        event_id=event_id(after.run_id, after.attempt, after.status),
        run_id=after.run_id,
        name=after.name,
        namespace=after.namespace,
        job_type=after.job_type,
        attempt=after.attempt,
        before=before.status if before else None,
        status=after.status,
        reason=after.reason,
        at=_when(after),
        created_at=after.created_at,
        started_at=after.started_at,
        finished_at=after.finished_at,
        prompt_name=after.prompt_name,
        prompt_version=after.prompt_version,
        model=after.model,
        origin=after.origin,
        failure_class=after.failure_class,
        retryable=after.retryable,
        cost_tokens=after.cost_tokens,
        cost_cents=after.cost_cents,
        cost_micro_usd=after.cost_micro_usd,
        usage_complete=after.usage_complete,
    )


def _when(after: "RunRecord") -> datetime:
    """The agent's start and end as its node saw them: the operator's look comes later, and may come
    after both."""
    own = (
        after.finished_at
        if after.status in TERMINAL_STATUSES
        else after.started_at
        if after.status == Phase.RUNNING.lower()
        else None
    )
    return own or after.updated_at


def _forward(before: "RunRecord", after: "RunRecord") -> bool:
    if before.status in TERMINAL_STATUSES:
        return False
    if before.status == DELETED:
        return after.status in TERMINAL_STATUSES  # the end was seen after all
    if max(before.rank, after.rank) >= UNKNOWN_RANK and before.attempt == after.attempt:
        return before.status != after.status
    return (after.attempt, after.rank) > (before.attempt, before.rank)


def record_run_start(moved: Transition, sinks: Iterable[Sink]) -> None:
    """The agent runs."""
    _tell(moved, sinks, {Phase.RUNNING.lower()})


def record_run_success(moved: Transition, sinks: Iterable[Sink]) -> None:
    """The run ended, and its success is proven."""
    _tell(moved, sinks, {Phase.SUCCEEDED.lower()})


def record_run_failure(moved: Transition, sinks: Iterable[Sink]) -> None:
    """The run failed, or was rejected before it could start."""
    _tell(moved, sinks, _FAILED)


def record_run_cancelled(moved: Transition, sinks: Iterable[Sink]) -> None:
    """Somebody stopped the run."""
    _tell(moved, sinks, {Phase.CANCELLED.lower()})


def record_transition(moved: Transition, sinks: Iterable[Sink]) -> None:
    """Any move: through the hook of its kind, or, on the way between start and end, straight to the
    sinks."""
    hook = _HOOKS.get(moved.status)
    if hook:
        hook(moved, sinks)
    else:
        _tell(moved, sinks, {moved.status})


_HOOKS: dict[str, Callable[[Transition, Iterable[Sink]], None]] = {
    Phase.RUNNING.lower(): record_run_start,
    Phase.SUCCEEDED.lower(): record_run_success,
    Phase.FAILED.lower(): record_run_failure,
    Phase.REJECTED.lower(): record_run_failure,
    Phase.CANCELLED.lower(): record_run_cancelled,
}


def _tell(moved: Transition, sinks: Iterable[Sink], expected: Iterable[str]) -> None:
    if moved.status not in expected:
        raise ValueError(f"{moved.name}: a move to {moved.status} belongs to another hook")
    for sink in sinks:
        sink(moved)


def log_transition(moved: Transition) -> None:
    """A sink: one line with the fields that every line about a run has."""
    log.info(
        f"run.{moved.status}",
        extra=fields(
            event_id=moved.event_id,
            run_id=moved.run_id,
            name=moved.name,
            namespace=moved.namespace,
            job_type=moved.job_type,
            status=moved.status,
            reason=moved.reason,
            attempt=moved.attempt,
            prompt_version=moved.prompt_version,
            phase="report" if moved.terminal else "admit",
            duration_ms=moved.duration_ms,
            cost_tokens=moved.cost_tokens,
            cost_cents=moved.cost_cents,
            cost_micro_usd=moved.cost_micro_usd,
            failure_class=moved.failure_class,
        ),
    )
