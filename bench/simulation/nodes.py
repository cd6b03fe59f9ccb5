"""Simulated nodes: kwok, and the Node objects it keeps ready."""

from pathlib import Path
from typing import Any

from codexrun_cluster.command import Log
from codexrun_cluster.node.gobuild import build_foreign, foreign_program
from codexrun_cluster.paths import Paths

Json = dict[str, Any]

KWOK = ("sigs.k8s.io/kwok/cmd/kwok", "v0.7.0")
NODES = 10
PODS_PER_NODE = 2000


def kwok_binary(paths: Paths) -> Path:
    return foreign_program(paths, *KWOK)


def build_kwok(paths: Paths, log: Log) -> None:
    """Build kwok from its Go module unless the cache has it.

    Raises:
        LauncherError: Go or the module could not be had.
    """
    build_foreign(paths, *KWOK, log)


def node_objects() -> list[Json]:
    """Return the simulated nodes, with room for whatever is measured."""
    room = {
        "cpu": "2000",
        "memory": "16Ti",
        "ephemeral-storage": "64Ti",
        "pods": str(PODS_PER_NODE),
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"simulated-{number}",
                "labels": {
                    "kubernetes.io/hostname": f"simulated-{number}",
                    "kubernetes.io/os": "linux",
                },
            },
            "status": {"capacity": room, "allocatable": room},
        }
        for number in range(NODES)
    ]
