"""What is in the images: two Dockerfiles for everybody, and a context that needs no network while
it is built."""

import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.command import Log
from codexrun_cluster.images.codex import codex_folder
from codexrun_cluster.images.wheels import wheels_folder
from codexrun_cluster.paths import Paths, digest

CONTROL_REPOSITORY = "localhost/codexrun"
AGENT_REPOSITORY = "localhost/codexrun-agent"
# Parts of the one distribution that run in the control image: operator, gate, clone container, demo
# model.
PACKAGES = (
    "core/codexrun_core",
    "operator/codexrun_operator",
    "pod/codexrun_pod",
    "cli/codexrun_cli",
    "demo-model/codexrun_demo_model",
    "api/codexrun_api",
)


@dataclass(frozen=True)
class Image:
    """An image that may have to be built: its name is known before, from the hash of what goes
    in."""

    repository: str
    tag: str
    dockerfile: Path
    base: str
    context: Path

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"


def control_image(paths: Paths, base: str, python: str, log: Log) -> Image:
    """Return the trusted image. Its context: `site` (dependencies, changes seldom) and `app` (our
    code, changes often)."""
    packages = [paths.checkout / p for p in PACKAGES if (paths.checkout / p).is_dir()]
    dockerfile = paths.checkout / "images" / "Dockerfile.control"
    project = paths.checkout / "pyproject.toml"
    wheels = wheels_folder(paths, python)
    tag = digest([base, wheels.name, dockerfile, project, *packages])
    context = paths.cache / "context" / f"control-{tag}"

    def fill(folder: Path) -> None:
        _link_tree(wheels, folder / "site")
        for package in packages:
            _copy_package(package, folder / "app" / package.name)
        _metadata(project, folder / "app")

    _context(context, fill, log)
    return Image(CONTROL_REPOSITORY, tag, dockerfile, base, context)


def agent_image(paths: Paths, base: str, log: Log, label: str = "") -> Image:
    """Return the untrusted image: Codex and the runner on a base that a team may choose; `label`
    begins its tag, for people."""
    packages = [
        paths.checkout / "pod" / "codexrun_pod",
        paths.checkout / "core" / "codexrun_core",
    ]
    programs = paths.checkout / "pod" / "bin"
    dockerfile = paths.checkout / "images" / "Dockerfile.agent"
    codex = codex_folder(paths)
    tag = label + digest([base, codex.name, dockerfile, programs, *packages])
    context = paths.cache / "context" / f"agent-{tag}"

    def fill(folder: Path) -> None:
        _link_tree(codex, folder / "codex")
        for package in packages:
            _copy_package(package, folder / "lib" / package.name)
        shutil.copytree(programs, folder / "bin")
        for program in (folder / "bin").iterdir():
            program.chmod(0o755)

    _context(context, fill, log)
    return Image(AGENT_REPOSITORY, tag, dockerfile, base, context)


def base_label(base_image: str) -> str:
    """Return the beginning of a tag: `golang-1.25-` for `registry.example/golang:1.25`."""
    return (
        re.sub(r"[^A-Za-z0-9._]+", "-", base_image.split("@", maxsplit=1)[0].rsplit("/", 1)[-1])[
            :60
        ].strip("-.")
        + "-"
    )


def outdated(names: Iterable[str], keep: set[str]) -> list[str]:
    """Return builds that `make up` made for earlier contents. A team's own images have a label in
    their tag and stay."""
    pattern = re.compile(
        rf"({re.escape(CONTROL_REPOSITORY)}|{re.escape(AGENT_REPOSITORY)}):[0-9a-f]{{16}}"
    )
    return sorted(name for name in names if pattern.fullmatch(name) and name not in keep)


def _context(folder: Path, fill: Callable[[Path], None], log: Log) -> None:
    if folder.exists():
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    os.replace(partial, folder)
    log.say(f"build context: {folder}")


def _link_tree(source: Path, target: Path) -> None:
    """Hard links: the same bytes in the same cache, and a build context must not hold symbolic
    links out of itself."""
    shutil.copytree(source, target, copy_function=os.link, symlinks=True)


def _copy_package(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _metadata(project: Path, folder: Path) -> None:
    """So that `importlib.metadata.version("codexrun")` answers in the image, too."""
    declared = tomllib.loads(project.read_text())["project"]
    info = folder / f"{declared['name']}-{declared['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n"
    )
