"""How does the embedded node come up, whatever was there before?"""

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from codexrun_cluster.command import Log, ask
from codexrun_cluster.errors import Failure
from codexrun_cluster.node import network, settings
from codexrun_cluster.node.clean import clear_machine
from codexrun_cluster.node.components import (
    CONTAINERD_TOML,
    SERVER_ADDRESSES,
    Part,
    parts,
    unrecorded,
)
from codexrun_cluster.node.gobuild import node_binary
from codexrun_cluster.node.ports import current, in_the_way
from codexrun_cluster.node.processes import Process, kill_all, spawn
from codexrun_cluster.node.state import Record, load
from codexrun_cluster.packages import cni_folder
from codexrun_cluster.paths import RUN, VAR, Places

READY_SECONDS = 90.0
_record_lock = threading.Lock()
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def prepare(places: Places, log: Log) -> str:
    """Clean up after a dead node, then make folders, certificates, settings and the bridge.

    Raises:
        Failure: the network cannot be made.
    """
    record = load()
    note = "nothing left over"
    ours = record is not None and record.checkout == str(places.checkout)
    if not ours and (RUN.exists() or VAR.exists() or network.bridge_exists()):
        clear_machine(record)
        note = "cleaned up after a dead node"
    for folder in (
        RUN / "cni",
        VAR,
        places.logs,
        places.bin,
        places.volumes,
        places.state / "conf",
    ):
        folder.mkdir(parents=True, exist_ok=True)
    places.state.chmod(0o755)
    Record(str(places.checkout), record.parts if record and ours else {}).save()
    network.bring_up(log)
    return note


def write_settings(places: Places, log: Log) -> str:
    """Certificates (once), kubeconfigs, the parts' settings, and kubectl and helm for people."""
    binary = node_binary(places)
    for name in ("kubectl", "helm"):
        _link(places.bin / name, binary)
    if not (places.pki / "complete").exists():
        shutil.rmtree(places.pki, ignore_errors=True)
        places.pki.mkdir(mode=0o700)
        log.run([binary, "certificates", places.pki, settings.NODE, *SERVER_ADDRESSES])
        (places.pki / "complete").touch()
    conf = places.state / "conf"
    conf.chmod(0o700)
    for client in settings.CLIENTS:
        write_file(conf / f"{client}.kubeconfig", settings.kubeconfig(places.pki, client), 0o600)
    write_file(places.kubeconfig, settings.kubeconfig(places.pki, "admin"), 0o600)
    write_file(conf / "kubelet.json", settings.kubelet(places))
    write_file(conf / "audit-policy.json", settings.audit_policy())
    write_file(
        conf / "Corefile",
        settings.corefile(conf / "coredns.kubeconfig", Path("/etc/resolv.conf").read_text()),
    )
    return f"kubeconfig: {places.kubeconfig}"


def write_containerd_settings(places: Places, pause_image: str) -> None:
    """containerd's settings need only the machine, not our binary: it can start while that is being
    compiled."""
    cni = cni_folder()
    if cni is None:
        raise Failure("the CNI plugins are missing", "apt-get install containernetworking-plugins")
    root = places.cache / "containerd"
    root.mkdir(parents=True, exist_ok=True)
    text = settings.containerd(root, cni, pause_image, snapshotter(root))
    write_file(CONTAINERD_TOML, text)
    write_file(RUN / "cni" / "10-codexrun.conflist", settings.cni())


def snapshotter(root: Path) -> str:
    """overlayfs, except on an overlay itself (a container's own file system), where the kernel
    refuses it."""
    kind = ask(["stat", "-f", "-c", "%T", root]).stdout.strip()
    return "native" if kind == "overlayfs" else "overlayfs"


def start(places: Places, name: str, log: Log) -> str:
    """Start one part unless it runs with the same arguments and settings; wait until it is ready.

    Raises:
        Failure: its port is taken, it ended, or it did not get ready in time.
    """
    part = next(p for p in parts(places, node_binary(places)) if p.name == name)
    record = load() or Record(str(places.checkout))
    known = record.parts.get(name)
    fingerprint = part.fingerprint()
    if known and known.alive():
        if known.fingerprint == fingerprint:
            _await(part, known, places, log)
            return "still running"
        known.stop(10)
    kill_all(unrecorded(name), 10)
    _check_ports(part)
    log_path = places.logs / f"{name}.log"
    began = time.monotonic()
    env = {"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"}
    process = spawn(part.argv, log_path, fingerprint, env, RUN)
    _remember(places, name, process)
    _await(part, process, places, log)
    return (
        f"{'restarted' if known else 'started'}, pid {process.pid}, ready after"
        f" {time.monotonic() - began:.1f}s"
    )


def _remember(places: Places, name: str, process: Process) -> None:
    # Parts start side by side, each in a thread of its own: read and write back under one lock.
    with _record_lock:
        record = load() or Record(str(places.checkout))
        record.parts[name] = process
        record.save()


def _check_ports(part: Part) -> None:
    # A part that was just killed may hold its port while its last threads end.
    deadline = time.monotonic() + 5
    while (taken := _taken(part)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if taken:
        raise Failure(f"{part.name} needs {taken}", "stop it, then make up")


def _taken(part: Part) -> str | None:
    now = current()
    for address, port in part.ports:
        holder = in_the_way(address, port, now)
        if holder:
            return f"{address}:{port}, which {holder} has"
    return None


def _await(part: Part, process: Process, places: Places, log: Log) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not part.ready():
        path = places.logs / f"{part.name}.log"
        if not process.alive():
            raise Failure(
                f"{part.name} ended right after its start", f"see {path}, then make up", path
            )
        if time.monotonic() > deadline:
            raise Failure(
                f"{part.name} was not ready after {READY_SECONDS:.0f}s",
                f"see {path}, then make up",
                path,
            )
        time.sleep(0.1)
    log.say(f"{part.name} is ready")


def await_node(places: Places, log: Log) -> str:
    """Wait for a Ready node and the default service account, without which no pod is accepted.

    Raises:
        Failure: not ready in time; the kubelet's log says why.
    """
    kubectl = [str(places.bin / "kubectl"), f"--kubeconfig={places.kubeconfig}"]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        asked = ask([*kubectl, "get", "node", settings.NODE, "-o", "json"])
        account = ask([*kubectl, "get", "sa", "-n", "default", "default"])
        if asked.returncode == 0 and account.returncode == 0 and is_ready(json.loads(asked.stdout)):
            return "Ready"
        time.sleep(0.3)
    log.say(asked.stdout + asked.stderr)
    raise Failure(
        "the node did not become Ready",
        f"see {places.logs}/kubelet.log",
        places.logs / "kubelet.log",
    )


def is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Only on a change, so that a settings file's time says when it last changed."""
    if not path.exists() or path.read_text() != text:
        beside = path.with_name(path.name + ".new")
        beside.write_text(text)
        beside.chmod(mode)
        os.replace(beside, path)


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink() or path.readlink() != target:
        beside = path.with_name(path.name + ".new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        os.replace(beside, path)
