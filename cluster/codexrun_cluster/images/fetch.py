"""What goes into the images from package registries? Codex from npm, wheels from PyPI, each checked
by its hash."""

import base64
import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

from codexrun_cluster.command import Log, capture
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.node.gobuild import pip_python
from codexrun_cluster.paths import Paths, digest, machine

CODEX = "0.169.0"
# npm's own integrity of `@openai/codex@<version>-linux-<cpu>`.
CODEX_PACKAGES = {
    "amd64": (
        "x64",
        "sha512-o05NyAOCDygSPRo1yinzxvkRSdmsZyBD9E7mbpmjRanSfM8lypqWtQgEo4XfNkwhuCR2aFu8mlGOsQGFXVbVww==",
    ),
    "arm64": (
        "arm64",
        "sha512-NZ/DaQUpcQmxmqee7Z9uC1rzw3GhSbooawcaTe1LN5Yk+WlinUKGdTXJgClRT/9ogQEEM9TWxYzvxPfj5G/xFg==",
    ),
}
# Codex finds the others relative to itself. What it ships for voice (40 MB) no unattended run uses.
CODEX_FILES = ("bin/codex", "bin/codex-code-mode-host", "codex-path/rg", "codex-resources/bwrap")


def codex_folder(paths: Paths) -> Path:
    return paths.cache / "codex" / f"{CODEX}-{machine()}"


def fetch_codex(paths: Paths, log: Log) -> str:
    """Fetch Codex's native programs, in their own relative layout.

    Raises:
        LauncherError: npm could not bring the package, or it is not the one that was pinned.
    """
    folder = codex_folder(paths)
    if folder.exists():
        return "in the cache"
    cpu, integrity = CODEX_PACKAGES[machine()]
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    packed = log.read(
        [
            "npm",
            "pack",
            "--json",
            "--pack-destination",
            partial,
            f"@openai/codex@{CODEX}-linux-{cpu}",
        ]
    )
    archive = partial / Path(json.loads(packed)[0]["filename"]).name
    with archive.open("rb") as data:
        actual = "sha512-" + base64.b64encode(hashlib.file_digest(data, "sha512").digest()).decode()
    if actual != integrity:
        raise LauncherError(
            f"{archive.name} has {actual}, pinned is {integrity}",
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
    return f"Codex {CODEX}"


def wheels_folder(paths: Paths, python: str) -> Path:
    lock = paths.checkout / "requirements" / "runtime.lock"
    return paths.cache / "wheels" / f"py{python}-{machine()}-{digest([lock])}"


def fetch_wheels(paths: Paths, python: str, log: Log) -> str:
    """Install the runtime lock into a folder, for the images' Python and not for this machine's.

    Raises:
        LauncherError: pip could not, or a hash differs.
    """
    folder = wheels_folder(paths, python)
    if folder.exists():
        return "in the cache"
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pip = pip_python(paths)
    lock = partial / "runtime.lock"
    full = (paths.checkout / "requirements" / "runtime.lock").read_text()
    lock.write_text(for_python(pip, python, full))
    cpu = {"amd64": "x86_64", "arm64": "aarch64"}[machine()]
    platforms = [
        f"--platform={kind}_{cpu}" for kind in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    ]
    log.run(
        [
            pip,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--no-compile",
            *platforms,
            "--implementation=cp",
            f"--python-version={python}",
            "--target",
            partial / "site",
            "-r",
            lock,
        ]
    )
    os.replace(partial / "site", folder)
    shutil.rmtree(partial)
    return f"{len(list(folder.glob('*.dist-info')))} packages"


_FILTER = """
import sys
from pip._vendor.packaging.requirements import Requirement
version, lock = sys.argv[1], sys.stdin.read()
here = {"python_version": version, "python_full_version": version + ".99", "sys_platform": "linux"}
for block in lock.replace("\\\\\\n", "\\0").split("\\n"):
    line = block.split("--hash")[0].replace("\\0", " ").strip()
    if line and not line.startswith("#"):
        marker = Requirement(line).marker
        if marker is None or marker.evaluate(here):
            print(block.replace("\\0", "\\\\\\n"))
"""


def for_python(pip: Path, python: str, lock: str) -> str:
    """Return the lock's lines that hold for that Python: pip judges markers by the Python it runs
    on (pypa/pip#11664)."""
    answer = capture([pip, "-c", _FILTER, python], stdin=lock)
    if answer.returncode:
        raise LauncherError(
            f"requirements/runtime.lock cannot be read: {answer.stderr.strip()[-300:]}", "make lock"
        )
    return answer.stdout
