"""Take a node away, alive or dead, without a trace and without touching anything else."""

import shutil

from codexrun_cluster.node import container_leftovers, network
from codexrun_cluster.node.components import unrecorded_pids
from codexrun_cluster.node.processes import kill_all
from codexrun_cluster.node.state import RECORD_FILE, NodeRecord, load
from codexrun_cluster.paths import RUN, VAR, Paths


def clear_machine(record: NodeRecord | None) -> None:
    """End every process of a node and put back what it changed outside its checkout; files of the
    cache stay."""
    alive = {name: p for name, p in (record.components if record else {}).items() if p.alive()}
    # The kubelet and the controllers first, or they bring back what is being ended.
    for name in ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns"):
        if name in alive:
            alive[name].stop(5)
    container_leftovers.stop_processes(grace_seconds=5)
    container_leftovers.forget_containers()
    for name in ("kube-apiserver", "etcd", "containerd"):
        if name in alive:
            alive[name].stop(5)
    kill_all(unrecorded_pids(), 5)
    container_leftovers.stop_processes(grace_seconds=0)
    network.take_down()
    container_leftovers.remove_leftovers()


def take_down(paths: Paths) -> None:
    """Remove all that `up` started; logs and the cache stay."""
    record = load()
    if RECORD_FILE.exists() or RUN.exists() or VAR.exists() or network.bridge_exists():
        clear_machine(record)
    if paths.state.exists():
        for child in paths.state.iterdir():
            if child.name != "logs":
                if child.is_dir() and not child.is_symlink():
                    shutil.rmtree(child)
                else:
                    child.unlink()
