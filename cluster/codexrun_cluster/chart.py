"""How does codexrun get into a cluster? The same for every kind: Helm, then prompts and job types by kubectl."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .command import Log
from .failure import Failure
from .places import Places

NAMESPACE = "codexrun"
RELEASE = "codexrun"


@dataclass(frozen=True)
class Client:
    """kubectl and helm, bound to one cluster."""

    kubectl: Path | str
    helm: Path | str
    kubeconfig: Path | None

    @property
    def env(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {}


def split_name(image: str) -> tuple[str, str]:
    """`host:5000/name:tag` -> repository and tag.

    Raises:
        Failure: it has no tag, and "latest" would never roll out a change.
    """
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        raise Failure(f"the image {image} has no tag", "name it as repository:tag")
    return repository, tag


def install(places: Places, client: Client, image: str, agent_image: str, log: Log) -> str:
    """Install or upgrade the release and wait for it.

    Raises:
        Failure: Helm could not; the pods' states and events are in the log.
    """
    (repository, tag), (agent_repository, agent_tag) = split_name(image), split_name(agent_image)
    try:
        log.run(
            [client.helm, "upgrade", "--install", RELEASE, places.checkout / "charts" / "codexrun",
             "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "180s",
             "--set", f"image.repository={repository},image.tag={tag}",
             "--set", f"agentImage.repository={agent_repository},agentImage.tag={agent_tag}",
             "--set", "demoModel.enabled=true"],
            env=client.env,
        )  # fmt: skip
    except Failure as failure:
        for what in ("pods", "events"):
            shown = subprocess.run(
                [client.kubectl, "get", what, "-n", NAMESPACE, "-o", "wide"],
                capture_output=True, text=True, env={**os.environ, **client.env},
            )  # fmt: skip
            log.say(shown.stdout + shown.stderr)
        failure.way_out = f"read the log, then make up (kubectl describe pods -n {NAMESPACE} says more)"
        raise
    return f"release {RELEASE} in namespace {NAMESPACE}"


def apply_prompts(places: Places, client: Client, log: Log) -> str:
    """Prompts and job types of this checkout, through the same command that teams use for theirs.

    Raises:
        Failure: a prompt or job type is wrong, or the cluster refused one.
    """
    command = [places.venv / "bin" / "codexrun", "prompts", "manifests", places.checkout, "-n", NAMESPACE]
    manifests = log.read(command)
    log.run([client.kubectl, "apply", "-n", NAMESPACE, "-f", "-"], stdin=manifests, env=client.env)
    listed = log.read([client.kubectl, "get", "codexjobtypes", "-n", NAMESPACE, "-o", "json"], env=client.env)
    return "job types: " + ", ".join(item["metadata"]["name"] for item in json.loads(listed)["items"])


def virtual_environment(places: Places, log: Log) -> str:
    """`.venv` with our command line, made by make itself so that there is one recipe for it.

    Raises:
        Failure: pip could not.
    """
    log.run(["make", "--no-print-directory", "-C", places.checkout, "venv"], way_out="make venv")
    return str(places.venv)
