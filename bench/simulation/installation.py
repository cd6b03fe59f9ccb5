"""What the chart and this checkout's folders bring into a namespace, as objects, and the operator's
environment. Images are never pulled: simulated pods have no containers."""

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from codexrun_cluster.chart import NAMESPACE, RELEASE
from codexrun_core.prompts import manifests

Json = dict[str, Any]

# Chart, job types and operator of another checkout, to compare with.
CHECKOUT_ENV = "CODEXRUN_BENCH_CHECKOUT"
ROOT = Path(os.environ.get(CHECKOUT_ENV) or Path(__file__).resolve().parents[2])
VALUES = {"model.upstreamURL": "http://model.example/v1", "model.existingSecret": "codex-model"}
JOB_TYPE = "hello"
# The most that a job type may have.
MAX_CONCURRENT = 10_000
MAX_QUEUED = 100_000
# What the operator, or the creation of a run, needs beside the definitions. The rest would start
# pods.
NEEDED_KINDS = (
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
OPERATOR = f"{RELEASE}-operator"
OPERATOR_USER = f"system:serviceaccount:{NAMESPACE}:{OPERATOR}"


class Installation:
    """A release of the chart with its default values, as Helm renders it."""

    def __init__(self, helm: list[str]) -> None:
        settings = [f"--set={name}={value}" for name, value in VALUES.items()]
        chart = ROOT / "charts/codexrun"
        rendered = subprocess.run(
            [*helm, "template", RELEASE, chart, f"--namespace={NAMESPACE}", *settings],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        self._objects = [document for document in yaml.safe_load_all(rendered) if document]

    @property
    def definitions(self) -> list[Json]:
        return [item for item in self._objects if item["kind"] == "CustomResourceDefinition"]

    @property
    def objects(self) -> list[Json]:
        """Return what is applied once the definitions are known."""
        return [item for item in self._objects if item["kind"] in NEEDED_KINDS] + _prompts()

    @property
    def operator_environment(self) -> dict[str, str]:
        """Return the variables of the operator's container."""
        (deployment,) = (
            item
            for item in self._objects
            if item["kind"] == "Deployment" and item["metadata"]["name"] == OPERATOR
        )
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        values = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        return {
            **values,
            "CODEXRUN_NAMESPACE": NAMESPACE,
            "CODEXRUN_POD_NAME": "operator-0",
            "PYTHONPATH": f"{ROOT}/core:{ROOT}/operator:{os.environ.get('PYTHONPATH', '')}",
        }


def _prompts() -> list[Json]:
    return [
        manifest
        for manifest in manifests.load(ROOT).manifests(NAMESPACE)
        if manifest["kind"] == "ConfigMap"
    ]


def job_type(name: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> Json:
    """Return this checkout's smallest job type under another name, with the largest limits."""
    (manifest,) = (
        copy.deepcopy(item)
        for item in manifests.load(ROOT).job_types
        if item["metadata"]["name"] == JOB_TYPE
    )
    manifest["metadata"] = {"name": name, "namespace": NAMESPACE}
    manifest["spec"] |= {"concurrencyLimit": MAX_CONCURRENT, "maxQueued": MAX_QUEUED, **spec}
    if annotations:
        manifest["spec"]["podTemplate"] = {"annotations": annotations}
    return manifest
