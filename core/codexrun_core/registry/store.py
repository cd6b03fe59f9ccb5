"""The registry's rows: written by the mirror, read by every screen and caller.

Two kinds of trouble only: the schema is not ours (SchemaError), or the database is away (Unavailable). What was
written may be written again, by any process and in any order.
"""

import contextlib
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from codexrun_core.hooks import DELETED, FINAL, Transition, transition
from codexrun_core.kube.client import Unavailable
from codexrun_core.lifecycle import Phase
from codexrun_core.registry import schema
from codexrun_core.registry.engines import Engines, open_engines
from codexrun_core.registry.filters import LARGEST_PAGE, PAGE_SIZE, Filter, Page, read_token, token_after
from codexrun_core.registry.queries import (
    COLUMNS,
    LIST,
    NEWEST_FIRST,
    begins,
    conditions,
    first_ids,
    index_for,
    matching_ids,
    reading,
    rows_of,
)
from codexrun_core.registry.record import LIVE, RunRecord, merge, usage_columns, usage_order, words_of
from codexrun_core.registry.tables import run_events, runs
from codexrun_core.resources import Usage

AT_ONCE = 500  # ids in one statement
DURATIONS = 1000  # of the last runs, for median and percentile
NEAR = 500  # of the newest runs are looked through before the word index is asked
USUAL = 50  # good runs that say how long the next one will take

SUCCEEDED = Phase.SUCCEEDED.lower()


@dataclass(frozen=True)
class RunEvent:
    """A transition as it was recorded."""

    event_id: str
    run_id: str
    attempt: int
    status: str
    reason: str | None
    at: datetime


@dataclass(frozen=True)
class JobTypeStats:
    """What the runs of one job type came to."""

    job_type: str
    statuses: dict[str, int]
    cost_tokens: int
    cost_micro_usd: int

    @property
    def runs(self) -> int:
        return sum(self.statuses.values())

    @property
    def success_rate(self) -> float | None:
        """Of the runs that succeeded or failed; what people cancelled or the guardrails refused says nothing."""
        return success_rate(self.statuses)


@dataclass(frozen=True)
class Stats:
    """What the runs of a filter came to. Durations (agent's start to end) are those of the last good ones."""

    statuses: dict[str, int]
    cost_tokens: int
    cost_micro_usd: int
    median_seconds: float | None
    p95_seconds: float | None
    job_types: tuple[JobTypeStats, ...]

    @property
    def runs(self) -> int:
        return sum(self.statuses.values())

    @property
    def success_rate(self) -> float | None:
        return success_rate(self.statuses)


@dataclass(frozen=True)
class PromptStats:
    """How one prompt version does."""

    name: str
    version: str
    statuses: dict[str, int]
    cost_tokens: int
    cost_micro_usd: int
    last_used_at: datetime

    @property
    def runs(self) -> int:
        return sum(self.statuses.values())

    @property
    def success_rate(self) -> float | None:
        return success_rate(self.statuses)


def success_rate(statuses: dict[str, int]) -> float | None:
    """Succeeded among succeeded and failed; None where none of either is known."""
    good, bad = statuses.get(SUCCEEDED, 0), statuses.get(Phase.FAILED.lower(), 0)
    return good / (good + bad) if good + bad else None


class Registry:
    """All access to the database. Every method may raise Unavailable (nothing is known about what happened) and SchemaError."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._checked = False

    @classmethod
    async def open(cls, url: str) -> "Registry":
        """A registry at `sqlite:////path/to/registry.db` or `postgresql://user@host/name`. Nothing connects yet: the
        database may be away.

        Raises:
            ValueError: no such URL.
        """
        return cls(open_engines(url))

    async def close(self) -> None:
        await self._engines.close()

    async def __aenter__(self) -> "Registry":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def dialect(self) -> str:
        """sqlite or postgresql."""
        return self._engines.read.dialect.name

    # Schema

    async def migrate(self) -> None:
        """Bring the schema to this version's, one process at a time.

        Raises:
            SchemaError: it is newer.
            Unavailable: the database is away, or another process migrates for too long.
        """
        with _away():
            async with self._engines.write.begin() as connection:
                await connection.run_sync(schema.upgrade)
        self._checked = True

    async def check(self) -> None:
        """Answer whether database and schema are there: for readiness.

        Raises:
            SchemaError: the schema is older or newer, or there is none.
            Unavailable: the database is away.
        """
        with _away():
            async with self._engines.read.connect() as connection:
                await connection.run_sync(schema.check)
        self._checked = True

    # Writes

    async def record(self, run: RunRecord) -> Transition | None:
        """Insert or patch the row of this run, and answer the transition if it is new.

        What is older than the row changes nothing, and a row that has ended keeps its outcome.
        """
        async with self._write() as connection:
            row = await self._locked(connection, run.run_id)
            if row is None and await self._insert(connection, run):
                return await self._move(connection, None, run)
            row = row or await self._locked(connection, run.run_id)
            if row is None:
                raise Unavailable(f"registry: the row of run {run.run_id} was removed while it was written")
            after = merge(row, run)
            if after != row:
                await self._update(connection, after)
            return await self._move(connection, row, after)

    async def set_usage(self, run_id: str, usage: Usage) -> bool:
        """Note what a live run has used so far; less than is known already changes nothing. True if the row changed."""
        async with self._write() as connection:
            row = await self._locked(connection, run_id)
            if row is None or row.status not in LIVE:
                return False
            after = replace(row, **usage_columns(usage))
            if after == row or usage_order(after) < usage_order(row):
                return False
            await self._update(connection, replace(after, updated_at=_later(row)))
            return True

    async def set_log(
        self, run_id: str, log_path: str, log_bytes: int, complete: bool | None = None, note: str | None = None
    ) -> bool:
        """Note where the log lies and how far it has come, also after the run's end. False if there is no such row (yet)."""
        async with self._write() as connection:
            row = await self._locked(connection, run_id)
            if row is None:
                return False
            after = replace(row, log_path=log_path, log_bytes=log_bytes, log_complete=complete, log_note=note)
            if after != row:
                await self._update(connection, replace(after, updated_at=_later(row)))
            return True

    async def mark_deleted(self, run_ids: Collection[str]) -> int:
        """Note that the objects of these runs are gone; answer how many rows that changed.

        A row that has not ended becomes `deleted`: how its run ended was not seen, and is not made up. Whoever saw a live run
        being deleted records its cancellation first.
        """
        now, changed = datetime.now(UTC), 0
        ended = runs.c.status.in_(sorted(FINAL))
        unseen = "the CodexRun was deleted while nobody watched; how the run ended is not known (last seen: "
        values = {
            "deleted_at": now,
            "updated_at": now,
            "reason": sa.case((ended, runs.c.reason), else_="DeletedUnseen"),
            "error": sa.case((ended, runs.c.error), else_=sa.literal(unseen) + runs.c.status + ")"),
            "rank": sa.case((ended, runs.c.rank), else_=Phase.SUCCEEDED.rank),
            "status": sa.case((ended, runs.c.status), else_=DELETED),
        }
        for some in _batches(run_ids):
            async with self._write() as connection:
                gone = runs.c.run_id.in_(some) & runs.c.deleted_at.is_(None)
                changed += (await connection.execute(sa.update(runs).where(gone).values(values))).rowcount
        return changed

    async def remove(self, run_ids: Collection[str]) -> int:
        """Remove rows and their events for good; answer how many rows there were."""
        removed = 0
        for some in _batches(run_ids):
            async with self._write() as connection:
                await connection.execute(sa.delete(run_events).where(run_events.c.run_id.in_(some)))
                removed += (await connection.execute(sa.delete(runs).where(runs.c.run_id.in_(some)))).rowcount
        return removed

    # Reads

    async def get(self, run_id: str) -> RunRecord | None:
        """The run of this id."""
        return await self._one(sa.select(*COLUMNS).where(runs.c.run_id == run_id))

    async def find(self, namespace: str, name: str) -> RunRecord | None:
        """The newest run of this name: names come again once an object is gone."""
        named = (runs.c.namespace == namespace) & (runs.c.name == name)
        return await self._one(sa.select(*COLUMNS).where(named).order_by(*NEWEST_FIRST).limit(1))

    async def page(self, chosen: Filter, after: str | None = None, size: int = PAGE_SIZE) -> Page:
        """The runs of the filter, newest first, from where the token says.

        Raises:
            BadToken: the token is none, or of a list with another filter.
        """
        size = max(1, min(size, LARGEST_PAGE))
        where = conditions(replace(chosen, search=""), self.dialect)
        if after:
            created, run_id = read_token(after, chosen)
            last = sa.tuple_(sa.literal(created, runs.c.created_at.type), sa.literal(run_id, runs.c.run_id.type))
            where.append(sa.tuple_(runs.c.created_at, runs.c.run_id) < last)
        rows: list[RunRecord] = []
        if begun := begins(chosen.search):
            # A word that many runs have is found among the newest ones; only a rare one is worth asking the word index for.
            newest = first_ids(where, LIST, NEAR)
            rows = await self._rows(rows_of(newest).where(*begun).limit(size + 1))
        if len(rows) <= size:
            rows = await self._rows(rows_of(matching_ids(chosen, where, self.dialect, size + 1)))
        shown = tuple(rows[:size])
        return Page(shown, token_after(shown[-1], chosen) if len(rows) > size else None)

    async def counts(self, chosen: Filter) -> dict[str, int]:
        """How many runs of the filter there are, by status; a status that has none is absent."""
        query = sa.select(runs.c.status, sa.func.count()).where(*conditions(chosen, self.dialect)).group_by(runs.c.status)
        query = reading(query, index_for(chosen, counting=True))
        return {row[0]: row[1] for row in await self._all(query)}

    async def live(self) -> list[tuple[str, str]]:
        """Id and name of every run that has not ended and whose object was not found to be gone."""
        query = sa.select(runs.c.run_id, runs.c.name).where(runs.c.status.in_(LIVE))
        return [(run_id, name) for run_id, name in await self._all(query)]

    async def open_logs(self) -> list[RunRecord]:
        """Runs that have started and ended, but of whose log nobody has said whether it is complete."""
        open_still = runs.c.status.in_(FINAL) & runs.c.started_at.is_not(None) & runs.c.log_complete.is_(None)
        return await self._rows(sa.select(*COLUMNS).where(open_still))

    async def events(self, run_id: str) -> list[RunEvent]:
        """The run's transitions in the order in which they were recorded."""
        c = run_events.c
        columns = [c[field.name] for field in fields(RunEvent)]
        query = sa.select(*columns).where(c.run_id == run_id).order_by(c.seq)
        return [RunEvent(**row._mapping) for row in await self._all(query)]

    async def expired(self, before: datetime, limit: int = AT_ONCE) -> list[str]:
        """Ids of runs that ended before this moment, oldest first: what retention removes. None that may still run."""
        over = sa.func.coalesce(runs.c.finished_at, runs.c.deleted_at, runs.c.updated_at)
        done = runs.c.status.in_([*sorted(FINAL), DELETED]) & (runs.c.created_at < before) & (over < before)
        query = sa.select(runs.c.run_id).where(done).order_by(runs.c.created_at, runs.c.run_id).limit(limit)
        return [run_id for (run_id,) in await self._all(query)]

    async def usual(self, job_type: str) -> timedelta | None:
        """The median duration of the job type's last good runs; None where there is none to learn from."""
        durations = await self._durations([runs.c.job_type == job_type], USUAL)
        return timedelta(seconds=statistics.median(durations)) if durations else None

    async def stats(self, chosen: Filter) -> Stats:
        """What the runs of the filter came to."""
        where, c = conditions(chosen, self.dialect), runs.c
        tokens, cost = sa.func.sum(c.cost_tokens), sa.func.coalesce(sa.func.sum(c.cost_micro_usd), 0)
        query = sa.select(c.job_type, c.status, sa.func.count(), tokens, cost).where(*where).group_by(c.job_type, c.status)
        query = reading(query, LIST)
        rows = [(job_type, status, count, int(t), int(m)) for job_type, status, count, t, m in await self._all(query)]
        durations = sorted(await self._durations(where, DURATIONS))
        by_type: dict[str, list[tuple[str, int, int, int]]] = defaultdict(list)
        for job_type, *rest in rows:
            by_type[job_type].append((rest[0], rest[1], rest[2], rest[3]))
        return Stats(
            statuses=_summed((status, count) for _, status, count, _, _ in rows),
            cost_tokens=sum(row[3] for row in rows),
            cost_micro_usd=sum(row[4] for row in rows),
            median_seconds=statistics.median(durations) if durations else None,
            p95_seconds=durations[(len(durations) * 95 - 1) // 100] if durations else None,
            job_types=tuple(
                JobTypeStats(name, {s: n for s, n, _, _ in of}, sum(t for _, _, t, _ in of), sum(m for *_, m in of))
                for name, of in sorted(by_type.items())
            ),
        )

    async def prompt_stats(self) -> list[PromptStats]:
        """How every prompt version does, by name and version."""
        c = runs.c
        tokens, cost = sa.func.sum(c.cost_tokens), sa.func.coalesce(sa.func.sum(c.cost_micro_usd), 0)
        by = (c.prompt_name, c.prompt_version, c.status)
        query = sa.select(*by, sa.func.count(), tokens, cost, sa.func.max(c.created_at))
        query = query.where(c.prompt_name.is_not(None), c.prompt_version.is_not(None)).group_by(*by)
        versions: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for name, version, *rest in await self._all(query):
            versions[name, version].append(rest)
        return [
            PromptStats(
                name,
                version,
                {row[0]: row[1] for row in of},
                sum(int(row[2]) for row in of),
                sum(int(row[3]) for row in of),
                max(row[4] for row in of),
            )
            for (name, version), of in sorted(versions.items(), key=lambda item: (item[0][0], _number(item[0][1])))
        ]

    # How it is done

    @contextlib.asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        await self._ready()
        with _away():
            async with self._engines.write.begin() as connection:
                yield connection

    async def _ready(self) -> None:
        if not self._checked:
            await self.check()

    async def _all(self, query: sa.Select[Any]) -> list[Any]:
        await self._ready()
        with _away():
            async with self._engines.read.connect() as connection:
                return list((await connection.execute(query)).all())

    async def _rows(self, query: sa.Select[Any]) -> list[RunRecord]:
        return [_record(row) for row in await self._all(query)]

    async def _one(self, query: sa.Select[Any]) -> RunRecord | None:
        found = await self._all(query)
        return _record(found[0]) if found else None

    async def _durations(self, where: list[sa.ColumnElement[bool]], most: int) -> list[float]:
        good = (runs.c.status == SUCCEEDED, runs.c.started_at.is_not(None), runs.c.finished_at.is_not(None))
        query = sa.select(runs.c.started_at, runs.c.finished_at).where(*where, *good).order_by(*NEWEST_FIRST).limit(most)
        return [max(0.0, (finished - started).total_seconds()) for started, finished in await self._all(query)]

    async def _locked(self, connection: AsyncConnection, run_id: str) -> RunRecord | None:
        """The row, held until the end of the transaction (SQLite: the transaction holds everything already)."""
        found = await connection.execute(sa.select(*COLUMNS).where(runs.c.run_id == run_id).with_for_update())
        row = found.first()
        return _record(row) if row else None

    async def _insert(self, connection: AsyncConnection, run: RunRecord) -> bool:
        """False if another process was faster."""
        inserted = await connection.execute(_insert_once(self.dialect, runs, _values(run)))
        return inserted.first() is not None

    async def _update(self, connection: AsyncConnection, run: RunRecord) -> None:
        await connection.execute(sa.update(runs).where(runs.c.run_id == run.run_id).values(_values(run)))

    async def _move(self, connection: AsyncConnection, before: RunRecord | None, after: RunRecord) -> Transition | None:
        moved = transition(before, after)
        if moved is None:
            return None
        event = {field.name: getattr(moved, field.name) for field in fields(RunEvent)}
        recorded = await connection.execute(_insert_once(self.dialect, run_events, event))
        return moved if recorded.first() is not None else None


def _insert_once(dialect: str, table: sa.Table, values: dict[str, Any]) -> Any:
    """It returns a row if there was none of that key."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).values(values).on_conflict_do_nothing().returning(table.c.seq)


def _values(run: RunRecord) -> dict[str, Any]:
    return {column.name: getattr(run, column.name) for column in COLUMNS} | {"words": words_of(run)}


def _record(row: sa.Row[Any]) -> RunRecord:
    return RunRecord(**row._mapping)


def _later(row: RunRecord) -> datetime:
    return max(row.updated_at, datetime.now(UTC))


def _summed(pairs: Iterator[tuple[str, int]]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for name, count in pairs:
        total[name] += count
    return dict(total)


def _number(version: str) -> tuple[int, str]:
    """v10 comes after v9."""
    digits = version.removeprefix("v")
    return (int(digits) if digits.isdecimal() else 0, version)


def _batches(run_ids: Collection[str]) -> Iterator[list[str]]:
    ids = sorted(set(run_ids))  # one order for all: no deadlock between two that remove the same
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """Whatever the database or the way to it says is one answer: not now. The message is the driver's own, without values."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        said = str(error.orig).strip().splitlines()
        raise Unavailable(f"registry: {said[0] if said else type(error.orig).__name__}") from error
    except (sa.exc.TimeoutError, OSError) as error:
        raise Unavailable(f"registry: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
