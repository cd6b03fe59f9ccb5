"""How is the registry's database reached, and what can be wrong with it?

Two kinds of trouble only: the schema is another version's (SchemaError), or the database is away
(Unavailable).
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from codexrun_core.errors import Unavailable
from codexrun_core.registry import schema
from codexrun_core.registry.engines import Engines, open_engines
from codexrun_core.runs.record import RunRecord

IDS_PER_STATEMENT = 500  # ids in one statement

T = TypeVar("T")


class Database:
    """Connections and schema. Every method of it and of what builds on it may raise Unavailable:
    SchemaError, one kind of it, where the schema is another version's, as before `migrate`."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self.migrated = asyncio.Event()  # the schema has been found to be this version's
        # This process has migrated rows: some have columns that only their runs' next states fill.
        self.upgraded = False

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open a registry at `sqlite:////path/to/registry.db` or `postgresql://user@host/name`.
        Nothing connects yet: the database may be away.

        Raises:
            ValueError: no such URL.
        """
        return cls(open_engines(url))

    async def close(self) -> None:
        await self._engines.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def dialect(self) -> str:
        """Return sqlite or postgresql."""
        return self._engines.read.dialect.name

    async def migrate(self) -> None:
        """Bring the schema to this version's, one process at a time.

        Raises:
            SchemaError: it is newer.
            Unavailable: the database is away, or another process migrates for too long.
        """
        self.upgraded = await self._in_transaction(schema.upgrade) or self.upgraded
        self.migrated.set()

    async def check(self) -> None:
        """Check that database and schema are there: for readiness.

        Raises:
            SchemaError: the schema is older or newer, or there is none.
            Unavailable: the database is away.
        """
        await self._reading(schema.check)
        self.migrated.set()

    async def _write(self, work: Callable[[sa.Connection], T]) -> T:
        """Return what `work` returns, in a transaction of its own."""
        await self._ready()
        return await self._in_transaction(work)

    async def _ready(self) -> None:
        if not self.migrated.is_set():
            await self.check()

    async def _all(self, query: sa.Select[Any], **values: Any) -> list[Any]:
        await self._ready()
        return await self._reading(lambda connection: list(connection.execute(query, values).all()))

    async def _rows(self, query: sa.Select[Any]) -> list[RunRecord]:
        return [record_from(row) for row in await self._all(query)]

    async def _one(self, query: sa.Select[Any], **values: Any) -> RunRecord | None:
        rows = await self._all(query, **values)
        return record_from(rows[0]) if rows else None

    async def _reading(self, work: Callable[[sa.Connection], T]) -> T:
        def read() -> T:
            with self._engines.read.connect() as connection:
                return work(connection)

        with _as_unavailable():
            return await self._engines.readers.run(read)

    async def _in_transaction(self, work: Callable[[sa.Connection], T]) -> T:
        def write() -> T:
            with self._engines.write.begin() as connection:
                return work(connection)

        with _as_unavailable(writing=True):
            return await self._engines.writers.run(write)


@cache
def insert_once(dialect: str, table: sa.Table) -> Any:
    """Return an insert that returns a row if there was none of that key."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing().returning(*table.primary_key)


def batches(run_ids: Collection[str]) -> Iterator[list[str]]:
    ids = sorted(set(run_ids))  # one order for all: no deadlock between two that remove the same
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        yield ids[start : start + IDS_PER_STATEMENT]


def record_from(row: sa.Row[Any]) -> RunRecord:
    return RunRecord(**row._mapping)


@contextlib.contextmanager
def _as_unavailable(*, writing: bool = False) -> Iterator[None]:
    """Turn whatever the database or the way to it says into one answer: not now. The message is the
    driver's own, without values.

    Only what it says of a value that it will never take (SQLSTATE 22xxx: data exception, 54000:
    program limit exceeded) passes as it is: the same write again would be refused again, and hold
    up those behind it.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if writing and (state.startswith("22") or state == "54000"):
            raise
        lines = str(error.orig).strip().splitlines()
        raise Unavailable(
            f"registry: {lines[0] if lines else type(error.orig).__name__}"
        ) from error
    except (sa.exc.TimeoutError, OSError) as error:
        raise Unavailable(
            f"registry: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
