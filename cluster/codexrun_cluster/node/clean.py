"""How does a node go away, alive or dead, without a trace and without touching anything else?"""

import shutil

from codexrun_cluster.node import containers, network
from codexrun_cluster.node.components import unrecorded
from codexrun_cluster.node.processes import kill_all
from codexrun_cluster.node.state import RECORD, Record, load
from codexrun_cluster.paths import RUN, VAR, Places


def clear_machine(record: Record | None) -> None:
    """End every process of a node and put back what it changed outside its checkout; files of the
    cache stay."""
    alive = {name: p for name, p in (record.parts if record else {}).items() if p.alive()}
    # The kubelet and the controllers first, or they bring back what is being ended.
    for name in ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns"):
        if name in alive:
            alive[name].stop(5)
    containers.end_processes(patience=5)
    containers.forget_containers()
    for name in ("kube-apiserver", "etcd", "containerd"):
        if name in alive:
            alive[name].stop(5)
    kill_all(unrecorded(), 5)
    containers.end_processes(patience=0)
    network.take_down()
    containers.sweep()


def take_down(places: Places) -> None:
    """All that `up` started; logs and the cache stay."""
    record = load()
    if RECORD.exists() or RUN.exists() or VAR.exists() or network.bridge_exists():
        clear_machine(record)
    if places.state.exists():
        for child in places.state.iterdir():
            if child.name != "logs":
                shutil.rmtree(
                    child
                ) if child.is_dir() and not child.is_symlink() else child.unlink()
