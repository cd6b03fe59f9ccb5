"""The REST facade as tests use it: start, read and wait through whatever happens to the api
meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from lab import PATIENCE, Json, Lab

AWAY = (httpx.TransportError, httpx.StreamError)


class Facade:
    """`http` is the client with the token; `until` outlives restarts of the api."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.url = lab.env["CODEX_CONTROL_URL"]
        self.headers = {"Authorization": f"Bearer {lab.env['CODEX_CONTROL_TOKEN']}"}
        self.http = httpx.Client(base_url=self.url, headers=self.headers, timeout=90)
        # An address of a pod that was killed answers nothing at all: a short wait, and a new
        # connection.
        self._asking = httpx.Client(
            base_url=self.url, headers=self.headers, timeout=httpx.Timeout(5, connect=0.5)
        )

    def start(self, job_type: str, scenario: str, *, wait: int = 0, **more: Any) -> httpx.Response:
        body = {"job_type": job_type, "inputs": {"scenario": scenario}, **more}
        return self.http.post("/runs/start", params={"wait": wait}, json=body)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Once the api is there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self._asking.get(path, **options)
                if answer.status_code != 503:
                    return answer
            except AWAY:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def row(self, run: Json | str) -> Json:
        """As the api shows it."""
        shown: Json = self.get(
            f"/runs/{run if isinstance(run, str) else run['metadata']['uid']}"
        ).json()
        return shown

    def until(self, run: Json | str, *statuses: str, log_closed: bool = False) -> Json:
        """The row, once it has one of these statuses (and it is known whether its log is
        complete)."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            row = self.row(run)
            if row.get("status") in statuses and not (
                log_closed and row.get("log_complete") is None
            ):
                return row
            time.sleep(0.1)
        raise AssertionError(f"never {statuses}; last: {row}")

    def log(self, run: Json | str) -> bytes:
        return self.get(
            f"/runs/{run if isinstance(run, str) else run['metadata']['uid']}/logs"
        ).content

    @contextmanager
    def away(self) -> Iterator[None]:
        """No api at all; back, and ready, afterwards."""
        self.lab.kubectl("scale", "deployment/codexrun-api", "--replicas=0")
        try:
            self.lab.kubectl(
                "wait",
                "--for=delete",
                "pod",
                "-l",
                "app.kubernetes.io/component=api",
                "--timeout=60s",
            )
            yield
        finally:
            self.lab.kubectl("scale", "deployment/codexrun-api", "--replicas=1")
            self.lab.kubectl("rollout", "status", "deployment/codexrun-api", "--timeout=120s")
            self.get("/readyz")


class Printed:
    """What the agent's container prints, read from the kubelet while it lives: also of pods that
    are then deleted."""

    def __init__(self, lab: Lab, run: Json) -> None:
        self._parts: list[bytes] = []
        pod = lab.pod(run).metadata.name
        self._stream = lab.core.read_namespaced_pod_log(
            pod, lab.namespace, container="agent", follow=True, _preload_content=False
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self._parts.extend(self._stream.stream(65536))

    def all(self) -> bytes:
        """Once the container has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the container's log goes on"
        return b"".join(self._parts)


class Following:
    """A client of the log's stream that comes back with the last id it saw until it is told the
    end."""

    def __init__(self, facade: Facade, run_id: str) -> None:
        self._facade = facade
        self._run_id = run_id
        self._lines: list[str] = []
        self._last: str | None = None
        self.end: str | None = None
        self.connections = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while self.end is None:
            try:
                self._connect()
            except AWAY:
                time.sleep(0.1)

    def _connect(self) -> None:
        resume = {"Last-Event-ID": self._last} if self._last else {}
        headers = {**self._facade.headers, "Accept": "text/event-stream", **resume}
        with httpx.stream(
            "GET", f"{self._facade.url}/runs/{self._run_id}/logs", headers=headers, timeout=20
        ) as stream:
            if stream.status_code != 200:
                time.sleep(0.1)
                return
            self.connections += 1
            event: dict[str, list[str]] = {}
            for line in stream.iter_lines():
                if line:
                    key, _, value = line.partition(":")
                    event.setdefault(key, []).append(value.removeprefix(" "))
                    continue
                if event.get("event") == ["end"]:
                    self.end = event["data"][0]
                    return
                if "id" in event and "event" not in event:
                    self._lines.append("\n".join(event["data"]))
                    self._last = event["id"][0]
                event = {}

    def text(self) -> bytes:
        """All lines, once the end was told."""
        self._thread.join(PATIENCE)
        assert self.end is not None, "the stream goes on"
        return "".join(f"{line}\n" for line in self._lines).encode()
