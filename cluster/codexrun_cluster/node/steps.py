"""Bring the embedded node up, whatever was there before."""

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from codexrun_cluster.command import Log, capture
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.node import network, settings
from codexrun_cluster.node.clean import clear_machine
from codexrun_cluster.node.components import (
    CONTAINERD_TOML,
    SERVER_ADDRESSES,
    Component,
    components,
    unrecorded_pids,
)
from codexrun_cluster.node.gobuild import node_binary
from codexrun_cluster.node.ports import listening_sockets, port_holder
from codexrun_cluster.node.processes import Process, kill_all, spawn
from codexrun_cluster.node.state import NodeRecord, load
from codexrun_cluster.packages import cni_folder
from codexrun_cluster.paths import RUN, VAR, Paths

READY_SECONDS = 90.0
_record_lock = threading.Lock()
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def prepare(paths: Paths, log: Log) -> str:
    """Clean up after a dead node, then make folders, certificates, settings and the bridge.

    Raises:
        LauncherError: the network cannot be made.
    """
    record = load()
    note = "nothing left over"
    own = record is not None and record.checkout == str(paths.checkout)
    if not own and (RUN.exists() or VAR.exists() or network.bridge_exists()):
        clear_machine(record)
        note = "cleaned up after a dead node"
    for folder in (
        RUN / "cni",
        VAR,
        paths.logs,
        paths.bin,
        paths.volumes,
        paths.state / "conf",
    ):
        folder.mkdir(parents=True, exist_ok=True)
    paths.state.chmod(0o755)
    NodeRecord(str(paths.checkout), record.components if record and own else {}).save()
    network.bring_up(log)
    return note


def write_settings(paths: Paths, log: Log) -> str:
    """Certificates (once), kubeconfigs, the components' settings, and kubectl and helm for
    people."""
    binary = node_binary(paths)
    for name in ("kubectl", "helm"):
        _link(paths.bin / name, binary)
    if not (paths.pki / "complete").exists():
        shutil.rmtree(paths.pki, ignore_errors=True)
        paths.pki.mkdir(mode=0o700)
        log.run([binary, "certificates", paths.pki, settings.NODE, *SERVER_ADDRESSES])
        (paths.pki / "complete").touch()
    conf = paths.state / "conf"
    conf.chmod(0o700)
    for client in settings.CLIENTS:
        write_file(conf / f"{client}.kubeconfig", settings.kubeconfig(paths.pki, client), 0o600)
    write_file(paths.kubeconfig, settings.kubeconfig(paths.pki, "admin"), 0o600)
    write_file(conf / "kubelet.json", settings.kubelet(paths))
    write_file(conf / "audit-policy.json", settings.audit_policy())
    write_file(
        conf / "Corefile",
        settings.corefile(conf / "coredns.kubeconfig", Path("/etc/resolv.conf").read_text()),
    )
    return f"kubeconfig: {paths.kubeconfig}"


def write_containerd_settings(paths: Paths, pause_image: str) -> None:
    """containerd's settings need only the machine, not our binary: it can start while that is being
    compiled."""
    cni = cni_folder()
    if cni is None:
        raise LauncherError(
            "the CNI plugins are missing", "apt-get install containernetworking-plugins"
        )
    root = paths.cache / "containerd"
    root.mkdir(parents=True, exist_ok=True)
    text = settings.containerd(root, cni, pause_image, snapshotter(root))
    write_file(CONTAINERD_TOML, text)
    write_file(RUN / "cni" / "10-codexrun.conflist", settings.cni())


def snapshotter(root: Path) -> str:
    """overlayfs, except on an overlay itself (a container's own file system), where the kernel
    refuses it."""
    kind = capture(["stat", "-f", "-c", "%T", root]).stdout.strip()
    return "native" if kind == "overlayfs" else "overlayfs"


def start(paths: Paths, name: str, log: Log) -> str:
    """Start one component unless it runs with the same arguments and settings; wait for it.

    Raises:
        LauncherError: its port is taken, it ended, or it did not get ready in time.
    """
    component = next(item for item in components(paths, node_binary(paths)) if item.name == name)
    record = load() or NodeRecord(str(paths.checkout))
    running = record.components.get(name)
    fingerprint = component.fingerprint()
    if running and running.alive():
        if running.fingerprint == fingerprint:
            _await(component, running, paths, log)
            return "still running"
        running.stop(10)
    kill_all(unrecorded_pids(name), 10)
    _check_ports(component)
    log_path = paths.logs / f"{name}.log"
    started_at = time.monotonic()
    env = {"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"}
    process = spawn(component.argv, log_path, fingerprint, env, RUN)
    _record(paths, name, process)
    _await(component, process, paths, log)
    return (
        f"{'restarted' if running else 'started'}, pid {process.pid}, ready after"
        f" {time.monotonic() - started_at:.1f}s"
    )


def _record(paths: Paths, name: str, process: Process) -> None:
    # Components start side by side, each in a thread of its own: read and write back under one
    # lock.
    with _record_lock:
        record = load() or NodeRecord(str(paths.checkout))
        record.components[name] = process
        record.save()


def _check_ports(component: Component) -> None:
    # A part that was just killed may hold its port while its last threads end.
    deadline = time.monotonic() + 5
    while (conflict := _port_conflict(component)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if conflict:
        raise LauncherError(f"{component.name} needs {conflict}", "stop it, then make up")


def _port_conflict(component: Component) -> str | None:
    sockets = listening_sockets()
    for address, port in component.ports:
        holder = port_holder(address, port, sockets)
        if holder:
            return f"{address}:{port}, which {holder} has"
    return None


def _await(component: Component, process: Process, paths: Paths, log: Log) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not component.ready():
        path = paths.logs / f"{component.name}.log"
        if not process.alive():
            raise LauncherError(
                f"{component.name} ended right after its start", f"see {path}, then make up", path
            )
        if time.monotonic() > deadline:
            raise LauncherError(
                f"{component.name} was not ready after {READY_SECONDS:.0f}s",
                f"see {path}, then make up",
                path,
            )
        time.sleep(0.1)
    log.say(f"{component.name} is ready")


def await_node(paths: Paths, log: Log) -> str:
    """Wait for a Ready node and the default service account, without which no pod is accepted.

    Raises:
        LauncherError: not ready in time; the kubelet's log says why.
    """
    kubectl = [str(paths.bin / "kubectl"), f"--kubeconfig={paths.kubeconfig}"]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        answer = capture([*kubectl, "get", "node", settings.NODE, "-o", "json"])
        account = capture([*kubectl, "get", "sa", "-n", "default", "default"])
        if (
            answer.returncode == 0
            and account.returncode == 0
            and is_ready(json.loads(answer.stdout))
        ):
            return "Ready"
        time.sleep(0.3)
    log.say(answer.stdout + answer.stderr)
    raise LauncherError(
        "the node did not become Ready",
        f"see {paths.logs}/kubelet.log",
        paths.logs / "kubelet.log",
    )


def is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file only on a change, so that a settings file's time says when it last changed."""
    if not path.exists() or path.read_text() != text:
        partial = path.with_name(path.name + ".new")
        partial.write_text(text)
        partial.chmod(mode)
        os.replace(partial, path)


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink() or path.readlink() != target:
        partial = path.with_name(path.name + ".new")
        partial.unlink(missing_ok=True)
        partial.symlink_to(target)
        os.replace(partial, path)
