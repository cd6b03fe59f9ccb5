"""The wheels that go into the control image, from PyPI, each checked by its hash."""

import os
import shutil
from pathlib import Path

from codexrun_cluster.command import Log, capture
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.node.gobuild import pip_python
from codexrun_cluster.paths import Paths, digest, machine


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
