"""A run as the registry knows it, how it is read from a CodexRun, and which of two states of it
stands. Pure."""

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from codexrun_core.resources import CodexRun, Usage
from codexrun_core.resources.codexrun import MAX_USER_CHARACTERS
from codexrun_core.resources.phases import DELETED, TERMINAL_STATUSES, UNKNOWN_RANK, Phase
from codexrun_core.runs.annotations import ORIGIN, REQUESTED_BY
from codexrun_core.schemas.nesting import cut

NEVER = datetime.fromtimestamp(0, UTC)
ORIGINS = ("api", "cli", "console", "kubectl")
# of a name in a column with an index; the CRD bounds not all of them
MAX_INDEXED_CHARACTERS = 512
MAX_SEARCH_WORDS = 1000
MAX_WORD_CHARACTERS = 64
MAX_INTEGER = 2**31 - 1  # of a column of whole numbers; the resource has no bound of its own
MAX_COUNT = 2**53 - 1  # of what a column, JSON and JavaScript can all hold


@dataclass(frozen=True)
class RunRecord:
    """One row of `runs`. Times are aware, in UTC; what is not known is None, or 0 beside
    `usage_complete = False`."""

    run_id: str  # metadata.uid
    name: str
    namespace: str
    job_type: str
    # the phase in lower case; "deleted": the object went unseen, how the run ended is not known
    status: str
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    prompt_sha256: str | None = None
    model: str | None = None
    effort: str | None = None
    params: dict[str, Any] = field(default_factory=dict)  # the inputs
    result: str | None = None  # the final message, cut at 2 KiB
    result_truncated: bool | None = None  # whether it was; not known of earlier versions' rows
    output: Any = None  # the final message as JSON, where its job type has an outputSchema
    error: str | None = None
    failure_class: str | None = None
    retryable: bool = False
    log_path: str | None = None
    log_bytes: int = 0
    log_complete: bool | None = None
    log_note: str | None = None
    cost_tokens: int = 0
    cost_cents: int = 0
    cost_micro_usd: int | None = None
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    at_most_tokens: int | None = None  # if every estimate were at its bound
    requests: int = 0
    usage_complete: bool = False
    waiting_until: datetime | None = None  # the model's provider wants to be asked again then
    attempt: int = 1
    rank: int = 0
    retry_of: str | None = None  # run_id
    retry_of_name: str | None = None
    requested_by: str | None = None
    origin: str = "kubectl"
    turns: int | None = None
    thread_id: str | None = None
    commit_id: str | None = None  # that was checked out
    warnings: list[str] = field(default_factory=list)
    priority: int = 0
    # all of it: a retry needs it when the object is gone
    spec: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)  # metadata.labels, all of them
    deleted_at: datetime | None = None
    # orders what changes within one phase; comparable within one resource (KEP-5504)
    resource_version: int = 0

    @property
    def terminal(self) -> bool:
        """Return whether the run has ended; such a row keeps its outcome for good."""
        return self.status in TERMINAL_STATUSES

    @property
    def lasted_ms(self) -> int | None:
        """Return the milliseconds from the agent's start to its end; None before that."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0, (self.finished_at - self.started_at) // timedelta(milliseconds=1))

    @property
    def revision(self) -> tuple[int, int, int]:
        """Return (attempt, rank, resourceVersion): what is later in a run's life is larger."""
        return self.attempt, self.rank, self.resource_version


def record_of(run: CodexRun) -> RunRecord:
    """Return the row that a CodexRun amounts to."""
    meta = run.metadata
    spec = run.spec
    status = run.status
    result = status.result
    created = _utc(meta.creation_timestamp) or NEVER
    times = [
        created,
        status.started_at,
        status.finished_at,
        *(c.last_transition_time for c in status.conditions),
    ]
    error = status.failure.message if status.failure else None
    if error is None and status.phase in (Phase.REJECTED, Phase.CANCELLED, Phase.FAILED):
        error = status.message
    spec_json = spec.dump()
    user = meta.annotations.get(REQUESTED_BY)
    origin = meta.annotations.get(ORIGIN, "")
    return RunRecord(
        run_id=meta.uid,
        name=meta.name,
        namespace=meta.namespace or "",
        job_type=spec.job_type,
        status=status.phase.lower(),
        reason=_for_index(status.reason),
        created_at=created,
        updated_at=max(time for moment in times if (time := _utc(moment))),
        started_at=_utc(status.started_at),
        finished_at=_utc(status.finished_at),
        prompt_name=_for_index(status.prompt.name) if status.prompt else None,
        prompt_version=_for_index(status.prompt.version) if status.prompt else spec.prompt_version,
        prompt_sha256=status.prompt.sha256 if status.prompt else None,
        model=_for_index(status.model or spec.model),
        effort=spec.effort,
        params=spec_json.get("inputs", {}),
        result=result.message if result else None,
        result_truncated=result.truncated if result else None,
        output=cut(result.output) if result else None,
        error=error,
        failure_class=status.failure.class_.value if status.failure else None,
        retryable=bool(status.failure and status.failure.retryable),
        **usage_columns(status.usage),
        attempt=revision_of(run)[0],
        rank=status.phase.rank,
        retry_of=spec.retry_of.uid if spec.retry_of else None,
        retry_of_name=spec.retry_of.name if spec.retry_of else None,
        requested_by=user[:MAX_USER_CHARACTERS] if user else None,
        origin=origin if origin in ORIGINS else "kubectl",
        turns=None if status.turns is None else min(status.turns, MAX_INTEGER),
        thread_id=status.thread_id,
        commit_id=status.commit_id,
        warnings=list(status.warnings or ()),
        priority=spec.priority,
        spec=spec_json,
        labels=dict(meta.labels),
        resource_version=revision_of(run)[2],
    )


def revision_of(run: CodexRun) -> tuple[int, int, int]:
    """Return `RunRecord.revision` of a run's row, without making the row."""
    version = run.metadata.resource_version
    return (
        min(run.status.attempt or 1, MAX_INTEGER),
        run.status.phase.rank,
        int(version) if version.isdecimal() else 0,
    )


def is_later(first: tuple[int, int, int], second: tuple[int, int, int]) -> bool:
    """Return whether the first revision (attempt, rank, resourceVersion) is later in a run's life
    than the second.

    Where a phase that this version does not know belongs is not known: then the version alone
    orders.
    """
    if max(first[1], second[1]) >= UNKNOWN_RANK:
        return (first[0], first[2]) > (second[0], second[2])
    return first > second


def usage_columns(usage: Usage | None) -> dict[str, Any]:
    """Return usage as columns; none at all is 0 beside `usage_complete = False`."""
    if usage is None:
        return {}
    return {
        "cost_tokens": _bounded(usage.total_tokens),
        "cost_cents": _bounded(usage.cost_cents or 0),
        "cost_micro_usd": None if usage.cost_micro_usd is None else _bounded(usage.cost_micro_usd),
        "input_tokens": _bounded(usage.input_tokens),
        "cached_input_tokens": _bounded(usage.cached_input_tokens),
        "output_tokens": _bounded(usage.output_tokens),
        "reasoning_tokens": _bounded(usage.reasoning_tokens),
        "at_most_tokens": (
            None if usage.at_most_tokens is None else _bounded(usage.at_most_tokens)
        ),
        "requests": _bounded(usage.requests),
        "usage_complete": usage.complete,
    }


USAGE_COLUMNS = (
    "cost_tokens",
    "cost_cents",
    "cost_micro_usd",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "at_most_tokens",
    "requests",
    "usage_complete",
)
LOG_COLUMNS = ("log_path", "log_bytes", "log_complete", "log_note")
# Outcomes that the rows of earlier versions do not have, and get when their run is seen again.
LATER_COLUMNS = ("commit_id", "warnings", "result_truncated", "output")


def merge(row: RunRecord, state: RunRecord) -> RunRecord:
    """Return what the row becomes when this state of its run is seen: terminal is final, nothing
    goes back, and of two states in one phase the later one stands. The row itself if nothing
    changes. Only labels change after the end: people put them there. What an earlier version did
    not know of the end is filled in."""
    if row.terminal and state.terminal and state.resource_version >= row.resource_version:
        unknown = [name for name in LATER_COLUMNS if getattr(row, name) in (None, [])]
        after = replace(row, **{name: getattr(state, name) for name in unknown})
        if state.labels != row.labels:
            after = replace(after, labels=state.labels, resource_version=state.resource_version)
        return row if after == row else after
    if row.terminal or (row.status == DELETED and not state.terminal):
        return row
    if row.status != DELETED and is_later(row.revision, state.revision):
        return row
    log = {name: getattr(row, name) for name in (*LOG_COLUMNS, "deleted_at")}
    return replace(
        state,
        **log,
        **_usage(row, state),
        waiting_until=None if state.terminal else row.waiting_until,
        updated_at=max(row.updated_at, state.updated_at),
    )


def _usage(row: RunRecord, state: RunRecord) -> dict[str, Any]:
    """Return the gate's last word if it is complete; else the larger of it and what the gate had
    shipped before (an eviction loses the termination message, not what came here)."""
    reported = state.requests or state.cost_tokens
    if (state.terminal and state.usage_complete and reported) or usage_order(state) >= usage_order(
        row
    ):
        return {name: getattr(state, name) for name in USAGE_COLUMNS}
    return {name: getattr(row, name) for name in USAGE_COLUMNS} | (
        {"usage_complete": False} if state.terminal else {}
    )


def usage_order(record: RunRecord) -> tuple[int, int]:
    """Return what only grows with the usage of a run."""
    return record.requests, record.cost_tokens


def search_text(record: RunRecord) -> str:
    """Return what a search finds: the words of name, error and final message, each once."""
    words = search_words(" ".join(filter(None, (record.name, record.error, record.result))))
    return " ".join(dict.fromkeys(words[:MAX_SEARCH_WORDS]))


def search_words(text: str) -> list[str]:
    """Split a text into runs of letters and digits, case folded: the same on every database."""
    return [word[:MAX_WORD_CHARACTERS] for word in re.findall(r"[^\W_]+", text.casefold())]


def _for_index(text: str | None) -> str | None:
    """Cut a name as an index takes it: Postgres has no entries above 2,704 bytes."""
    return text[:MAX_INDEXED_CHARACTERS] if text else text


def _bounded(count: int) -> int:
    return max(0, min(count, MAX_COUNT))


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:  # within a day of the first or last year
        return moment.replace(tzinfo=UTC)
