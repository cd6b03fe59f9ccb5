"""The console as it runs: the real application on a port, over a real registry and archive, and an
apiserver in memory."""

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import manifests
import uvicorn
from apistand import TOKEN, hello_cluster, services_over
from artifacts import store_artifact
from fake_cluster import FakeCluster, FakeOperator

from codexrun_api.app import create_app
from codexrun_api.archive.archive import Archive
from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_core.registry import Registry
from codexrun_pod import loglines

TOKENS = "ada:ada-token\n"
Json = dict[str, Any]


@dataclass
class Console:
    """What a test holds: the address, and every world behind it."""

    url: str
    app: Any
    kube: FakeCluster
    services: Services
    operator: FakeOperator

    @property
    def registry(self) -> Registry:
        return self.services.registry

    @property
    def archive(self) -> Archive:
        return self.services.archive

    async def until(self, holds: Any, what: str = "it holds") -> None:
        """A bound, not a measure."""
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110 - nothing rings for all of them
                await asyncio.sleep(0.02)

    async def mirrored(self) -> None:
        """Until every change of the cluster has its row."""

        def holds() -> bool:
            mirror = self.services.mirror
            told = [n for n, path, _ in self.kube.log if path.startswith(self.kube.runs)]
            return (
                int(mirror.watcher._version or 0) >= max(told, default=0) and mirror.writer.lag == 0
            )

        await self.until(holds)

    def run(
        self,
        name: str,
        phase: str = "Running",
        *,
        age: float = 60,
        job_type: str = "hello",
        **more: Any,
    ) -> str:
        """A run as the operator left it; its id."""
        now = datetime.now(UTC)
        spec = {
            "jobType": job_type,
            "inputs": more.pop("inputs", {"name": "world"}),
            **more.pop("spec", {}),
        }
        notes = {
            "codexrun.dev/requested-by": more.pop("user", "ada"),
            "codexrun.dev/origin": more.pop("origin", "cli"),
        }
        status: Json = {"phase": phase, "attempt": 1, **more.pop("status", {})}
        created = now - timedelta(seconds=age)
        if phase in ("Running", "Stopping", "Succeeded", "Failed"):
            status.setdefault(
                "startedAt", stamp(created + timedelta(seconds=more.pop("queued", 6)))
            )
        if phase in ("Succeeded", "Failed", "Cancelled", "Rejected"):
            took = more.pop("took", None)
            ended = min(now, created + timedelta(seconds=6 + took)) if took is not None else now
            status.setdefault("finishedAt", stamp(ended))
        body = manifests.run(name, **spec)
        body["metadata"] |= {"annotations": notes, "labels": more.pop("labels", {})}
        body["status"] = status
        hook = self.kube.on_create
        self.kube.on_create = lambda *_: None
        raw = self.kube.put(self.kube.runs, body)
        self.kube.on_create = hook
        self.kube.patch(
            f"{self.kube.runs}/{name}", {"metadata": {"creationTimestamp": stamp(created)}}
        )
        return str(raw["metadata"]["uid"])

    def say(self, run_id: str, *lines: Json | bytes, attempt: int = 1) -> None:
        """More of its log, as the gate ships it, and the bell that the ingest port rings."""
        data = b"".join(
            line if isinstance(line, bytes) else loglines.encode(line) for line in lines
        )
        begin = self.archive.log(run_id).begins.get(str(attempt))
        offset = self.archive.size(run_id) - begin if begin is not None else 0
        self.archive.append_attempt(run_id, attempt, offset, data)
        self.services.notifier.notify(run_id)

    def put(self, run_id: str, name: str, data: bytes) -> None:
        store_artifact(self.archive, run_id, name, data)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def said(event: Json, at: datetime | None = None) -> Json:
    """Codex's event as a line of the log."""
    return {
        "ts": (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "src": "codex",
        "event": event,
    }


def item(
    kind: str, number: int, state: str = "completed", at: datetime | None = None, **fields: Any
) -> Json:
    return said(
        {"type": f"item.{state}", "item": {"id": f"item_{number}", "type": kind, **fields}}, at
    )


def free_socket() -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    return made


@contextlib.asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Console]:
    """A console on a port of its own, until the block ends."""
    tokens = folder / "tokens"
    tokens.write_text(TOKENS)
    url = settings.pop("registry_url", f"sqlite:///{folder}/registry.db")
    made = Settings(
        namespace="codexrun",
        registry_url=url,
        archive=folder / "archive",
        **{"token": TOKEN, "token_file": tokens, "verdict_seconds": 5, **settings},
    )
    kube = hello_cluster()
    async with services_over(made, kube) as services:
        app = create_app(services)
        listening = free_socket()
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=1, lifespan="on"
        )
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        task = asyncio.create_task(server.serve([listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        console = Console(url, app, kube, services, FakeOperator(kube))
        try:
            await console.until(lambda: server.started and services.ready, "the console answers")
            yield console
        finally:
            services.stop.set()
            server.should_exit = True
            await task


def run_id() -> str:
    return str(uuid.uuid4())


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
