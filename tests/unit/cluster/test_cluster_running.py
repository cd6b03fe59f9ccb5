"""The launcher at work: order of steps, records of processes, settings of parts."""

import io
import json
import os
import shutil
import subprocess
import threading
import tomllib
from pathlib import Path

import pytest

from codexrun_cluster import api_access, up
from codexrun_cluster.backends import embedded
from codexrun_cluster.backends.kind import kind_steps
from codexrun_cluster.chart import Client
from codexrun_cluster.command import Log
from codexrun_cluster.demo import tunnel
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.images import wheels
from codexrun_cluster.node import components, container_leftovers, settings, state
from codexrun_cluster.node import steps as node
from codexrun_cluster.node.gobuild import parse_go_version, pip_python
from codexrun_cluster.node.processes import Process, boot_id, spawn, start_time
from codexrun_cluster.paths import Paths
from codexrun_cluster.progress import Progress
from codexrun_cluster.step_runner import Step, check_order, run_steps


@pytest.fixture
def here(tmp_path):
    return Paths(checkout=tmp_path / "checkout", cache=tmp_path / "cache")


@pytest.fixture
def sleeper(tmp_path):
    """A process of ours that ignores nothing and ends with the test."""
    process = spawn(["sleep", "60"], tmp_path / "log", "f", {}, tmp_path)
    yield process
    process.stop(1)


def test_steps_run_beside_each_other_but_after_what_they_need(tmp_path):
    both = threading.Barrier(2, timeout=5)  # breaks unless a and b run at the same time
    done = []

    def meet(name):
        return lambda _: (both.wait(), done.append(name), name)[2]

    out = io.StringIO()
    last = Step("c", 1, lambda _: done.append("c"), ("a", "b"))
    run_steps([last, Step("a", 1, meet("a")), Step("b", 1, meet("b"))], tmp_path, Progress(out))
    assert set(done[:2]) == {"a", "b"}
    assert done[2] == "c"
    assert "done: a in 0." in out.getvalue()
    assert (tmp_path / "step-a.log").exists()


@pytest.mark.local
def test_first_failure_starts_nothing_more_and_ends_what_runs(tmp_path):
    started = []

    def fail(log):
        raise LauncherError("it broke", "mend it")

    steps = [
        Step("long", 60, lambda log: log.run(["sleep", "60"])),
        Step("broken", 1, fail),
        Step("never", 1, lambda _: started.append("never"), ("broken",)),
    ]
    with pytest.raises(LauncherError, match="it broke") as caught:
        run_steps(steps, tmp_path, Progress(io.StringIO()))
    assert caught.value.log == tmp_path / "step-broken.log"
    assert started == []


def test_plan_that_waits_for_itself_is_refused():
    with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
        check_order([Step("a", 1, lambda _: None, ("b",)), Step("b", 1, lambda _: None, ("a",))])


@pytest.mark.local
@pytest.mark.parametrize("kind", ["embedded", "kind", "current"])
def test_plan_of_make_up_holds_together(here, kind):
    cluster = {
        "embedded": lambda: embedded.embedded_steps(here, {}),
        "kind": lambda: kind_steps(here, {}),
        "current": up.current_steps,
    }[kind]()
    check_order([*cluster, *up.chart_steps(here, Client("kubectl", "helm", None), {})])


@pytest.mark.local
def test_long_step_is_never_silent(tmp_path, monkeypatch):
    monkeypatch.setattr("codexrun_cluster.progress.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("codexrun_cluster.step_runner.REDRAW_SECONDS", 0.05)
    out = io.StringIO()
    run_steps([Step("slow", 3, lambda log: log.run(["sleep", "0.5"]))], tmp_path, Progress(out))
    assert "... slow" in out.getvalue()


def test_a_long_step_says_how_far_its_log_is(tmp_path, monkeypatch):
    monkeypatch.setattr("codexrun_cluster.progress.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("codexrun_cluster.step_runner.REDRAW_SECONDS", 0.05)
    said = threading.Event()

    class Out(io.StringIO):
        def write(self, text):
            if "2 of 3" in text:
                said.set()
            return super().write(text)

    def work(log):
        log.say("a\nb")
        assert said.wait(30)

    out = Out()
    run_steps(
        [Step("slow", 3, work, (), lambda log: f"{log.count(chr(10))} of 3" if log else "")],
        tmp_path,
        Progress(out),
    )
    assert "... slow (2 of 3) " in out.getvalue()


@pytest.mark.local
def test_failing_program_names_its_log(tmp_path):
    log = Log(tmp_path / "log")
    with pytest.raises(LauncherError, match="code 3") as caught:
        log.run(["sh", "-c", "echo because; exit 3"])
    assert caught.value.log == tmp_path / "log"
    assert "because" in (tmp_path / "log").read_text()
    assert log.read(["echo", "hello"]) == "hello\n"
    with pytest.raises(LauncherError, match="cannot start no-such-program"):
        log.run(["no-such-program"])


@pytest.mark.local
def test_process_is_known_by_more_than_its_pid(sleeper):
    assert sleeper.alive()
    assert not Process(sleeper.pid, sleeper.started + 1, sleeper.boot).alive(), (
        "the pid was given to another process"
    )
    assert not Process(sleeper.pid, sleeper.started, "another boot").alive(), (
        "the machine was restarted"
    )
    sleeper.stop(2)
    assert not sleeper.alive()


@pytest.mark.local
def test_part_outlives_its_starter_session(sleeper):
    assert os.getpgid(sleeper.pid) == sleeper.pid
    assert os.getsid(sleeper.pid) == sleeper.pid


def test_start_time_of_nobody():
    assert start_time(2**22 + 1) is None


@pytest.mark.local
def test_record_survives_the_file_and_a_broken_one_counts_as_none(tmp_path, sleeper):
    path = tmp_path / "node.json"
    state.NodeRecord("/a", {"etcd": sleeper}).save(path)
    assert state.load(path) == state.NodeRecord("/a", {"etcd": sleeper})
    path.write_text('{"checkout": "/a", "par')
    assert state.load(path) is None
    assert state.load(tmp_path / "none") is None


@pytest.mark.local
def test_another_checkouts_living_node_is_named(tmp_path, sleeper):
    other = tmp_path / "other"
    other.mkdir()
    alive = state.NodeRecord(str(other), {"kubelet": sleeper})
    with pytest.raises(LauncherError, match="kubelet alive") as caught:
        state.refuse_other(alive, tmp_path)
    assert str(other) in caught.value.message
    assert caught.value.hint == f"make -C {other} down"


@pytest.mark.local
def test_node_that_is_ours_dead_or_abandoned_is_no_reason_to_refuse(tmp_path, sleeper):
    dead = Process(sleeper.pid, sleeper.started + 1, boot_id())
    state.refuse_other(None, tmp_path)
    state.refuse_other(state.NodeRecord(str(tmp_path), {"kubelet": sleeper}), tmp_path)
    state.refuse_other(state.NodeRecord("/", {"kubelet": dead}), tmp_path)
    state.refuse_other(state.NodeRecord(str(tmp_path / "deleted"), {"kubelet": sleeper}), tmp_path)


def test_only_one_command_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "LOCK", tmp_path / "lock")
    with (
        state.machine_lock(),
        pytest.raises(LauncherError, match=f"pid {os.getpid()}"),
        state.machine_lock(),
    ):
        pass


def test_parts_know_each_other(here):
    all_parts = components.components(here, Path("/cache/codexrun-node"))
    assert tuple(p.name for p in all_parts) == components.COMPONENTS
    taken = [port for p in all_parts for port in p.ports]
    assert len(taken) == len(set(taken))
    assert set(embedded.NODE_COMPONENTS) == set(components.COMPONENTS) - {"containerd"}


def test_changed_settings_mean_a_restart(here, tmp_path):
    file = tmp_path / "kubelet.json"
    part = components.Component("kubelet", ["kubelet"], lambda: True, reads=(file,))
    before = part.fingerprint()
    file.write_text("{}")
    assert part.fingerprint() != before


def test_containerd_settings_are_toml_with_paths_of_our_own():
    text = settings.containerd(
        Path("/cache/containerd"), Path("/usr/lib/cni"), "localhost/pause:1", "overlayfs"
    )
    parsed = tomllib.loads(text)
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert parsed["root"] == "/cache/containerd"
    assert parsed["grpc"]["address"].startswith("/run/codexrun-node/")
    assert len(parsed["grpc"]["address"]) < 107
    assert cri["restrict_oom_score_adj"]
    assert cri["containerd"]["runtimes"]["runc"]["options"]["Root"].startswith(
        "/run/codexrun-node/"
    )


@pytest.mark.parametrize(
    ("resolv_conf", "forwards"),
    [
        pytest.param("search x\nnameserver 192.0.2.1\n", True, id="the machine has a DNS server"),
        pytest.param("# nameserver 192.0.2.1\n", False, id="it has none: forward would not start"),
    ],
)
def test_corefile_forwards_only_where_it_can(resolv_conf, forwards):
    assert ("forward ." in settings.corefile(Path("/k"), resolv_conf)) == forwards


def test_kubeconfig_carries_its_certificates(tmp_path):
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (tmp_path / name).write_text(name)
    config = json.loads(settings.kubeconfig(tmp_path, "admin"))
    assert config["users"][0]["user"]["client-key-data"] == "YWRtaW4ua2V5"
    assert config["clusters"][0]["cluster"]["server"] == "https://10.244.0.1:6443"


@pytest.mark.local
def test_lock_is_read_for_the_images_python_not_ours():
    lock = (
        "always==1 \\\n    --hash=sha256:a\n    # via x\n"
        "old==1 ; python_full_version < '3.12' \\\n    --hash=sha256:b\n"
        "windows==1 ; sys_platform == 'win32' \\\n    --hash=sha256:c\n"
    )
    for python, wanted in (("3.11", ["always", "old"]), ("3.13", ["always"])):
        kept = wheels.for_python(pip_python(Paths(Path("/"), Path("/"))), python, lock)
        assert [line.split("==")[0] for line in kept.splitlines() if "==" in line] == wanted


def test_go_versions():
    assert parse_go_version("go1.26.6\n") == (1, 26)
    assert parse_go_version("devel") == (0, 0)


@pytest.mark.local
def test_env_file_is_private_and_sets_the_shell(here):
    here.checkout.mkdir()
    up.write_env(here, "embedded")
    assert here.env.stat().st_mode & 0o777 == 0o600
    shown = subprocess.run(
        ["sh", "-c", f". {here.env}; echo $KUBECONFIG $PATH"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.startswith(f"{here.kubeconfig} {here.bin}:")


@pytest.mark.local
def test_env_file_says_where_the_api_is(here):
    here.checkout.mkdir()
    up.write_env(here, "embedded", api_access.ApiAccess("http://10.96.0.7:8080", "t0ken"))
    script = f". {here.env}; echo $CODEX_CONTROL_URL $CODEX_CONTROL_TOKEN"
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "http://10.96.0.7:8080 t0ken\n"


def test_node_is_ready_only_by_its_condition():
    assert node.is_ready({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    assert not node.is_ready({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})
    assert not node.is_ready({})


def test_cgroups_that_go_while_they_are_read_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "a/deep", "b", "b/deep"):
        (tmp_path / "kubepods" / name).mkdir(parents=True)
        (tmp_path / "kubepods" / name / "cgroup.procs").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(container_leftovers, "CGROUPS", tmp_path)
    read_text = Path.read_text

    def read_and_lose_the_rest(path: Path, *how: str) -> str:
        text = read_text(path, *how)
        shutil.rmtree(tmp_path / "kubepods", ignore_errors=True)
        return text

    monkeypatch.setattr(Path, "read_text", read_and_lose_the_rest)
    assert container_leftovers._in_cgroups() == [os.getpid()]


def test_the_demo_says_how_its_api_is_reached_from_another_machine() -> None:
    assert tunnel("http://10.96.1.2:8080") == "ssh -L 8080:10.96.1.2:8080 USER@THIS_MACHINE"
    assert tunnel("http://api.example") == "ssh -L 8080:api.example:80 USER@THIS_MACHINE"
