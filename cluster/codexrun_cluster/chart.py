"""Install codexrun into a cluster: Helm, then prompts and job types by kubectl; the same for every
kind."""

import json
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.command import Log, capture
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.paths import Paths

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
    """Return repository and tag of an image: `host:5000/name`, `tag`.

    Raises:
        LauncherError: it has no tag, and "latest" would never roll out a change.
    """
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        raise LauncherError(f"the image {image} has no tag", "name it as repository:tag")
    return repository, tag


def install(paths: Paths, client: Client, image: str, agent_image: str, log: Log) -> str:
    """Install or upgrade the release and wait for it.

    Raises:
        LauncherError: Helm could not; the pods' states and events are in the log.
    """
    repository, tag = split_name(image)
    agent_repository, agent_tag = split_name(agent_image)
    log.run(
        [client.kubectl, "apply", "-f", "-"], stdin=json.dumps(NAMESPACE_OBJECT), env=client.env
    )
    try:
        # --take-ownership: CRDs that somebody applied by hand before (kubectl apply -f crds/) would
        # stop Helm.
        log.run(
            [client.helm, "upgrade", "--install", RELEASE, paths.checkout / "charts" / "codexrun",
             "--namespace", NAMESPACE, "--take-ownership", "--wait", "--timeout", "180s",
             "--set", f"image.repository={repository},image.tag={tag}",
             "--set", f"agentImage.repository={agent_repository},agentImage.tag={agent_tag}",
             "--set", "demoModel.enabled=true"],
            env=client.env,
        )  # fmt: skip
    except LauncherError as error:
        _log_state(client, log)
        error.hint = f"read the log, then make up (kubectl describe pods -n {NAMESPACE} says more)"
        raise
    return f"release {RELEASE} in namespace {NAMESPACE}"


def _log_state(client: Client, log: Log) -> None:
    """Log what a person would look at next, most telling last: only the log's end is shown."""
    kubectl = [client.kubectl, "--namespace", NAMESPACE]
    log.say(capture([*kubectl, "get", "events", "--sort-by=.lastTimestamp"], env=client.env).stdout)
    log.say(capture([*kubectl, "get", "pods", "-o", "wide"], env=client.env).stdout)
    pods = json.loads(
        capture([*kubectl, "get", "pods", "-o", "json"], env=client.env).stdout or '{"items": []}'
    )
    for pod in pods["items"]:
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if any(not status["ready"] for status in statuses) and "codexrun.dev/run" not in pod[
            "metadata"
        ].get("labels", {}):
            name = pod["metadata"]["name"]
            log.say(
                "logs of"
                f" {name}:\n{capture([*kubectl, 'logs', '--tail=8', name], env=client.env).stdout}"
            )


def apply_prompts(paths: Paths, client: Client, log: Log) -> str:
    """Apply prompts and job types of this checkout, through the same command that teams use for
    theirs.

    Raises:
        LauncherError: a prompt or job type is wrong, or the cluster refused one.
    """
    codexrun = paths.venv / "bin" / "codexrun"
    manifests = log.read([codexrun, "prompts", "manifests", paths.checkout, "-n", NAMESPACE])
    applied = log.read(
        [client.kubectl, "apply", "-n", NAMESPACE, "-f", "-"], stdin=manifests, env=client.env
    )
    return ", ".join(
        line.split()[0].partition("/")[2] for line in applied.splitlines() if "/" in line
    )


def virtual_environment(paths: Paths, log: Log) -> str:
    """Make `.venv` with the command line, by make itself so that there is one recipe for it.

    Raises:
        LauncherError: pip could not.
    """
    log.run(["make", "--no-print-directory", "-C", paths.checkout, "venv"], hint="make venv")
    return str(paths.venv)
