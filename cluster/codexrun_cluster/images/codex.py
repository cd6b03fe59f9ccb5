"""The Codex that goes into the agent's image, from npm, checked by its hash."""

import base64
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.command import Log
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.paths import Paths, machine

# Written by `make codex-update`: npm's own integrity of `@openai/codex@<version>-linux-<cpu>`, from
# the oldest version that an agent's image may carry to the one that ours does.
PINS = Path(__file__).with_name("codex.json")
NPM_CPUS = {"amd64": "x64", "arm64": "arm64"}
# Codex finds the others relative to itself. What it ships for voice (40 MB) no unattended run uses.
CODEX_FILES = ("bin/codex", "bin/codex-code-mode-host", "codex-path/rg", "codex-resources/bwrap")


@dataclass(frozen=True)
class Pin:
    """A version of Codex, and the hash of its package for each processor."""

    version: str
    integrity: Mapping[str, str]


def pins() -> list[Pin]:
    """Return the versions that the tests run, oldest first; the last is the one in our images."""
    return [Pin(version, hashes) for version, hashes in json.loads(PINS.read_text()).items()]


def codex_folder(paths: Paths, version: str = "") -> Path:
    """Return where that version is kept; without one, the version of our images."""
    return paths.cache / "codex" / f"{version or pins()[-1].version}-{machine()}"


def fetch_codex(paths: Paths, log: Log, pin: Pin | None = None) -> str:
    """Fetch Codex's native programs, in their own relative layout; without a pin, those of our
    images.

    Raises:
        LauncherError: npm could not bring the package, or it is not the one that was pinned.
    """
    pin = pin or pins()[-1]
    folder = codex_folder(paths, pin.version)
    if folder.exists():
        return "in the cache"
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    archive = download(pin.version, machine(), partial, log)
    actual = integrity(archive)
    if actual != pin.integrity[machine()]:
        raise LauncherError(
            f"{archive.name} has {actual}, pinned is {pin.integrity[machine()]}",
            "the registry serves another package",
        )
    with tarfile.open(archive) as package:
        for member in package:
            relative = "/".join(member.name.split("/")[3:])  # package/vendor/<triple>/...
            if relative in CODEX_FILES and member.isfile():
                target = partial / "codex" / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                source = package.extractfile(member)
                assert source is not None
                with source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                target.chmod(0o755)
    archive.unlink()
    os.replace(partial / "codex", folder)
    shutil.rmtree(partial)
    return f"Codex {pin.version}"


def download(version: str, processor: str, folder: Path, log: Log) -> Path:
    """Let npm bring the package of one processor into a folder; return its archive.

    Raises:
        LauncherError: npm could not.
    """
    package = f"@openai/codex@{version}-linux-{NPM_CPUS[processor]}"
    packed = log.read(["npm", "pack", "--json", "--pack-destination", folder, package])
    return folder / Path(json.loads(packed)[0]["filename"]).name


def integrity(archive: Path) -> str:
    """Return an archive's hash as npm writes it (Subresource Integrity, `sha512-` and base64)."""
    with archive.open("rb") as data:
        digest = hashlib.file_digest(data, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"
