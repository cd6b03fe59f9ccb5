"""The application over a real SQLite registry and an apiserver in memory; nothing listens on a
port."""

import asyncio
import functools
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fake_cluster import FakeCluster, FakeOperator
from manifests import job_type, prompt

from codexrun_api.app import create_app
from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_core.registry import Registry, schema

TOKEN = "t0ken-of-the-tests"


class Stand:
    """What a test holds: the caller's client, and every world behind the application."""

    def __init__(self, kube: FakeCluster, registry: Registry, app: Any) -> None:
        self.kube = kube
        self.registry = registry
        self.app = app
        self.operator = FakeOperator(kube)
        self.services: Services = app.state.services
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),
            base_url="http://api",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )

    async def start(self, **body: Any) -> httpx.Response:
        headers = body.pop("headers", {})
        wish = {"job_type": "hello", "inputs": {"name": "world"}, **body}
        return await self.http.post("/runs/start", json=wish, headers=headers)

    async def settle(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Let the tasks beside the application go on until something holds; a bound, not a
        measure."""
        async with asyncio.timeout(20):
            while not await holds():  # noqa: ASYNC110 - nothing rings for all of them
                await asyncio.sleep(0)

    async def mirrored(self) -> None:
        """Until every change of the cluster has its row."""

        async def holds() -> bool:
            mirror = self.services.mirror
            told = [n for n, path, _ in self.kube.log if path.startswith(self.kube.runs)]
            return (
                int(mirror.watcher._version or 0) >= max(told, default=0) and mirror.writer.lag == 0
            )

        await self.settle(holds)

    async def finish(self, name: str, phase: str = "Succeeded", **status: Any) -> None:
        self.kube.status(
            name,
            phase,
            finishedAt="2026-01-31T12:00:30Z",
            startedAt="2026-01-31T12:00:00Z",
            **status,
        )
        await self.mirrored()


CSRF = re.compile(r'name="csrf" value="([0-9a-f]+)"')


async def csrf_of(http: httpx.AsyncClient) -> str:
    """Return what a visitor's forms of the console have to send along."""
    found = CSRF.search((await http.get("/console/runs")).text)
    assert found
    return found[1]


@pytest.fixture
def verdict_seconds() -> float:
    """How long a start waits for the operator; a test parametrizes it to wait less."""
    return 5


@functools.cache
def empty_registry() -> bytes:
    """Return a migrated SQLite database without rows: migrations take longer than most tests."""
    with sa.create_engine("sqlite://").connect() as connection:
        schema.upgrade(connection)
        connection.commit()
        sqlite: sqlite3.Connection = connection.connection.driver_connection
        return sqlite.serialize()


@pytest.fixture
def settings(tmp_path: Path, verdict_seconds: float) -> Settings:
    (tmp_path / "registry.db").write_bytes(empty_registry())
    return Settings(
        namespace="codexrun",
        registry_url=f"sqlite:///{tmp_path}/registry.db",
        archive=tmp_path / "archive",
        token=TOKEN,
        verdict_seconds=verdict_seconds,
    )


def hello_cluster() -> FakeCluster:
    """An apiserver with the job type and the prompt `hello`."""
    kube = FakeCluster()
    kube.put(kube.job_types, job_type())
    kube.put(kube.config_maps, prompt())
    return kube


@asynccontextmanager
async def services_over(settings: Settings, kube: FakeCluster) -> AsyncIterator[Services]:
    """What routes work with: registry and archive of these settings, ready, and this apiserver."""
    async with await Registry.open(settings.registry_url) as registry:
        await registry.migrate()
        services = Services.make(settings, registry, kube)
        services.archive.open()
        yield services


@asynccontextmanager
async def serving(services: Services, kube: FakeCluster) -> AsyncIterator[Stand]:
    """The application over these services, once it is ready."""
    app = create_app(services)
    async with app.router.lifespan_context(app):
        made = Stand(kube, services.registry, app)

        async def ready() -> bool:
            return services.ready

        await made.settle(ready)
        async with made.http:
            yield made


@pytest.fixture
async def stand(settings: Settings) -> AsyncIterator[Stand]:
    kube = hello_cluster()
    async with services_over(settings, kube) as services, serving(services, kube) as made:
        yield made
