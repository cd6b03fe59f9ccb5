"""Choose which cluster it will be."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from codexrun_cluster.command import capture
from codexrun_cluster.errors import LauncherError

BACKENDS = ("auto", "embedded", "kind", "current")


@dataclass(frozen=True)
class Machine:
    """What the choice depends on."""

    linux: bool
    root: bool
    docker: bool
    kind: bool
    clients: bool = True


@dataclass(frozen=True)
class Choice:
    """The cluster taken, and the reason in words for people."""

    kind: str
    reason: str


def inspect_machine() -> Machine:
    """Return what this machine has."""
    docker = capture(["docker", "version", "--format", "{{.Server.Version}}"]).returncode == 0
    return Machine(
        linux=os.uname().sysname == "Linux",
        root=os.geteuid() == 0,
        docker=docker,
        kind=shutil.which("kind") is not None,
        clients=all(shutil.which(name) for name in ("kubectl", "helm")),
    )


def choose(backend: str, machine: Machine, environ: Mapping[str, str]) -> Choice:
    """Return the backend that CLUSTER names, or the best that this machine can run.

    Raises:
        LauncherError: that backend is not possible here; names what is missing.
    """
    if backend not in BACKENDS:
        raise LauncherError(
            f"CLUSTER={backend} is not a valid backend; use {', '.join(BACKENDS)}",
            "make up CLUSTER=auto",
        )
    if backend == "current":
        return _current(machine, environ)
    if backend == "embedded" or (backend == "auto" and machine.linux and machine.root):
        return _embedded(backend, machine)
    if backend == "kind" or (machine.docker and machine.kind):
        return _kind(backend, machine)
    missing = [
        "no root" if machine.linux else "no Linux",
        *([] if machine.docker else ["no Docker that answers"]),
        *([] if machine.kind else ["no kind in PATH"]),
    ]
    raise LauncherError(
        f"no cluster can be started here: {', '.join(missing)}",
        "as root: make up; or install Docker and kind; or make up CLUSTER=current with a KUBECONFIG"
        " of your own",
    )


def _current(machine: Machine, environ: Mapping[str, str]) -> Choice:
    _need_clients("current", machine)
    missing = [name for name in ("IMAGE", "AGENT_IMAGE") if not environ.get(name)]
    if missing:
        raise LauncherError(
            "CLUSTER=current needs images that its nodes can pull; not given:"
            f" {', '.join(missing)}",
            "make up CLUSTER=current IMAGE=registry.example/codexrun:v1"
            " AGENT_IMAGE=registry.example/codexrun-agent:v1",
        )
    kubeconfig = environ.get("KUBECONFIG") or "~/.kube/config"
    return Choice("current", f"CLUSTER=current: the cluster of {kubeconfig}")


def _embedded(backend: str, machine: Machine) -> Choice:
    if not machine.linux:
        raise LauncherError("CLUSTER=embedded runs on Linux only", "make up CLUSTER=kind")
    if not machine.root:
        raise LauncherError(
            "CLUSTER=embedded needs root: it starts containers, a bridge and mounts", "sudo make up"
        )
    return Choice("embedded", "Linux and root" if backend == "auto" else "CLUSTER=embedded")


def _kind(backend: str, machine: Machine) -> Choice:
    if not machine.docker:
        raise LauncherError(
            "CLUSTER=kind needs a Docker that answers `docker version`",
            "start Docker, or as root: make up",
        )
    if not machine.kind:
        raise LauncherError(
            "CLUSTER=kind needs the program `kind` in PATH", "go install sigs.k8s.io/kind@latest"
        )
    _need_clients("kind", machine)
    return Choice("kind", "no root, but Docker answers" if backend == "auto" else "CLUSTER=kind")


def _need_clients(backend: str, machine: Machine) -> None:
    if not machine.clients:
        raise LauncherError(
            f"CLUSTER={backend} needs kubectl and helm in PATH", "install both, then try again"
        )
