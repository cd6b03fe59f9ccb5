"""Which cluster will it be, and why?"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from codexrun_cluster.command import ask
from codexrun_cluster.errors import Failure

CHOICES = ("auto", "embedded", "kind", "current")


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
    why: str


def look() -> Machine:
    """This machine."""
    docker = ask(["docker", "version", "--format", "{{.Server.Version}}"]).returncode == 0
    return Machine(
        linux=os.uname().sysname == "Linux",
        root=os.geteuid() == 0,
        docker=docker,
        kind=shutil.which("kind") is not None,
        clients=all(shutil.which(name) for name in ("kubectl", "helm")),
    )


def choose(wanted: str, machine: Machine, environ: Mapping[str, str]) -> Choice:
    """CLUSTER's word, or the best that this machine can do.

    Raises:
        Failure: what was asked for is not possible here; names what is missing.
    """
    if wanted not in CHOICES:
        raise Failure(f"CLUSTER={wanted} is none of {', '.join(CHOICES)}", "make up CLUSTER=auto")
    if wanted == "current":
        return _current(machine, environ)
    if wanted == "embedded" or (wanted == "auto" and machine.linux and machine.root):
        return _embedded(wanted, machine)
    if wanted == "kind" or (machine.docker and machine.kind):
        return _kind(wanted, machine)
    lacking = [
        "no root" if machine.linux else "no Linux",
        *([] if machine.docker else ["no Docker that answers"]),
        *([] if machine.kind else ["no kind in PATH"]),
    ]
    raise Failure(
        f"no cluster can be started here: {', '.join(lacking)}",
        "as root: make up; or install Docker and kind; or make up CLUSTER=current with a KUBECONFIG"
        " of your own",
    )


def _current(machine: Machine, environ: Mapping[str, str]) -> Choice:
    _need_clients("current", machine)
    lacking = [name for name in ("IMAGE", "AGENT_IMAGE") if not environ.get(name)]
    if lacking:
        raise Failure(
            "CLUSTER=current needs images that its nodes can pull; not given:"
            f" {', '.join(lacking)}",
            "make up CLUSTER=current IMAGE=registry.example/codexrun:v1"
            " AGENT_IMAGE=registry.example/codexrun-agent:v1",
        )
    where = environ.get("KUBECONFIG") or "~/.kube/config"
    return Choice("current", f"CLUSTER=current: the cluster of {where}")


def _embedded(wanted: str, machine: Machine) -> Choice:
    if not machine.linux:
        raise Failure("CLUSTER=embedded runs on Linux only", "make up CLUSTER=kind")
    if not machine.root:
        raise Failure(
            "CLUSTER=embedded needs root: it starts containers, a bridge and mounts", "sudo make up"
        )
    return Choice("embedded", "Linux and root" if wanted == "auto" else "CLUSTER=embedded")


def _kind(wanted: str, machine: Machine) -> Choice:
    if not machine.docker:
        raise Failure(
            "CLUSTER=kind needs a Docker that answers `docker version`",
            "start Docker, or as root: make up",
        )
    if not machine.kind:
        raise Failure(
            "CLUSTER=kind needs the program `kind` in PATH", "go install sigs.k8s.io/kind@latest"
        )
    _need_clients("kind", machine)
    return Choice("kind", "no root, but Docker answers" if wanted == "auto" else "CLUSTER=kind")


def _need_clients(wanted: str, machine: Machine) -> None:
    if not machine.clients:
        raise Failure(
            f"CLUSTER={wanted} needs kubectl and helm in PATH", "install both, then try again"
        )
