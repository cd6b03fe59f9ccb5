"""Parts of the embedded node, stopped, killed and started again, as the launcher knows them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import TERMINAL, Json, Lab

from codexrun_cluster.command import Log
from codexrun_cluster.node import state, steps
from codexrun_cluster.node.processes import Process
from codexrun_cluster.paths import find_paths

PATHS = find_paths()
AWAY_SECONDS = 120  # how long a part is away: longer than a node's lease, and than most agents
PATIENCE_SECONDS = 900  # until a wait gives up; a bound, never an assertion
LOOK_SECONDS = 1.0


def skip_elsewhere() -> None:
    if not state.RECORD_FILE.exists():
        pytest.skip("this cluster is not the embedded node")


def process_of(part: str) -> Process:
    record = state.load()
    assert record is not None
    return record.components[part]


def kill(part: str) -> None:
    """End it as a crash does; return when it is gone."""
    process = process_of(part)
    os.kill(process.pid, signal.SIGKILL)
    while process.alive():
        time.sleep(LOOK_SECONDS / 50)


def start(part: str) -> None:
    """Start it as `make up` does, unless it runs; return once it is ready."""
    steps.start(PATHS, part, Log(PATHS.logs / f"start-of-{part}.log"))


def stop(part: str) -> None:
    """End it in good order."""
    process_of(part).stop(20)


@contextmanager
def killed(*parts: str) -> Iterator[None]:
    """Without these parts; they are started again at the end, the last first."""
    for part in parts:
        kill(part)
    try:
        yield
    finally:
        for part in reversed(parts):
            start(part)


@contextmanager
def frozen(part: str) -> Iterator[None]:
    """A part that holds its connections and answers nothing."""
    pid = process_of(part).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def store_stopped() -> Iterator[Path]:
    """Without apiserver and etcd; yields the folder of etcd's data."""
    stop("kube-apiserver")
    stop("etcd")
    try:
        yield PATHS.state / "etcd"
    finally:
        start("etcd")
        start("kube-apiserver")


def back_up(backup: Path) -> None:
    """Copy what etcd has."""
    with store_stopped() as data:
        shutil.copytree(data, backup)


def restore(backup: Path) -> None:
    """Put back what etcd had; Kubernetes' own parts begin anew, as its manual says."""
    with store_stopped() as data:
        shutil.rmtree(data)
        shutil.copytree(backup, data)
    for part in ("kube-controller-manager", "kube-scheduler", "kubelet"):
        kill(part)
        start(part)
    # kube-proxy may leave the chain of an endpoint empty that was away for a moment, as that of the
    # apiserver was: its rules are made anew.
    kill("kube-proxy")
    subprocess.run(["nft", "delete", "table", "ip", "kube-proxy"], check=True)
    start("kube-proxy")


def all_ended(lab: Lab, runs: list[Json], *, seconds: float = PATIENCE_SECONDS) -> list[Json]:
    """Wait until all have ended, however often the apiserver is away; return their statuses."""
    deadline = time.monotonic() + seconds
    while True:
        statuses = [status_of(lab, run) for run in runs]
        if all(status.get("phase") in TERMINAL for status in statuses):
            return statuses
        assert time.monotonic() < deadline, [status.get("phase") for status in statuses]
        time.sleep(LOOK_SECONDS)


def until_status(
    lab: Lab, run: Json, holds: Callable[[Json], bool], *, seconds: float = PATIENCE_SECONDS
) -> Json:
    """Wait for a status, however often the apiserver is away; return it."""
    deadline = time.monotonic() + seconds
    while not holds(status := status_of(lab, run)):
        assert time.monotonic() < deadline, status
        time.sleep(LOOK_SECONDS)
    return status


def status_of(lab: Lab, run: Json) -> Json:
    """Return a run's status; nothing while the apiserver does not answer."""
    shown = lab.kubectl(
        "get", "cxr", run["metadata"]["name"], "-o", "json", "--request-timeout=10s", check=False
    )
    if shown.returncode:
        return {}
    status: Json = json.loads(shown.stdout).get("status", {})
    return status
