"""An earlier commit as a release: its files, its chart, and its images built by its own
launcher."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from earlier_tree import tree_of

from codexrun_core.registry import schema

CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import sqlalchemy as sa
from codexrun_core.registry import schema
with sa.create_engine(sys.argv[2]).connect() as connection:
    try:
        schema.check(connection)
    except schema.SchemaError as error:
        print(error)
"""


@dataclass(frozen=True)
class Release:
    """What `helm upgrade` needs of a commit."""

    tree: Path
    image: str
    agent_image: str

    @property
    def chart(self) -> Path:
        return self.tree / "charts/codexrun"

    @property
    def values(self) -> dict[str, object]:
        """Its images, and its own offline model."""
        return {
            "image": _named(self.image),
            "agentImage": _named(self.agent_image),
            "demoModel": {"enabled": True},
        }

    def refuses_registry(self, folder: Path) -> str:
        """What this release's own code has against a registry that this checkout has migrated; ""
        for nothing."""
        url = f"sqlite:///{folder}/registry.db"
        with sa.create_engine(url).begin() as connection:
            schema.upgrade(connection)
        command = [sys.executable, "-c", CHECK, str(self.tree / "core"), url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def release(commit: str) -> Release:
    """That commit's release, with the images on the embedded node. Files and images stay in the
    launcher's cache.

    Skips the test where a shallow clone has not got the commit.
    """
    tree = tree_of(commit)
    # `make image` of that commit, without make and what it takes from the environment.
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("BASE_IMAGE", "REGISTRY", "CLUSTER")
    }
    # A Docker that answers would build images which the node cannot see.
    environ |= {
        "PYTHONPATH": str(tree / "cluster"),
        "DOCKER_HOST": "unix:///nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    built = subprocess.run(
        [sys.executable, "-m", "codexrun_cluster", "image"],
        cwd=tree,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    image, agent_image = re.findall(r"^built (\S+)$", built.stdout, re.MULTILINE)
    return Release(tree, image, agent_image)


def _named(image: str) -> dict[str, str]:
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}
