"""What every cluster offers and this bare one does not yet: DNS's rights, and volumes for
claims."""

import json
import shutil
from pathlib import Path
from typing import Any

from codexrun_cluster.command import Log
from codexrun_cluster.node.settings import NODE
from codexrun_cluster.paths import Paths

VOLUME_COUNT = 32
VOLUME_SIZE = "10Gi"
STORAGE_CLASS = "standard"


def dns_rights() -> list[dict[str, Any]]:
    """CoreDNS reads services and where they lead."""
    rules = [
        {
            "apiGroups": [""],
            "resources": ["services", "pods", "namespaces", "endpoints"],
            "verbs": ["list", "watch"],
        },
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
    ]
    kind = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{kind}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": rules,
        },
        {
            "apiVersion": f"{kind}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": kind, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": kind, "kind": "User", "name": "system:coredns"}],
        },
    ]


def storage(paths: Paths) -> list[dict[str, Any]]:
    """A default class of static local volumes: a claim binds at once, and fsGroup works as with
    real disks."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
    }
    return [storage_class, *(volume(paths, number) for number in range(1, VOLUME_COUNT + 1))]


def volume(paths: Paths, number: int) -> dict[str, Any]:
    """One static volume; its folder is made by `prepare_volumes`."""
    this_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"local-{number}"},
        "spec": {
            "capacity": {"storage": VOLUME_SIZE},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(paths.volumes / str(number))},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [this_node]}]}
            },
        },
    }


def apply(paths: Paths, log: Log) -> str:
    """Apply them; volumes whose claim is gone are emptied and offered again (nothing else would
    ever do it)."""
    kubectl: list[str | Path] = [paths.bin / "kubectl", f"--kubeconfig={paths.kubeconfig}"]
    released = _released(json.loads(log.read([*kubectl, "get", "pv", "-o", "json"])))
    if released:
        log.run([*kubectl, "delete", "pv", *released])
    for number in range(1, VOLUME_COUNT + 1):
        folder = paths.volumes / str(number)
        if f"local-{number}" in released:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # pods run as users of their own
    objects = {"apiVersion": "v1", "kind": "List", "items": dns_rights() + storage(paths)}
    log.run(
        [*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"],
        stdin=json.dumps(objects),
    )
    return f"{VOLUME_COUNT} volumes of {VOLUME_SIZE}" + (
        f", {len(released)} of them emptied" if released else ""
    )


def _released(volumes: dict[str, Any]) -> list[str]:
    names = []
    for item in volumes["items"]:
        name = item["metadata"]["name"]
        phase = item.get("status", {}).get("phase")
        if name.startswith("local-") and phase in ("Released", "Failed"):
            names.append(name)
    return names
