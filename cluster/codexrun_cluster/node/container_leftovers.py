"""What containers leave on a machine, and how it goes away.

Only what carries one of the launcher's own paths is touched: a system's containerd, Docker or
Podman is somebody else's.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path

from codexrun_cluster.command import capture
from codexrun_cluster.node.processes import command_lines, kill_all, start_time
from codexrun_cluster.node.readiness import accepts
from codexrun_cluster.node.settings import CONTAINERD_SOCKET
from codexrun_cluster.paths import RUN, VAR

CGROUPS = Path("/sys/fs/cgroup")
# libcni's own cache; its place cannot be configured through containerd
CNI_RESULTS = Path("/var/lib/cni/results")
# the kubelet's links for log collectors; a constant of its source
CONTAINER_LINKS = Path("/var/log/containers")
BUILDAH_RUN = Path("/run/codexrun-buildah")
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
# Folders that the kubelet and libcni make whatever they are told; removed only when nothing is in
# them.
EMPTY_FOLDERS = (
    DEVICE_PLUGINS,
    DEVICE_PLUGINS.parent,
    CNI_RESULTS,
    CNI_RESULTS.parent,
    CONTAINER_LINKS,
)


def ctr(*words: str) -> list[str]:
    """Ask the node's containerd, in Kubernetes' namespace; return the words that it printed, none
    when it does not answer."""
    if not accepts(CONTAINERD_SOCKET):  # ctr itself would try for ten seconds
        return []
    answer = capture(["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", *words])
    return answer.stdout.split() if answer.returncode == 0 else []


def images() -> dict[str, str]:
    """Return the names of the node's images, and the digest that each stands for."""
    # A header, then REF TYPE DIGEST; columns further right hold spaces.
    listed = capture(
        ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "ls"]
    ).stdout
    rows = (line.split() for line in listed.splitlines()[1:])
    return {row[0]: row[2] for row in rows if len(row) > 2}


def untagged_images(listed: dict[str, str], gone: set[str]) -> list[str]:
    """The kubelet's interface adds `sha256:...` beside each name, and does not remove it with the
    name."""
    used = {
        digest
        for name, digest in listed.items()
        if not name.startswith("sha256:") and name not in gone
    }
    return sorted(
        name for name, digest in listed.items() if name.startswith("sha256:") and digest not in used
    )


def forget_containers() -> None:
    """Remove all containers from containerd's books (images stay); their processes have to be
    gone."""
    tasks = ctr("tasks", "ls", "--quiet")
    for task in tasks:
        ctr("tasks", "rm", "--force", task)
    names = ctr("containers", "ls", "--quiet")
    if names:
        ctr("containers", "rm", *names)
    for name in names:
        for path in CNI_RESULTS.glob(f"*-{name}-*"):
            path.unlink(missing_ok=True)


def stop_processes(grace_seconds: float) -> None:
    """Send SIGTERM to everything in the pods' cgroups, SIGKILL after `grace_seconds`, then end the
    shims."""
    deadline = time.monotonic() + grace_seconds
    while pids := _in_cgroups():
        kill_all(pids, max(0.0, deadline - time.monotonic()))
        if time.monotonic() > deadline + 10:
            break
    shims = [
        pid
        for pid, words in command_lines()
        if "shim" in words[0] and str(CONTAINERD_SOCKET) in words
    ]
    sockets = list(RUN.glob("containerd/io.containerd.runtime.v2.task/k8s.io/*/address"))
    addresses = [path.read_text().removeprefix("unix://") for path in sockets]
    kill_all(shims, 3)
    for address in (
        addresses
    ):  # shims put their sockets into the system's /run/containerd/s, whatever our own root is
        if address.startswith("/run/containerd/s/"):
            Path(address).unlink(missing_ok=True)


def remove_leftovers() -> None:
    """Unmount and delete all that a node made outside the checkout. No process of it may be
    left."""
    for point in mounts_below((RUN, VAR, BUILDAH_RUN), Path("/proc/self/mountinfo").read_text()):
        capture(["umount", "--lazy", point])
    for folder in _cgroup_folders():
        _remove_cgroup(folder)
    for path in CNI_RESULTS.glob("codexrun-*"):
        path.unlink(missing_ok=True)
    for folder in (RUN, VAR, BUILDAH_RUN):
        shutil.rmtree(folder, ignore_errors=True)
    for link in CONTAINER_LINKS.glob("*.log"):
        if link.is_symlink() and "/.cluster/logs/pods/" in str(link.readlink()):
            link.unlink(missing_ok=True)
    for leftover in (
        DEVICE_PLUGINS / "kubelet.sock",
        DEVICE_PLUGINS / "kubelet_internal_checkpoint",
    ):
        if not accepts(
            DEVICE_PLUGINS / "kubelet.sock"
        ):  # else another kubelet's, started by somebody else
            leftover.unlink(missing_ok=True)
    for folder in EMPTY_FOLDERS:
        with contextlib.suppress(OSError):
            folder.rmdir()


def mounts_below(roots: tuple[Path, ...], mountinfo: str) -> list[str]:
    """Return mount points under the roots, innermost first, from the text of
    /proc/self/mountinfo."""
    points = [line.split()[4].replace("\\040", " ") for line in mountinfo.splitlines()]
    below = [p for p in points if any(p == str(r) or p.startswith(f"{r}/") for r in roots)]
    return sorted(below, key=lambda p: (p.count("/"), p), reverse=True)


def _cgroup_folders() -> list[Path]:
    """Return the pods' cgroup in every hierarchy: one on cgroup v2, one a controller on v1."""
    return [p for p in (CGROUPS / "kubepods", *CGROUPS.glob("*/kubepods")) if p.is_dir()]


def _in_cgroups() -> list[int]:
    pids: set[int] = set()
    for folder in _cgroup_folders():
        for path, _, _ in os.walk(folder):  # rglob would fail at a cgroup that goes meanwhile
            try:
                pids.update(int(word) for word in Path(path, "cgroup.procs").read_text().split())
            except OSError:
                continue
    return [pid for pid in pids if start_time(pid) is not None]


def _remove_cgroup(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            continue
