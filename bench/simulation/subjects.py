"""What is started many times: a bare Job of a trivial pod, one of the pod that codexrun makes, a
run of codexrun."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from codexrun_cluster.chart import NAMESPACE
from codexrun_core.runs.new_run import manifest
from simulation.client import Json

BARE_NAMESPACE = "bare-jobs"
TRIVIAL_POD: Json = {
    "restartPolicy": "Never",
    "containers": [
        {
            "name": "main",
            "image": "example.invalid/codex",
            "command": ["codex", "exec"],
            "env": [
                {
                    "name": "CODEX_API_KEY",
                    "valueFrom": {"secretKeyRef": {"name": "key", "key": "CODEX_API_KEY"}},
                }
            ],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        }
    ],
}
# What the apiserver has added to a Job that was created.
SERVERS_FIELDS = ("selector", "manualSelector", "completionMode", "suspend")
# The Job controller's labels, by which it would know its pods.
CONTROLLERS_LABELS = ("controller-uid", "job-name")


@dataclass(frozen=True)
class Subject:
    """`outcome` is None while the object is not over; `good` is that of a success."""

    namespace: str
    path: str
    build: Callable[[str], Json]
    outcome: Callable[[Json], str | None]
    good: str

    @property
    def jobs(self) -> str:
        return jobs_path(self.namespace)


def jobs_path(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def pods_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def bare_job(spec: Json, metadata: Json | None = None) -> Subject:
    def build(name: str) -> Json:
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {**(metadata or {}), "name": name},
            "spec": spec,
        }

    return Subject(BARE_NAMESPACE, jobs_path(BARE_NAMESPACE), build, _job_outcome, "Complete")


def trivial_job() -> Subject:
    spec = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "template": {"spec": TRIVIAL_POD},
    }
    return bare_job(spec)


def same_job(job: Json) -> Subject:
    """Return the Job that the operator has created as a bare one."""
    spec = copy.deepcopy(job["spec"])
    for field in SERVERS_FIELDS:
        spec.pop(field, None)
    metadata = spec["template"]["metadata"]
    metadata.pop("creationTimestamp", None)
    metadata["labels"] = without_controllers(metadata["labels"])
    kept = ("labels", "annotations")
    return bare_job(spec, {key: job["metadata"][key] for key in kept if key in job["metadata"]})


def without_controllers(labels: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not key.endswith(CONTROLLERS_LABELS)}


def codex_run(job_type: str, **spec: Any) -> Subject:
    def build(name: str) -> Json:
        return manifest(name, {"jobType": job_type, "inputs": {"name": "world"}, **spec})

    path = f"/apis/codexrun.dev/v1alpha1/namespaces/{NAMESPACE}/codexruns"
    return Subject(NAMESPACE, path, build, _run_outcome, "Succeeded")


def _job_outcome(job: Json) -> str | None:
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return None


def _run_outcome(run: Json) -> str | None:
    status = run.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "Succeeded" and condition["status"] in ("True", "False"):
            return str(status["phase"])
    return None
