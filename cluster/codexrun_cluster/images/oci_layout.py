"""The OCI layout through which images go from the builder to the node."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any


def write_archive(layout: Path, name: str, present: set[str], archive: Path) -> int:
    """Write an OCI archive of one image without the blobs that the node has; return the bytes of
    the others."""
    index = json.loads((layout / "index.json").read_text())
    manifest = next(m for m in index["manifests"] if _name(m) == name)
    manifest["annotations"]["io.containerd.image.name"] = name
    body = json.loads(_blob(layout, manifest["digest"]).read_text())
    total = 0
    with tarfile.open(archive, "w") as tar:
        only = archive.with_name("index.json")
        only.write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
        tar.add(only, "index.json")
        tar.add(layout / "oci-layout", "oci-layout")
        for blob in (manifest, body["config"], *body["layers"]):
            path = _blob(layout, blob["digest"])
            if blob["digest"] not in present:
                tar.add(path, str(path.relative_to(layout)))
                total += blob["size"]
    return total


def _blob(layout: Path, name: str) -> Path:
    return layout / "blobs" / name.replace(":", "/")


def newest_images(layout: Path, count: int) -> set[str]:
    """Return the newest images of each repository: they are appended as they are built."""
    if not (layout / "index.json").exists():
        return set()
    names = [_name(m) for m in json.loads((layout / "index.json").read_text())["manifests"]]
    by_repository: dict[str, list[str]] = {}
    for name in names:
        by_repository.setdefault(name.rpartition(":")[0], []).append(name)
    return {name for some in by_repository.values() for name in some[-count:]}


def prune_layout(layout: Path, keep: set[str]) -> None:
    """Forget other images, and delete the blobs that nobody names any more."""
    if not (layout / "index.json").exists():
        return
    index = json.loads((layout / "index.json").read_text())
    index["manifests"] = [m for m in index["manifests"] if _name(m) in keep]
    used: set[str] = set()
    for manifest in index["manifests"]:
        body = json.loads(_blob(layout, manifest["digest"]).read_text())
        used.update(
            [
                manifest["digest"],
                body["config"]["digest"],
                *(layer["digest"] for layer in body["layers"]),
            ]
        )
    partial = layout / "index.json.new"
    partial.write_text(json.dumps(index))
    os.replace(partial, layout / "index.json")
    for blob in (layout / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in used:
            blob.unlink()


def _name(manifest: dict[str, Any]) -> str:
    return str(manifest.get("annotations", {}).get("org.opencontainers.image.ref.name", ""))
