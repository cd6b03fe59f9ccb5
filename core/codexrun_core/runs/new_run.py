"""How a CodexRun is built, fingerprinted and repeated, by the REST api and by the command
line. Pure.

A request is what a caller sends to POST /runs, in the REST API's field names. Standard
library only: the command line imports this module at every start.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codexrun_core.runs.annotations import (
    DELETE_IF_REJECTED,
    ORIGIN,
    REQUEST_ID,
    REQUEST_SHA256,
    REQUESTED_BY,
)

Json = dict[str, Any]

API_VERSION = "codexrun.dev/v1alpha1"
SPEC_FIELDS = (
    "job_type",
    "inputs",
    "prompt_version",
    "model",
    "effort",
    "limits",
    "workspace",
    "when_full",
    "priority",
    "ttl_seconds_after_finished",
)
# What a retry does not take over: a cancel was for the earlier run, and its own link says which.
_NOT_REPEATED = ("cancel", "retryOf")


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """One run that a caller wants; its name is its identity."""

    name: str
    spec: Json
    user: str
    origin: str  # api, cli, console
    request_id: str
    sha256: str  # of the request, to tell a repeated one from another one with the same key
    labels: Mapping[str, str] = field(default_factory=dict)
    keyed: bool = False  # its name is the caller's promise that a repetition is the same run

    def manifest(self, namespace: str) -> Json:
        """Return the object that the cluster is asked to store."""
        annotations = {
            REQUESTED_BY: self.user,
            ORIGIN: self.origin,
            REQUEST_ID: self.request_id,
            REQUEST_SHA256: self.sha256,
            DELETE_IF_REJECTED: "true",
        }
        return manifest(
            self.name,
            self.spec,
            namespace=namespace,
            labels=self.labels,
            annotations=annotations,
        )


def manifest(
    name: str,
    spec: Mapping[str, Any],
    *,
    namespace: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """Return a CodexRun as `kubectl apply` takes it; metadata that is empty is left out."""
    metadata: Json = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = dict(labels)
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": API_VERSION,
        "kind": "CodexRun",
        "metadata": metadata,
        "spec": dict(spec),
    }


def spec_of(request: Mapping[str, Any]) -> Json:
    """Return the spec that a request asks for; fields that it does not give are absent."""
    spec = {
        camel_case(name): request[name] for name in SPEC_FIELDS if request.get(name) is not None
    }
    if limits := request.get("limits"):
        spec["limits"] = {camel_case(name): value for name, value in limits.items()}
    return spec


def retry_spec(
    spec: Mapping[str, Any], *, name: str, run_id: str, changes: Mapping[str, Any]
) -> Json:
    """Return the spec of a retry: only what `changes` names differs from the earlier run's.

    Args:
        spec: the earlier run's, as the cluster or the registry has it.
        name: the earlier run's.
        run_id: the earlier run's.
        changes: fields of a request, and `resume`.
    """
    repeated = {key: value for key, value in spec.items() if key not in _NOT_REPEATED}
    link: Json = {"name": name, "uid": run_id}
    if changes.get("resume"):
        link["resume"] = True
    return {**repeated, **spec_of(changes), "retryOf": link}


def fingerprint(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a request, whatever the order of its keys."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def retry_fingerprint(run_id: str, changes: Mapping[str, Any]) -> str:
    """Return what tells one retry's request from another: the earlier run and the changes to it."""
    return f"{run_id}/{fingerprint({'resume': False, **changes})}"


def camel_case(name: str) -> str:
    """Return a field of the REST API as the resource names it: `max_tokens` is `maxTokens`."""
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)
