"""kind: a cluster inside Docker, for machines that have it.

Not tried where this was written: kind needs Docker and a node image from a registry, and neither
was there. Only what comes before "there is a kubeconfig and the nodes have the images" is different
from the embedded node.
"""

import subprocess

from codexrun_cluster import packages
from codexrun_cluster.command import Log
from codexrun_cluster.images import codex, wheels
from codexrun_cluster.images.builders import Docker
from codexrun_cluster.images.contents import agent_image, control_image
from codexrun_cluster.paths import Paths
from codexrun_cluster.step_runner import Step

NAME = "codexrun"
BASE_IMAGE = "python:3.13-slim"
PYTHON = "3.13"


def kind_steps(paths: Paths, images: dict[str, str]) -> list[Step]:
    """Return the steps for cluster and images by Docker and kind."""

    def cluster(log: Log) -> str:
        names = log.read(["kind", "get", "clusters"]).split()
        if NAME not in names:
            log.run(
                [
                    "kind",
                    "create",
                    "cluster",
                    "--name",
                    NAME,
                    "--kubeconfig",
                    paths.kubeconfig,
                    "--wait",
                    "120s",
                ]
            )
        log.run(["kind", "export", "kubeconfig", "--name", NAME, "--kubeconfig", paths.kubeconfig])
        return "already there" if NAME in names else "created"

    def build(log: Log) -> str:
        wheels.fetch_wheels(paths, PYTHON, log)
        codex.fetch_codex(paths, log)
        for key, image in (
            ("control", control_image(paths, BASE_IMAGE, PYTHON, log)),
            ("agent", agent_image(paths, BASE_IMAGE, log)),
        ):
            Docker(log).build(image)
            images[key] = image.name
        return ", ".join(images.values())

    def load(log: Log) -> None:
        for name in images.values():
            log.run(["kind", "load", "docker-image", name, "--name", NAME])

    return [
        Step("packages", 20, lambda log: packages.install(packages.CLIENT, log)),
        Step("cluster", 120, cluster),
        Step("build the images", 120, build, ("packages",)),
        Step("images on the node", 60, load, ("cluster", "build the images")),
    ]


def delete(paths: Paths) -> None:
    """Remove the kind cluster, if its kubeconfig is ours."""
    if paths.kubeconfig.exists():
        subprocess.run(
            ["kind", "delete", "cluster", "--name", NAME, "--kubeconfig", str(paths.kubeconfig)],
            check=False,
        )


def is_current(paths: Paths) -> bool:
    """Return whether the cluster of `.cluster/kubeconfig` is one of kind's."""
    return paths.kubeconfig.exists() and f"kind-{NAME}" in paths.kubeconfig.read_text()
