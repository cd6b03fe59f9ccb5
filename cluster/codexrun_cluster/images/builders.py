"""Build images and bring them to the nodes: Docker for kind, buildah for the embedded node."""

import json
import shutil
from pathlib import Path

from codexrun_cluster.command import Log
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.images.base_image import base_tar
from codexrun_cluster.images.contents import Image, outdated
from codexrun_cluster.images.oci_layout import newest_images, prune_layout, write_archive
from codexrun_cluster.node import container_leftovers
from codexrun_cluster.node.settings import CONTAINERD_SOCKET
from codexrun_cluster.paths import Paths

BASE_REPOSITORY = "localhost/codexrun-base"
PAUSE_REPOSITORY = "localhost/codexrun-pause"


class Docker:
    """Builds with the Docker that answers here."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def build(self, image: Image, pull: bool = False) -> str:
        """Build; layers that Docker has are its own business. `pull`: look for a newer base."""
        options = ["--pull"] if pull else []
        self.log.run(
            [
                "docker",
                "build",
                *options,
                "--file",
                image.dockerfile,
                "--build-arg",
                f"BASE_IMAGE={image.base}",
                "--tag",
                image.name,
                image.context,
            ]
        )
        return f"built {image.name}"

    def push(self, name: str, registry: str) -> str:
        """Push under the registry's name; returns that."""
        target = pushed_name(name, registry)
        self.log.run(["docker", "tag", name, target])
        self.log.run(["docker", "push", target])
        return target


def pushed_name(name: str, registry: str) -> str:
    """Return an image's name in a registry: `registry.example/team/codexrun:tag` for
    `localhost/codexrun:tag`."""
    return f"{registry.rstrip('/')}/{name.partition('/')[2]}"


class Buildah:
    """Builds without a daemon, in storage of its own in the cache; `chroot` isolation works without
    user namespaces."""

    def __init__(self, paths: Paths, log: Log) -> None:
        self.paths = paths
        self.log = log
        self.storage = paths.cache / "buildah"
        self.env = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(paths.cache / "tmp")}
        (paths.cache / "tmp").mkdir(parents=True, exist_ok=True)

    def _command(self, *words: str | Path) -> list[str | Path]:
        driver = "vfs" if _is_on_overlay(self.storage) else "overlay"
        return [
            "buildah",
            "--root",
            self.storage,
            "--runroot",
            container_leftovers.BUILDAH_RUN,
            "--storage-driver",
            driver,
            *words,
        ]

    def run(self, *words: str | Path) -> None:
        self.log.run(self._command(*words), env=self.env)

    def names(self) -> set[str]:
        """Return names of all images in its own storage."""
        listed = self.log.read(self._command("images", "--json"), env=self.env)
        return {name for image in json.loads(listed or "[]") for name in image.get("names") or []}

    def base(self) -> str:
        """Return the minimal Debian as an image."""
        tar = base_tar(self.paths)
        name = f"{BASE_REPOSITORY}:{tar.stem}"
        self._from_scratch(
            name,
            tar,
            "/",
            ["--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        )
        return name

    def program(self, name: str, program: Path, place: str) -> None:
        """An image of one static program and nothing else."""
        self._from_scratch(name, program, place, ["--entrypoint", json.dumps([place])])

    def _from_scratch(self, name: str, content: Path, place: str, config: list[str]) -> None:
        if name in self.names():
            return
        container = self.log.read(self._command("from", "scratch"), env=self.env).strip()
        try:
            self.run("add", container, content, place)
            self.run("config", *config, container)
            self.run("commit", "--quiet", container, name)
        finally:
            self.run("rm", container)

    def build(self, image: Image, pull: bool = False) -> str:
        """Build unless it is there. `pull`: the base is a registry's."""
        if image.name in self.names():
            return "already built"
        self.run(
            # --timestamp: the same content makes the same layer, which the node then has already.
            "build",
            "--layers",
            "--timestamp=0",
            f"--pull={str(pull).lower()}",
            "--file",
            image.dockerfile,
            "--build-arg",
            f"BASE_IMAGE={image.base}",
            "--tag",
            image.name,
            image.context,
        )
        return f"built {image.name}"

    def push(self, name: str, registry: str) -> str:
        """Push under the registry's name; returns that."""
        target = pushed_name(name, registry)
        self.run("push", name, f"docker://{target}")
        return target

    def load(self, name: str) -> str:
        """Bring an image into the node's containerd; only layers that it lacks are copied."""
        if name in container_leftovers.ctr("images", "ls", "--quiet"):
            return "already on the node"
        layout = self.paths.cache / "oci"
        layout.mkdir(exist_ok=True)
        # Into one layout that stays: a layer that an earlier build brought is neither compressed
        # nor written again.
        self.run("push", "--quiet", name, f"oci:{layout}:{name}")
        archive = self.paths.cache / "tmp" / "import.tar"
        size = write_archive(
            layout, name, set(container_leftovers.ctr("content", "ls", "--quiet")), archive
        )
        self.log.run(
            [
                "ctr",
                "--address",
                CONTAINERD_SOCKET,
                "--namespace",
                "k8s.io",
                "images",
                "import",
                "--digests=false",
                archive,
            ]
        )
        archive.unlink()
        if name not in container_leftovers.ctr("images", "ls", "--quiet"):
            raise LauncherError(
                f"containerd imported {name}, but does not list it",
                "make down, then make up",
                self.log.path,
            )
        return f"{size / 1e6:.0f} MB imported"


def prune(buildah: Buildah, now: set[str]) -> None:
    """Remove older builds on the node and in the cache, so that a day of changes does not fill the
    disk.

    The newest three of each stay: runs admitted a moment ago still name the image before this one.
    """
    paths = buildah.paths
    layout = paths.cache / "oci"
    keep = now | newest_images(layout, 3)
    on_node = container_leftovers.images()
    old = outdated(on_node, keep)
    if names := [*old, *container_leftovers.untagged_images(on_node, set(old))]:
        container_leftovers.ctr("images", "rm", *names)
    for name in outdated(buildah.names(), keep):
        buildah.run("rmi", name)
    prune_layout(layout, keep)
    tags = {name.rpartition(":")[2] for name in keep}
    for context in (paths.cache / "context").glob("*-*"):
        if context.name.partition("-")[2] not in tags:
            shutil.rmtree(context, ignore_errors=True)


def _is_on_overlay(folder: Path) -> bool:
    from codexrun_cluster.node.steps import snapshotter

    folder.mkdir(parents=True, exist_ok=True)
    return snapshotter(folder) == "native"
