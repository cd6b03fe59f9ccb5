"""Make images for a team: on another base, or in its registry.

`make image BASE_IMAGE=golang:1.25` builds the agent's image with that toolchain inside;
`REGISTRY=...` pushes.
"""

from codexrun_cluster import packages
from codexrun_cluster.backends.choice import inspect_machine
from codexrun_cluster.backends.kind import BASE_IMAGE, PYTHON
from codexrun_cluster.command import Log
from codexrun_cluster.images import base_image as base
from codexrun_cluster.images import codex, wheels
from codexrun_cluster.images.builders import Buildah, Docker
from codexrun_cluster.images.contents import agent_image, base_label, control_image
from codexrun_cluster.node import container_leftovers
from codexrun_cluster.paths import Paths
from codexrun_cluster.progress import Progress
from codexrun_cluster.step_runner import Step, run_steps


def make_images(paths: Paths, base_image: str, registry: str, progress: Progress) -> None:
    """Build with Docker where it answers, else with buildah. Without `base_image` both images, on
    our default base.

    Raises:
        LauncherError: of the step that could not; the build's own words are in its log.
    """
    docker = inspect_machine().docker
    names: list[str] = []

    def build(log: Log) -> str:
        builder: Docker | Buildah = Docker(log) if docker else Buildah(paths, log)
        images = []
        if base_image:
            images.append(agent_image(paths, base_image, log, base_label(base_image)))
        else:
            default_base, python = _default_base(paths, builder, log)
            wheels.fetch_wheels(paths, python, log)
            images += [
                control_image(paths, default_base, python, log),
                agent_image(paths, default_base, log),
            ]
        for image in images:
            builder.build(image, pull=bool(base_image))
            names.append(builder.push(image.name, registry) if registry else image.name)
            if isinstance(builder, Buildah) and container_leftovers.ctr("version"):
                builder.load(image.name)
        return "with Docker" if docker else "with buildah"

    required = packages.CLIENT if docker else packages.CLIENT + packages.NODE
    run_steps(
        [
            Step("packages", 40, lambda log: packages.install(required, log)),
            Step("fetch Codex", 30, lambda log: codex.fetch_codex(paths, log), ("packages",)),
            Step("images", 120, build, ("fetch Codex",)),
        ],
        paths.logs,
        progress,
    )
    print("\n".join(("pushed " if registry else "built ") + name for name in names))
    if not registry:
        print(
            "next: name the agent's in a job type's spec.image; for another cluster,"
            " REGISTRY=registry.example/team pushes"
        )


def _default_base(paths: Paths, builder: Docker | Buildah, log: Log) -> tuple[str, str]:
    if isinstance(builder, Docker):
        return BASE_IMAGE, PYTHON
    base.build_base(paths, log)
    return builder.base(), base.python_version(base.base_tar(paths))


def fetch_only(paths: Paths, progress: Progress) -> None:
    """Fetch the programs of each Codex that is tested into the cache, for tests that run it without
    a cluster.

    Raises:
        LauncherError: npm could not bring them.
    """

    def fetch(log: Log) -> str:
        return ", ".join(codex.fetch_codex(paths, log, pin) for pin in codex.pins())

    npm = tuple(package for package in packages.CLIENT if package.name == "npm")
    run_steps(
        [
            Step("npm", 60, lambda log: packages.install(npm, log)),
            Step("fetch Codex", 60, fetch, ("npm",)),
        ],
        paths.logs,
        progress,
    )
    for pin in codex.pins():
        print(codex.codex_folder(paths, pin.version) / "bin" / "codex")
