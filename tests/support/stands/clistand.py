"""The command line before the real api: its application over an apiserver in memory, listening on a
port; and the cluster's transport before the same apiserver. Everything behind the command runs in
one loop, in a thread of its own."""

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from apistand import TOKEN, empty_registry
from fake_cluster import FakeCluster, FakeOperator, condition
from manifests import job_type, prompt
from programs import free_port
from typer.testing import CliRunner

from codexrun_api.app import create_app
from codexrun_api.archive.archive import Archive
from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_cli.main import app
from codexrun_cli.transports.cluster.event_loop import Loop
from codexrun_cli.transports.cluster.transport import Cluster
from codexrun_core.errors import NotFound
from codexrun_core.registry import Registry
from codexrun_core.runs.label_rules import matches, parse_selector
from codexrun_pod import loglines

PATIENCE = 30  # seconds until a wait gives up; a bound, never an assertion


class Apiserver(FakeCluster):
    """With selectors, logs of pods, and the few reviews that commands ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, bytes] = {}  # pod -> its log, each line with its time
        self.denied: set[str] = set()
        self.more: dict[str, Any] = {}  # path -> answer, for what has no place among the objects

    async def get(self, path: str) -> Any:
        if path in self.more:
            return self.more[path]
        plain = path.partition("?")[0]
        if plain.endswith(("/deployments", "/pods")):
            return {"items": [item async for page in self.pages(plain) for item in page["items"]]}
        return await super().get(path)

    async def create(self, path: str, body: Any) -> Any:
        if path.endswith("selfsubjectreviews"):
            return {"status": {"userInfo": {"username": "ada"}}}
        if path.endswith("selfsubjectaccessreviews"):
            wanted = body["spec"]["resourceAttributes"]
            return {
                "status": {"allowed": f"{wanted['verb']} {wanted['resource']}" not in self.denied}
            }
        if path.endswith("?dryRun=All"):
            return {**body, "metadata": {**body["metadata"], "uid": "dry", "managedFields": []}}
        return await super().create(path, body)

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Any]:
        async for page in super().pages(self.runs if path.endswith("v1alpha1/codexruns") else path):
            yield {**page, "items": [item for item in page["items"] if _fits(item, selectors)]}

    async def watch(
        self, path: str, version: str, *, silence: float, **selectors: str
    ) -> AsyncIterator[Any]:
        async for event in super().watch(path, version, silence=silence):
            if _fits(event["object"], selectors):
                yield event

    async def stream(self, path: str, *, silence: float) -> AsyncIterator[bytes]:
        pod = path.split("/")[-2]
        if pod not in self.logs:
            raise NotFound(404, "NotFound", f"pods {pod} not found")
        yield (
            re.sub(rb"(?m)^\S+ ", b"", self.logs[pod])
            if "timestamps" not in path
            else self.logs[pod]
        )


def _fits(item: Any, selectors: dict[str, str]) -> bool:
    for part in filter(None, selectors.get("fieldSelector", "").split(",")):
        path, _, value = part.partition("=")
        found: Any = item
        for step in path.split("."):
            found = (found or {}).get(step)
        if str(found) != value:
            return False
    wanted = selectors.get("labelSelector", "")
    return not wanted or matches(parse_selector(wanted), item["metadata"].get("labels") or {})


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


class Stand:
    """`cli(...)` runs a command over REST, or straight on the cluster with `rest=False`."""

    def __init__(self, tmp_path: Path, monkeypatch: Any) -> None:
        self.root = tmp_path
        self._patch = monkeypatch
        self.loop = Loop()
        self.kube = Apiserver()
        self.operator = FakeOperator(self.kube)
        self.archive = Archive(tmp_path / "archive")
        self.archive.open()
        (self.root / "registry.db").write_bytes(empty_registry())
        self.port = free_port()
        self.rest = True
        self.looks = 0  # how often the api was asked for one run
        self.at_once(self.kube.put, self.kube.job_types, job_type())
        self.at_once(self.kube.put, self.kube.config_maps, prompt())
        self._registry: Registry | None = None
        self._server: uvicorn.Server | None = None
        self._serving: Any = None
        monkeypatch.setattr("codexrun_cli.transports.connection._cluster", self._cluster)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "COLUMNS": "80",
            "NO_COLOR": "1",
            "CODEX_CONTROL_URL": self.url,
            "CODEX_CONTROL_TOKEN": TOKEN,
        }
        for name in ("NO_COLOR", "TERM", "KUBECONFIG"):
            monkeypatch.delenv(name, raising=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- the api's process
    # ---------------------------------------------------------------------------

    def serve(self) -> None:
        self.loop.raw(self._start())
        self.until(
            lambda: self._server is not None and self._server.started and self.services.ready
        )

    async def _start(self) -> None:
        settings = Settings(
            namespace="codexrun",
            registry_url=f"sqlite:///{self.root}/registry.db",
            archive=self.root / "archive",
            token=TOKEN,
            verdict_seconds=5,
        )
        self._registry = await Registry.open(settings.registry_url)
        await self._registry.migrate()
        self.services = Services.make(settings, self._registry, self.kube)
        find = self.services.find

        async def counted(wanted: str) -> Any:
            self.looks += 1
            return await find(wanted)

        self.services.find = counted
        config = uvicorn.Config(
            create_app(self.services),
            port=self.port,
            log_level="error",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        self._serving = asyncio.ensure_future(self._server.serve())

    def stop(self) -> None:
        """As on SIGTERM: streams end at once."""
        if self._server is None:
            return

        async def end() -> None:
            assert self._server
            assert self._registry
            self.services.stop.set()
            self._server.should_exit = True
            await self._serving
            await self._registry.close()

        self.loop.raw(end())
        self._server = None

    def close(self) -> None:
        self.stop()
        self.loop.stop()

    def _cluster(self, settings: Any) -> Cluster:
        shared = Cluster(self.kube, self.loop, everywhere=settings.flags.all_namespaces)
        shared.close = lambda: None  # type: ignore[method-assign]
        return shared

    # -- the world
    # -----------------------------------------------------------------------------------

    def at_once(self, act: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        async def run() -> Any:
            return act(*arguments, **named)

        return self.loop.raw(run())

    def phase(self, name: str, phase: str, **status: Any) -> Any:
        return self.at_once(self.kube.status, name, phase, **status)

    def end(self, name: str, phase: str = "Succeeded", **status: Any) -> Any:
        usage = {
            "inputTokens": 100,
            "outputTokens": 20,
            "totalTokens": 120,
            "requests": 1,
            "costMicroUSD": 4200,
            "complete": True,
        }
        times = {"startedAt": "2026-01-31T12:00:00Z", "finishedAt": "2026-01-31T12:00:30Z"}
        about = {"result": {"message": "Hello, **world**!"}} if phase == "Succeeded" else {}
        return self.phase(
            name,
            phase,
            **{
                "reason": phase,
                "attempt": 1,
                "usage": usage,
                "conditions": [condition("Admitted")],
                **times,
                **about,
                **status,
            },
        )

    def log(self, name: str, *lines: bytes, sealed: bool = True) -> bytes:
        """Lines that the run's agent printed: in the archive, and in its pod."""
        run_id = self.run_id(name)
        text = b"".join(lines)
        size = self.archive.size(run_id)
        self.archive.append_attempt(run_id, 1, size, text)
        if sealed:
            self.archive.seal(run_id, 1, complete=True)
        stamped = b"".join(
            b"2026-01-31T12:00:00.%09dZ " % i + line
            for i, line in enumerate(text.splitlines(keepends=True))
        )
        pod = {
            "metadata": {
                "name": f"{name}-pod",
                "labels": {"codexrun.dev/run-uid": run_id, "codexrun.dev/run": name},
            },
            "status": {
                "containerStatuses": [
                    {"name": "agent", "state": {"terminated": {}} if sealed else {"running": {}}}
                ]
            },
        }
        self.at_once(self.kube.put, self.kube.pods, pod)
        self.kube.logs[f"{name}-pod"] = stamped
        if self._server is not None:
            self.at_once(self.services.notifier.notify, run_id)
        return text

    def run_id(self, name: str) -> str:
        return str(self.kube.run(name)["metadata"]["uid"])

    def until(self, holds: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := holds()):
            assert time.monotonic() < deadline, "it never came to it"
            time.sleep(0.01)
        return found

    # -- commands
    # ------------------------------------------------------------------------------------

    def cli(
        self, *arguments: str, stdin: str | None = None, env: dict[str, str | None] | None = None
    ) -> Done:
        given: dict[str, str | None] = {**self.env, **(env or {})}
        if not self.rest:
            given |= {"CODEX_CONTROL_URL": None, "CODEX_CONTROL_TOKEN": None}
        with self._patch.context() as patch:
            for name in ("CODEX_CONTROL_URL", "CODEX_CONTROL_TOKEN"):
                patch.delenv(name, raising=False)
            result = CliRunner().invoke(
                app, arguments, prog_name="codexrun", env=given, input=stdin
            )
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def start(self, *more: str) -> str:
        """A run; returns its name."""
        done = self.cli("start", "hello", "-p", "name=world", *more)
        assert done.code == 0, done
        return done.out.strip()

    def finished(self, *more: str, phase: str = "Succeeded", **status: Any) -> str:
        name = self.start(*more)
        self.end(name, phase, **status)
        if self.rest:
            self.until(lambda: f'"{phase.lower()}"' in self.cli("status", name, "-o", "json").out)
        return name


def event(**about: Any) -> bytes:
    """A line of the log with one of Codex's events."""
    return loglines.encode({"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "event": about})


LOG = (
    loglines.encode(
        {
            "ts": "2026-01-31T12:00:00.000Z",
            "src": "runner",
            "text": "run.started",
            "prompt_version": "v1",
            "model": "gpt-5.5",
        }
    ),
    event(type="thread.started", thread_id="0199"),
    event(type="turn.started"),
    event(
        type="item.started",
        item={"id": "i0", "type": "command_execution", "command": "bash -lc 'make test'"},
    ),
    event(
        type="item.completed",
        item={
            "id": "i0",
            "type": "command_execution",
            "command": "bash -lc 'make test'",
            "aggregated_output": "ok\n1 failed\n",
            "exit_code": 2,
            "status": "failed",
        },
    ),
    event(
        type="item.completed",
        item={"id": "i1", "type": "file_change", "changes": [{"path": "a.py", "kind": "update"}]},
    ),
    event(
        type="item.completed",
        item={"id": "i2", "type": "agent_message", "text": "Hello, **world**!"},
    ),
    event(
        type="turn.completed",
        usage={"input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 20},
    ),
)


def command() -> list[str]:
    """The program as a process of its own."""
    return [sys.executable, "-m", "codexrun_cli"]


def stands(tmp_path: Path, monkeypatch: Any) -> Iterator[Stand]:
    made = Stand(tmp_path, monkeypatch)
    made.serve()
    yield made
    made.close()
