"""How does a team get an agent image with its own tools? `make image BASE_IMAGE=golang:1.25`."""

import shutil

from . import fetch, packages
from .base import build_base
from .builders import Buildah, docker_build
from .command import Log
from .images import agent_image
from .places import Places
from .progress import Progress
from .steps import Step, run_steps


def build_team_image(places: Places, base_image: str, progress: Progress) -> None:
    """Build it with Docker where Docker is, else with buildah; without BASE_IMAGE on our own minimal Debian.

    Raises:
        Failure: of the step that could not; the build's own words are in its log.
    """
    docker = shutil.which("docker") is not None and base_image != ""
    from .kinds import look

    docker = docker and look().docker
    built: list[str] = []

    def build(log: Log) -> str:
        if docker:
            image = agent_image(places, base_image, log)
            docker_build(image, log)
        else:
            buildah = Buildah(places, log)
            if base_image:
                base = base_image
            else:
                build_base(places, log)
                base = buildah.base()
            image = agent_image(places, base, log)
            buildah.build(image, pull=bool(base_image))
        built.append(image.name)
        return "with Docker" if docker else "with buildah"

    needs = packages.CLIENT if docker else packages.CLIENT + packages.NODE
    run_steps(
        [
            Step("Debian packages", 40, lambda log: packages.install(needs, log)),
            Step("fetch Codex", 30, lambda log: fetch.fetch_codex(places, log), ("Debian packages",)),
            Step("agent image", 90, build, ("fetch Codex",)),
        ],
        places.logs,
        progress,
    )
    print(f"built {built[0]}\nnext: push it where your nodes pull from, and name it in a job type's spec.image")


