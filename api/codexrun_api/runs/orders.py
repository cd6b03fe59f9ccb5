"""One run that a caller wants made: its object and its name, which is its identity."""

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

from codexrun_core.resources import GROUP, VERSION
from codexrun_core.runs import annotations as notes

_KEYS = uuid.UUID(
    "6f6b8f0c-6f0a-5b0e-9d55-0f2f6f8a1c11"
)  # namespace of names that derive from Idempotency-Keys


@dataclass(frozen=True, kw_only=True)
class Order:
    """One run to be made."""

    name: str
    spec: dict[str, Any]
    user: str
    origin: str
    request_id: str
    sha256: str
    labels: dict[str, str] = field(default_factory=dict)
    keyed: bool = False  # its name is the caller's promise that a repetition is the same run

    def body(self, namespace: str) -> dict[str, Any]:
        annotations = {
            notes.REQUESTED_BY: self.user,
            notes.ORIGIN: self.origin,
            notes.REQUEST_ID: self.request_id,
            notes.REQUEST_SHA256: self.sha256,
            notes.DELETE_IF_REJECTED: "true",
        }
        metadata: dict[str, Any] = {
            "name": self.name,
            "namespace": namespace,
            "annotations": annotations,
        }
        if self.labels:
            metadata["labels"] = self.labels
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "CodexRun",
            "metadata": metadata,
            "spec": self.spec,
        }


def fresh_name(job_type: str) -> str:
    return f"{job_type[:50].rstrip('-')}-{secrets.token_hex(4)}"


def keyed_name(user: str, key: str) -> str:
    return "run-" + uuid.uuid5(_KEYS, f"{user}\n{key}").hex[:20]
