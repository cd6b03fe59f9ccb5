"""The api as a process of its own, over an apiserver in memory; it can be killed and come back.

`python api_process.py RUNS` is that process: registry, mirror, archive and both ports, with the
settings of its environment. RUNS is a file, a list of CodexRuns that are there from the start; one
succeeds once its log is closed. The token of a gate is its run's uid.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import manifests
from apistand import TOKEN, hello_cluster
from fake_cluster import FakeCluster, Json, stamp
from programs import environment, free_port

from codexrun_api import __main__ as api
from codexrun_api.archive.archive import Archive
from codexrun_api.logs.gate_identity import GateIdentity
from codexrun_api.logs.token_claims import NotAGate
from codexrun_api.settings import settings_from

PATIENCE_SECONDS = 60
CHECK_SECONDS = 0.05
BEGAN = "2026-01-31T12:00:00Z"


def running(name: str, uid: str) -> Json:
    """Return a run of job type `hello` whose agent runs."""
    run = manifests.run(name, inputs={"name": "world"})
    run["metadata"] |= {"namespace": "codexrun", "uid": uid, "creationTimestamp": BEGAN}
    status = {"phase": "Running", "reason": "Running", "attempt": 1, "startedAt": BEGAN}
    return {**run, "status": status}


class ApiProcess:
    """It comes back on the same ports with the same folder, and with these runs.

    port: of REST and console; ingest_port: of the gates. registry_url: SQLite in the folder if
    empty.
    """

    def __init__(self, folder: Path, runs: Sequence[Json] = (), *, registry_url: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.ingest_port = free_port()
        self._registry_url = registry_url
        self.probe_port = free_port()
        self._runs = folder / "runs.json"
        self._runs.write_text(json.dumps(runs))
        self.start()

    def start(self) -> None:
        """Return once it is ready."""
        settings = {
            "CODEX_CONTROL_TOKEN": TOKEN,
            "CODEXRUN_NAMESPACE": "codexrun",
            "CODEXRUN_DATA": str(self.folder),
            "CODEXRUN_PORT": str(self.port),
            "CODEXRUN_INGEST_PORT": str(self.ingest_port),
            "CODEXRUN_REGISTRY_URL": self._registry_url,
            "CODEXRUN_PROBE_PORT": str(self.probe_port),
        }
        command = [sys.executable, __file__, str(self._runs)]
        with (self.folder / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment(**settings), stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._is_ready():
            assert self.process.poll() is None, (self.folder / "api.log").read_text()
            assert time.monotonic() < deadline, "the api is not ready"
            time.sleep(CHECK_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as a pod's end does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                return True
        except OSError:
            return False


class _NoClient:
    async def close(self) -> None:
        pass


class _Gates:
    def __init__(self, _kube: FakeCluster) -> None:
        pass

    async def __call__(self, token: str, _peer: str) -> GateIdentity:
        try:
            uuid.UUID(token)
        except ValueError:
            raise NotAGate(401, "no gate") from None
        return GateIdentity(token, 1, "pod")


def _cluster(runs: list[Json]) -> FakeCluster:
    kube = hello_cluster()
    for run in runs:
        kube.add(f"{kube.runs}/{run['metadata']['name']}", run)
    return kube


async def _end_runs(kube: FakeCluster, archive: Archive, runs: list[Json]) -> None:
    """Do what operator and kubelet would: a run succeeds once its log is closed."""
    going = {run["metadata"]["uid"]: run["metadata"]["name"] for run in runs}
    while going:
        for uid, name in list(going.items()):
            if archive.log(uid).complete is not None:
                del going[uid]
                kube.status(
                    name,
                    "Succeeded",
                    reason="Succeeded",
                    result={"message": "Done."},
                    finishedAt=stamp(),
                )
        await asyncio.sleep(0.2)


async def main(runs: list[Json]) -> int:
    kube = _cluster(runs)
    settings = settings_from()

    async def connect() -> _NoClient:
        return _NoClient()

    replaced: Any = api
    replaced.connect = connect
    replaced.Kube = lambda *_, **__: kube
    replaced.GateAuthentication = _Gates
    ending = asyncio.create_task(_end_runs(kube, Archive(settings.archive), runs))
    code = await api.run(settings)
    ending.cancel()
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()))))
