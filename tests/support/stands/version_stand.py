"""The api of one commit and the command line of another, each as processes of its own, over an
apiserver on this machine that also plays the operator."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import manifests
from apistand import TOKEN
from earlier_tree import import_path
from fake_cluster import condition, stamp
from httpapiserver import HttpApiserver, kubeconfig
from programs import free_port

from codexrun_api.archive.archive import Archive
from codexrun_cluster.paths import find_paths

Json = dict[str, Any]

PATIENCE_SECONDS = 120
CHECK_SECONDS = 0.1
MESSAGE = '{"findings": []}'
OUTPUT: Json = {"findings": []}
LOG = b"".join(
    json.dumps({"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": text}).encode() + b"\n"
    for text in ("first line", "last line")
)
# Where a run's first input says so, it ends by itself; any other runs until it is cancelled.
ENDS = "ends"
ENDED: Json = {
    "phase": "Succeeded",
    "reason": "Succeeded",
    "result": {"message": MESSAGE, "truncated": False, "output": OUTPUT},
    "usage": {
        "inputTokens": 100,
        "outputTokens": 20,
        "totalTokens": 120,
        "requests": 1,
        "costMicroUSD": 4200,
        "complete": True,
    },
}


class Cluster:
    """The apiserver, in a thread of its own. folder: what every api keeps its data in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kube = HttpApiserver()
        self.kube.on_change.append(self._operate)
        self.archive = Archive(folder / "archive")
        self.archive.open()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner = self._call(self.kube.serve())
        self.kube.put("codexjobtypes", manifests.job_type())
        self.kube.put("configmaps", manifests.prompt())
        (folder / "kubeconfig").write_text(kubeconfig(self.kube.server))

    def close(self) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def _operate(self, plural: str, _before: Json | None, run: Json | None) -> None:
        """Do what operator, kubelet and gate would, once each change is stored."""
        if plural == "codexruns" and run is not None:
            self._loop.call_soon(self._move, run["metadata"]["name"])

    def _move(self, name: str) -> None:
        run = self.kube.objects["codexruns"].get(name)
        if run is None:
            return
        match run.get("status", {}).get("phase"):
            case None:
                uid = run["metadata"]["uid"]
                self.archive.append_attempt(uid, 1, 0, LOG)
                self.archive.seal(uid, 1, complete=True)
                self._store(
                    run,
                    phase="Running",
                    reason="Running",
                    attempt=1,
                    startedAt=stamp(),
                    conditions=[condition("Admitted")],
                )
            case "Running" if run["spec"].get("cancel"):
                self._store(run, phase="Cancelled", reason="Cancelled", finishedAt=stamp())
            case "Running" if run["spec"]["inputs"]["name"] == ENDS:
                self._store(run, **ENDED, finishedAt=stamp())

    def _store(self, run: Json, **status: Any) -> None:
        self.kube.put("codexruns", {**run, "status": {**run.get("status", {}), **status}})


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Api:
    """The api of a tree, on the data that is in the cluster's folder."""

    def __init__(self, tree: Path, cluster: Cluster) -> None:
        self.port = free_port()
        self._cluster = cluster
        self._log = cluster.folder / f"api-{self.port}.log"
        settings = {
            "KUBECONFIG": str(cluster.folder / "kubeconfig"),
            "CODEX_CONTROL_TOKEN": TOKEN,
            "CODEXRUN_NAMESPACE": "codexrun",
            "CODEXRUN_DATA": str(cluster.folder),
            "CODEXRUN_PORT": str(self.port),
            "CODEXRUN_INGEST_PORT": str(free_port()),
            "CODEXRUN_PROBE_PORT": str(free_port()),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "codexrun_api"],
                cwd=cluster.folder,
                env=_environment(tree, cluster.folder, **settings),
                stdout=log,
                stderr=log,
            )

    def until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"the api is not ready: {self._log.read_text()}"
            time.sleep(CHECK_SECONDS)

    def cli(self, tree: Path, *words: str) -> Done:
        """Run a command of a tree's command line."""
        done = subprocess.run(
            [sys.executable, "-m", "codexrun_cli", *words],
            cwd=self._cluster.folder,
            env=_environment(
                tree,
                self._cluster.folder,
                CODEX_CONTROL_URL=f"http://127.0.0.1:{self.port}",
                CODEX_CONTROL_TOKEN=TOKEN,
                NO_COLOR="1",
            ),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()

    def _is_ready(self) -> bool:
        address = f"http://127.0.0.1:{self.port}/readyz"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return True
        return False


def imported_from(tree: Path, cluster: Cluster) -> Path:
    """Return the tree that the programs of a tree really come from."""
    code = "import codexrun_api, codexrun_cli, codexrun_core; print(codexrun_core.__file__)"
    printed = subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=cluster.folder,
        env=_environment(tree, cluster.folder),
        text=True,
    )
    return Path(printed.strip()).parents[2]


@contextlib.contextmanager
def serving(tree: Path, cluster: Cluster) -> Iterator[Api]:
    """Run the api of a tree."""
    api = Api(tree, cluster)
    try:
        api.until_ready()
        yield api
    finally:
        api.stop()


def _environment(tree: Path, folder: Path, **more: str) -> dict[str, str]:
    """Nothing of this process's but where programs are. Bytecode goes elsewhere: the launcher
    takes the files of an earlier tree as they are. It is kept: a folder of each test's own would
    have every program compile all packages again."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": import_path(tree),
        "PYTHONPYCACHEPREFIX": str(find_paths().cache / "earlier" / "bytecode"),
        **more,
    }
