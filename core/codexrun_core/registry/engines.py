"""Connections to the registry's database: readers that see every commit at once, and writers that wait their turn."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

BUSY = 5.0  # seconds to wait for a lock, a connection or a server
STATEMENT_MS = 10_000
READERS, WRITERS = 5, 5

DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


@dataclass(frozen=True)
class Engines:
    """Readers are in autocommit: a list needs no transaction. `write.begin()` takes the write lock at once on SQLite."""

    read: AsyncEngine
    write: AsyncEngine

    async def close(self) -> None:
        await self.read.dispose()
        await self.write.dispose()


def open_engines(address: str) -> Engines:
    """Make the pools; nothing connects yet.

    Raises:
        ValueError: not the URL of a SQLite file or a Postgres database. The message holds no password.
    """
    try:
        url = make_url(address)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ValueError(
            "registry URL: not a URL; use sqlite:////path/to/registry.db or postgresql://user@host/name"
        ) from error
    driver = DRIVERS.get(url.drivername)
    if driver is None:
        raise ValueError(f"registry URL: {url.drivername} is not supported; use sqlite:////path or postgresql://user@host/name")
    url = url.set(drivername=driver)
    return _sqlite(url) if driver == "sqlite+aiosqlite" else _postgres(url)


def _sqlite(url: URL) -> Engines:
    if not url.database or url.database == ":memory:":
        raise ValueError("registry URL: SQLite needs a file that all connections share; use sqlite:////path/to/registry.db")
    wait = {"timeout": BUSY}
    read = create_async_engine(
        url,
        connect_args=wait,
        pool_size=READERS,
        max_overflow=0,
        pool_timeout=BUSY,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
    )
    # One writer at a time is all that SQLite has; a pool of one makes others wait in turn and not by chance.
    write = create_async_engine(url, connect_args=wait, pool_size=1, max_overflow=0, pool_timeout=BUSY)
    for engine in (read, write):
        sa.event.listen(engine.sync_engine, "connect", _on_sqlite_connect)
        engine.sync_engine.dialect.statement_compiler = _Compiler
    sa.event.listen(write.sync_engine, "begin", _begin_immediate)
    return Engines(read, write)


class _Compiler(SQLiteCompiler):
    """SQLAlchemy has no words of its own for INDEXED BY."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:  # noqa: ARG002 - an override
        return text


def _on_sqlite_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    cursor = connection.cursor()
    # In this order: the switch to WAL needs a lock that another process may hold. NORMAL loses no consistency under WAL,
    # at worst the last moments before a power cut, and those the mirror writes again.
    for pragma in (f"busy_timeout={int(BUSY * 1000)}", "journal_mode=WAL", "synchronous=NORMAL", "cache_size=-16384"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer: it would fail at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres(url: URL) -> Engines:
    connect = {
        "connect_timeout": int(BUSY),
        # A server that is gone without a word is noticed. Plans are made for the values at hand: filters differ a thousandfold.
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 10,
        "application_name": "codexrun",
        "options": f"-c statement_timeout={STATEMENT_MS} -c plan_cache_mode=force_custom_plan -c timezone=UTC -c jit=off",
    }
    common = {"connect_args": connect, "max_overflow": 0, "pool_timeout": BUSY, "pool_pre_ping": True}
    read = create_async_engine(
        url,
        pool_size=READERS,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        **common,
    )
    return Engines(read, create_async_engine(url, pool_size=WRITERS, **common))
