"""Connections to the registry's database: readers that see every commit at once, and writers that
wait their turn.

A call is one visit to a thread. With the drivers' own asyncio a row read by its key cost three
times the CPU: SQLite's goes to a thread and back for each step of it, and SQLAlchemy switches
greenlets for each wait.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS = 5.0  # seconds to wait for a lock, a connection or a server
STATEMENT_TIMEOUT_MS = 10_000
READERS = 5
WRITERS = 5

DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


T = TypeVar("T")


class Pool:
    """Connections, and as many threads that use them."""

    def __init__(self, engine: sa.Engine, size: int) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(size, "registry")
        self._free = asyncio.Semaphore(size)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, in a thread.

        Raises:
            TimeoutError: all connections are busy for too long.
        """
        try:
            async with asyncio.timeout(BUSY_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise TimeoutError(f"all connections were busy for {BUSY_SECONDS:.0f} s") from None
        # Given back by the thread's end, not by that of a caller who has gone: the connection is in
        # use until then.
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        running.add_done_callback(self._give_back)
        return await asyncio.shield(running)

    def _give_back(self, ended: asyncio.Future[Any]) -> None:
        self._free.release()
        ended.cancelled() or ended.exception()  # looked at, also where nobody waits for it any more

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()


class Engines:
    """Readers are in autocommit: a list needs no transaction. `write.begin()` takes the write lock
    at once on SQLite."""

    def __init__(self, read: sa.Engine, readers: int, write: sa.Engine, writers: int) -> None:
        self.read = read
        self.write = write
        self.readers = Pool(read, readers)
        self.writers = Pool(write, writers)

    async def close(self) -> None:
        await self.readers.close()
        await self.writers.close()


def registry_url(env: Mapping[str, str]) -> str:
    """Return the URL of the installation's registry, from the environment that the chart sets:
    CODEXRUN_REGISTRY_URL, else SQLite in CODEXRUN_DATA."""
    data = Path(env.get("CODEXRUN_DATA", "/var/lib/codexrun"))
    return env.get("CODEXRUN_REGISTRY_URL", "").strip() or f"sqlite:///{data}/registry.db"


def open_engines(address: str) -> Engines:
    """Make the pools; nothing connects yet.

    Raises:
        ValueError: not the URL of a SQLite file or a Postgres database. The message holds no
            password.
    """
    try:
        url = make_url(address)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ValueError(
            "registry URL: not a URL; use sqlite:////path/to/registry.db or"
            " postgresql://user@host/name"
        ) from error
    driver = DRIVERS.get(url.drivername)
    if driver is None:
        raise ValueError(
            f"registry URL: {url.drivername} is not supported; use sqlite:////path or"
            " postgresql://user@host/name"
        )
    url = url.set(drivername=driver)
    return _sqlite(url) if driver == "sqlite+pysqlite" else _postgres(url)


def _sqlite(url: URL) -> Engines:
    if not url.database or url.database == ":memory:":
        raise ValueError(
            "registry URL: SQLite needs a file that all connections share; use"
            " sqlite:////path/to/registry.db"
        )
    wait = {"timeout": BUSY_SECONDS}
    read = sa.create_engine(
        url,
        connect_args=wait,
        pool_size=READERS,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
    )
    # One writer at a time is all that SQLite has; a pool of one makes others wait in turn and not
    # by chance.
    write = sa.create_engine(
        url, connect_args=wait, pool_size=1, max_overflow=0, pool_timeout=BUSY_SECONDS
    )
    for engine in (read, write):
        sa.event.listen(engine, "connect", _on_sqlite_connect)
        engine.dialect.statement_compiler = _Compiler
    sa.event.listen(write, "begin", _begin_immediate)
    return Engines(read, READERS, write, 1)


class _Compiler(SQLiteCompiler):
    """SQLAlchemy has no words of its own for INDEXED BY."""

    def get_from_hint_text(
        self,
        table: sa.FromClause,  # noqa: ARG002 - an override
        text: str | None,
    ) -> str | None:
        return text


def _on_sqlite_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    cursor = connection.cursor()
    # In this order: the switch to WAL needs a lock that another process may hold. NORMAL loses no
    # consistency under WAL, at worst the last moments before a power cut, and those the mirror
    # writes again.
    for pragma in (
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "cache_size=-16384",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer: it would fail
    # at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres(url: URL) -> Engines:
    connect = {
        "connect_timeout": int(BUSY_SECONDS),
        # A server that is gone without a word is noticed. Plans are made for the values at hand:
        # filters differ a thousandfold.
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 10,
        "application_name": "codexrun",
        "options": (
            f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c plan_cache_mode=force_custom_plan -c"
            " timezone=UTC -c jit=off"
        ),
    }
    common = {
        "connect_args": connect,
        "max_overflow": 0,
        "pool_timeout": BUSY_SECONDS,
        "pool_pre_ping": True,
    }
    read = sa.create_engine(
        url,
        pool_size=READERS,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,
        **common,
    )
    return Engines(read, READERS, sa.create_engine(url, pool_size=WRITERS, **common), WRITERS)
