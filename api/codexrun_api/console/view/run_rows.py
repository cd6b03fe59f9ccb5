"""What the run list shows of each run, and who holds the slots of a job type and who waits for one.
Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from codexrun_api.console.view import status_text
from codexrun_api.console.view.status_text import State, state_of
from codexrun_api.mirror.queue_view import holds_slot, peer_of
from codexrun_api.schemas.responses import QueueView
from codexrun_core.prompts.title import title_of
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.codexrun import GitWorkspace
from codexrun_core.resources.fields import LAST
from codexrun_core.resources.limits import Limits
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.queue_position import admission_order
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.stored_spec import read_spec

MAX_QUEUE_ROWS = 100  # of each list; a page says how many more there are
ORIGINS = {"api": "REST", "cli": "command line", "console": "console", "kubectl": "kubectl"}


@dataclass(frozen=True)
class Row:
    run: RunRecord
    state: State
    title: str  # what it is about
    message: str
    seconds: float | None
    token_limit: int | None
    workspace: str  # repo@ref
    origin: str
    key: str  # its place in the list's order

    @property
    def spent(self) -> float | None:
        """Return the part of the token budget that is used."""
        return (
            min(1.0, self.run.cost_tokens / self.token_limit)
            if self.token_limit and self.run.cost_tokens
            else None
        )


def row(
    record: RunRecord,
    now: datetime,
    *,
    run: CodexRun | None = None,
    job_type: CodexJobType | None = None,
    position: QueueView | None = None,
    busy: int = 0,
) -> Row:
    limit = job_type.spec.concurrency_limit if job_type else 0
    return Row(
        run=record,
        state=state_of(record.status),
        title=title_of(job_type.spec.title_template if job_type else None, record.params),
        message=status_text.short(record, now, run=run, position=position, busy=busy, limit=limit),
        seconds=status_text.run_seconds(record, now),
        token_limit=limits_of(record, job_type).max_tokens,
        workspace=workspace(read_spec(record.spec).git),
        origin=ORIGINS.get(record.origin, record.origin),
        key=key_of(record),
    )


def key_of(record: RunRecord) -> str:
    """Return the run's place in the list: greater for what is further up."""
    return f"{record.created_at.timestamp():.6f}_{record.run_id}"


def newer(record: RunRecord, key: str) -> bool:
    """Return whether the run stands above the row of that key; an invalid key has nothing above
    it."""
    stamp, _, run_id = key.partition("_")
    try:
        return (round(record.created_at.timestamp(), 6), record.run_id) > (float(stamp), run_id)
    except ValueError:
        return False


def limits_of(record: RunRecord, job_type: CodexJobType | None) -> Limits:
    """Return the run's own limits, else its job type's as they are now."""
    return read_spec(record.spec).limits.within(job_type.spec.limits if job_type else None)


def workspace(git: GitWorkspace | None) -> str:
    """Return `shop@main` of a repository's URL and ref; empty without one."""
    if git is None:
        return ""
    name = git.url.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return f"{name}@{git.ref}" if git.ref else name


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
    rows = [_queue_row(run, title_template) for run in runs if holds_slot(run)]
    return sorted(rows, key=lambda row: (row.since or LAST, row.run_id))


def queue(runs: Iterable[CodexRun], title_template: str | None) -> list[QueueRow]:
    """Return the runs that wait, the next one first."""
    waiting = [run for run in runs if run.status.phase is Phase.QUEUED]
    waiting.sort(key=lambda run: admission_order(peer_of(run)))
    return [_queue_row(run, title_template) for run in waiting]


def _queue_row(run: CodexRun, title_template: str | None) -> QueueRow:
    return QueueRow(
        run.metadata.uid,
        run.metadata.name,
        run.status.phase.lower(),
        title_of(title_template, run.spec.inputs or {}),
        run.spec.priority,
        run.status.started_at or run.metadata.creation_timestamp,
    )
