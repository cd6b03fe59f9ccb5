"""A wish as the object that the cluster stores: for --dry-run, and for starts without the api.
Pure."""

import hashlib
import json
import secrets
import uuid
from typing import Any

Json = dict[str, Any]

API_VERSION = "codexrun.dev/v1alpha1"
_KEYS = uuid.UUID(
    "0b8a4a55-9a52-5d0f-9a0e-3d8b6f1c7e21"
)  # namespace of names that derive from idempotency keys
_FIELDS = (
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


def spec_of(wish: Json) -> Json:
    """The resource's spec; fields that were not given are absent."""
    spec = {_camel(field): wish[field] for field in _FIELDS if wish.get(field) is not None}
    if limits := wish.get("limits"):
        spec["limits"] = {_camel(key): value for key, value in limits.items()}
    return spec


def manifest(
    name: str,
    namespace: str | None,
    spec: Json,
    annotations: Json | None = None,
    labels: Json | None = None,
) -> Json:
    about = {"namespace": namespace, "labels": labels, "annotations": annotations}
    metadata = {"name": name, **{key: value for key, value in about.items() if value}}
    return {"apiVersion": API_VERSION, "kind": "CodexRun", "metadata": metadata, "spec": spec}


def name_for(job_type: str, user: str, key: str | None) -> str:
    """A fresh name, or with a key always the same one."""
    if key:
        return "run-" + uuid.uuid5(_KEYS, f"{user}\n{key}").hex[:20]
    return f"{job_type[:50].rstrip('-')}-{secrets.token_hex(4)}"


def retry_name(name: str, run_id: str, earlier: int) -> str:
    """The same for calls at the same time, another one once a retry has ended. earlier: how many
    there were."""
    stem = name.split("-retry-", maxsplit=1)[0][:46].rstrip("-.")
    return f"{stem}-retry-{uuid.uuid5(uuid.UUID(run_id), str(earlier)).hex[:8]}"


def retry_spec(spec: Json, source: Json, changes: Json) -> Json:
    """Only what was asked to differ differs. spec: the earlier run's, as the cluster has it."""
    kept = {key: value for key, value in spec.items() if key not in ("cancel", "retryOf")}
    link: Json = {"name": source["name"], "uid": source["run_id"]}
    if changes.get("resume"):
        link["resume"] = True
    return {**kept, **spec_of(changes), "retryOf": link}


def fingerprint(wish: Json) -> str:
    """Of what was asked, whatever the order of its keys."""
    return hashlib.sha256(
        json.dumps(wish, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
