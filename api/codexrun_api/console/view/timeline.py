"""When was a run in which phase? From its recorded transitions. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from codexrun_api.console.view.status_text import STATES, State, state_of
from codexrun_core.registry import RunEvent
from codexrun_core.runs.record import RunRecord

ORDER = {status: number for number, status in enumerate(STATES)}
MIN_WIDTH_PERCENT = 2.0  # percent: what is short is still seen


@dataclass(frozen=True)
class Stretch:
    state: State
    attempt: int
    begin: datetime
    end: datetime | None  # None: it goes on
    seconds: float
    left: float = 0.0  # percent of the whole
    width: float = 0.0


def stretches(record: RunRecord, events: Sequence[RunEvent], now: datetime) -> list[Stretch]:
    """Return every active phase with its length. Without events, it is what the row itself
    tells."""
    marks = _marks(record, events)
    stretches: list[Stretch] = []
    for number, (attempt, status, at) in enumerate(marks):
        state = state_of(status)
        if not state.active:
            continue
        after = marks[number + 1][2] if number + 1 < len(marks) else None
        end = after or record.finished_at or record.deleted_at
        stretches.append(
            Stretch(state, attempt, at, end, max(0.0, ((end or now) - at).total_seconds()))
        )
    return _lay_out(stretches)


def _marks(record: RunRecord, events: Sequence[RunEvent]) -> list[tuple[int, str, datetime]]:
    """Return attempt, phase and when it began, in order. What nobody saw happen is filled in
    from the row's own times."""
    marks = [(e.attempt, e.status, e.at) for e in events]
    statuses = {status for _, status, _ in marks}
    if record.started_at and "running" not in statuses:
        marks.append((record.attempt, "running", record.started_at))
    if record.finished_at and record.status not in statuses:
        marks.append((record.attempt, record.status, record.finished_at))
    # Times have whole seconds: within one, a phase follows the one before it.
    marks.sort(key=lambda mark: (mark[2], mark[0], ORDER.get(mark[1], len(ORDER))))
    if not marks or (marks[0][1] != "pending" and record.created_at < marks[0][2]):
        marks.insert(0, (1, "pending", record.created_at))
    return marks


def _lay_out(stretches: list[Stretch]) -> list[Stretch]:
    """Return the stretches with widths in percent that add up to 100."""
    total = sum(s.seconds for s in stretches) or 1.0
    widths = [max(MIN_WIDTH_PERCENT, 100 * s.seconds / total) for s in stretches]
    scale = 100 / sum(widths) if widths else 1.0
    left = 0.0
    laid_out = []
    for stretch, width in zip(stretches, widths, strict=True):
        width *= scale  # noqa: PLW2901 - the same width, to scale
        laid_out.append(
            Stretch(
                stretch.state,
                stretch.attempt,
                stretch.begin,
                stretch.end,
                stretch.seconds,
                round(left, 2),
                round(width, 2),
            )
        )
        left += width
    return laid_out
