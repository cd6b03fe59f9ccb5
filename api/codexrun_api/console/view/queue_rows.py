"""Who holds the slots of a job type, and who waits for one, in their order. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from codexrun_core.prompts.title import title_of
from codexrun_core.resources import CodexRun
from codexrun_core.resources.fields import LAST
from codexrun_core.resources.phases import SLOT_PHASES, Phase

MAX_ROWS = 100  # of each list; a page says how many more there are


@dataclass(frozen=True)
class QueueRow:
    """since: its start, or its creation while it waits."""

    run_id: str
    name: str
    status: str
    title: str
    priority: int
    since: datetime | None


def holders(runs: Iterable[CodexRun], title_template: str | None) -> list[QueueRow]:
    """Return the runs that hold a slot, the oldest first."""
    rows = [_row(run, title_template) for run in runs if run.status.phase in SLOT_PHASES]
    return sorted(rows, key=lambda row: (row.since or LAST, row.run_id))


def queue(runs: Iterable[CodexRun], title_template: str | None) -> list[QueueRow]:
    """Return the runs that wait, the next one first: by priority, then by age."""
    rows = [_row(run, title_template) for run in runs if run.status.phase is Phase.QUEUED]
    return sorted(rows, key=lambda row: (-row.priority, row.since or LAST, row.run_id))


def _row(run: CodexRun, title_template: str | None) -> QueueRow:
    return QueueRow(
        run.metadata.uid,
        run.metadata.name,
        run.status.phase.lower(),
        title_of(title_template, run.spec.inputs or {}),
        run.spec.priority,
        run.status.started_at or run.metadata.creation_timestamp,
    )
