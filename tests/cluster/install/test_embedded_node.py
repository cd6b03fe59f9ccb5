"""The embedded node as its owner treats it: parts killed, `up` again, another clone that wants it
too."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from lab import ROOT, Lab, processes

pytestmark = pytest.mark.disruptive


@pytest.fixture(autouse=True)
def on_the_embedded_node() -> None:
    if not Path("/run/codexrun-node/node.json").exists():
        pytest.skip("this cluster is not the embedded node")


def make(*targets: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", *targets], cwd=cwd, capture_output=True, text=True, check=False)


def test_up_brings_killed_parts_back_and_leaves_the_others_alone(lab: Lab) -> None:
    run = lab.phase(lab.run(lab.job_type(), "sleep-25"), "Running")
    (apiserver,) = processes("codexrun-node", " kube-apiserver ")
    for part in (" kube-scheduler ", " kubelet ", " kube-controller-manager "):
        (pid,) = processes("codexrun-node", part)
        os.kill(pid, signal.SIGKILL)
    done = make("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [apiserver] == list(processes("codexrun-node", " kube-apiserver "))
    assert lab.ended(run)["status"]["phase"] == "Succeeded"


def test_another_clone_is_refused_and_told_whose_node_it_is(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    for target in ("up", "down"):
        done = make(target, cwd=clone)
        assert done.returncode != 0
        assert str(ROOT) in done.stdout + done.stderr
        assert f"make -C {ROOT} down" in done.stdout + done.stderr
    assert json.loads(Path("/run/codexrun-node/node.json").read_text())
