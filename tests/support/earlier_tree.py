"""The files of an earlier commit of main, for tests that hold this checkout against it."""

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from codexrun_cluster.paths import find_paths

ROOT = Path(__file__).parents[2]
PARTS = ("core", "operator", "api", "pod", "cli", "demo-model")
# Main as it was before upgrades were tested. Move it on when a version has been released.
EARLIER = "6fd06f6d09c738f25f6927bd6c25d6b957d74ea1"
# An early state of main that works on a registry which a newer version has added to. Once EARLIER
# does, one is enough.
ROLLED_BACK_TO = "0595962f372bcfc0ec51368ab0ad4722e918d4a0"


def tree_of(commit: str) -> Path:
    """Return the folder with the files of a commit, in the launcher's cache.

    Skips the test where a shallow clone has not got the commit.
    """
    tree = find_paths().cache / "earlier" / commit
    if not tree.exists():
        _extract(commit, tree)
    return tree


def import_path(tree: Path) -> str:
    """Return the PYTHONPATH with which this Python runs the programs of a tree instead of this
    checkout's. The packages that they use are this checkout's, of newer versions at most."""
    return os.pathsep.join(str(tree / part) for part in PARTS)


def _extract(commit: str, tree: Path) -> None:
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        assert shallow, (
            f"{commit} is not in the history any more; name another commit in {__file__}"
        )
        pytest.skip(
            f"this clone is shallow and has not got {commit}, which it is held against: git fetch"
            " --unshallow"
        )
    archive = _git("archive", commit)
    assert archive.returncode == 0, archive.stderr.decode()
    tree.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{commit}.", dir=tree.parent))
    try:
        partial.chmod(0o755)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(partial, filter="data")
        with contextlib.suppress(OSError):  # another worker was faster
            partial.rename(tree)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _git(*words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)
