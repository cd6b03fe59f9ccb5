"""What all containers of a run's pod have in common. Pure."""

import base64
import json
import re
from decimal import Decimal
from typing import Any

from codexrun_core.pod_contract import MIB, OUTPUT_SCHEMA_ENV
from codexrun_core.resources import CodexJobType

GIB = 1024 * MIB
UNITS = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{
        unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)
    },
    **{
        f"{unit}i": Decimal(1024) ** power
        for power, unit in enumerate(("K", "M", "G", "T", "P", "E"), 1)
    },
}
QUANTITY = re.compile(r"([0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]{1,2})?|\.[0-9]+)([KMGTPE]i|[mkMGTPE]|)")
AGENT_UID = 10001
GATE_UID = 10002
TOKEN_SECONDS = 3600


def env_json(value: Any) -> str:
    """Return JSON for an environment variable. Every `$` is escaped: the kubelet would expand
    `$(X)` and `$$`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("$", "\\u0024")


def output_schema(job_type: CodexJobType) -> list[dict[str, str]]:
    """Return the variable with the outputSchema for runner and gate, as base64 of JSON: the kubelet
    would expand `$(X)`, and every $ref has one to escape."""
    if job_type.spec.output_schema is None:
        return []
    text = json.dumps(job_type.spec.output_schema, ensure_ascii=False, separators=(",", ":"))
    return [{"name": OUTPUT_SCHEMA_ENV, "value": base64.b64encode(text.encode()).decode()}]


def locked_down(uid: int) -> dict[str, Any]:
    """Return a securityContext: restricted Pod Security, and a read-only root besides."""
    return {
        "runAsUser": uid,
        "runAsGroup": uid,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def quantity(value: int | str) -> int | None:
    """Return a quantity of Kubernetes in whole units, rounded down; None if it is none.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    match = QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, suffix = match.groups()
    return int(Decimal(number) * UNITS[suffix])


def size_bytes(size: str) -> int:
    """Return the bytes of a Size, such as 8Gi."""
    return int(int(size[:-2]) * UNITS[size[-2:]])


def size_text(count: int) -> str:
    """Return whole MiB as a Size."""
    return f"{count // MIB}Mi" if count % GIB else f"{count // GIB}Gi"


def mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def projected(name: str, *sources: dict[str, Any]) -> dict[str, Any]:
    """Return one volume with files of several objects: each further volume is one more for the
    apiserver to check and for the kubelet to mount. Its files can be read by any user, as no
    container's is root."""
    return {"name": name, "projected": {"sources": list(sources), "defaultMode": 0o444}}


def account_token(audience: str, path: str) -> dict[str, Any]:
    """Return the source of a token of the pod's ServiceAccount, bound to the pod: who gets it sees
    in a TokenReview which one it is."""
    token = {"audience": audience, "expirationSeconds": TOKEN_SECONDS, "path": path}
    return {"serviceAccountToken": token}


def empty_dir(name: str, size: int) -> dict[str, Any]:
    """Return a volume of at most `size` bytes."""
    return {"name": name, "emptyDir": {"sizeLimit": str(size)}}


def shared_memory(size: int) -> dict[str, Any]:
    """Return the volume for /dev/shm, in the container's memory."""
    return {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}}
