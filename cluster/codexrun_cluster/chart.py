"""How does codexrun get into a cluster? The same for every kind: Helm, then prompts and job types
by kubectl."""

import json
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.command import Log, ask
from codexrun_cluster.errors import Failure
from codexrun_cluster.paths import Places

NAMESPACE = "codexrun"
RELEASE = "codexrun"
# Made here and not by Helm, which cannot label it: the apiserver itself holds every pod to
# restricted Pod Security.
NAMESPACE_OBJECT = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}


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
    log.run(
        [client.kubectl, "apply", "-f", "-"], stdin=json.dumps(NAMESPACE_OBJECT), env=client.env
    )
    try:
        # --take-ownership: CRDs that somebody applied by hand before (kubectl apply -f crds/) would
        # stop Helm.
        log.run(
            [client.helm, "upgrade", "--install", RELEASE, places.checkout / "charts" / "codexrun",
             "--namespace", NAMESPACE, "--take-ownership", "--wait", "--timeout", "180s",
             "--set", f"image.repository={repository},image.tag={tag}",
             "--set", f"agentImage.repository={agent_repository},agentImage.tag={agent_tag}",
             "--set", "demoModel.enabled=true"],
            env=client.env,
        )  # fmt: skip
    except Failure as failure:
        _explain(client, log)
        failure.way_out = (
            f"read the log, then make up (kubectl describe pods -n {NAMESPACE} says more)"
        )
        raise
    return f"release {RELEASE} in namespace {NAMESPACE}"


def _explain(client: Client, log: Log) -> None:
    """What a person would look at next, most telling last: only the log's end is shown."""
    kubectl = [client.kubectl, "--namespace", NAMESPACE]
    log.say(ask([*kubectl, "get", "events", "--sort-by=.lastTimestamp"], env=client.env).stdout)
    log.say(ask([*kubectl, "get", "pods", "-o", "wide"], env=client.env).stdout)
    pods = json.loads(
        ask([*kubectl, "get", "pods", "-o", "json"], env=client.env).stdout or '{"items": []}'
    )
    for pod in pods["items"]:
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if any(not status["ready"] for status in statuses) and "codexrun.dev/run" not in pod[
            "metadata"
        ].get("labels", {}):
            name = pod["metadata"]["name"]
            log.say(
                "logs of"
                f" {name}:\n{ask([*kubectl, 'logs', '--tail=8', name], env=client.env).stdout}"
            )


def apply_prompts(places: Places, client: Client, log: Log) -> str:
    """Prompts and job types of this checkout, through the same command that teams use for theirs.

    Raises:
        Failure: a prompt or job type is wrong, or the cluster refused one.
    """
    codexrun = places.venv / "bin" / "codexrun"
    manifests = log.read([codexrun, "prompts", "manifests", places.checkout, "-n", NAMESPACE])
    applied = log.read(
        [client.kubectl, "apply", "-n", NAMESPACE, "-f", "-"], stdin=manifests, env=client.env
    )
    return ", ".join(
        line.split()[0].partition("/")[2] for line in applied.splitlines() if "/" in line
    )


def virtual_environment(places: Places, log: Log) -> str:
    """`.venv` with our command line, made by make itself so that there is one recipe for it.

    Raises:
        Failure: pip could not.
    """
    log.run(["make", "--no-print-directory", "-C", places.checkout, "venv"], way_out="make venv")
    return str(places.venv)
