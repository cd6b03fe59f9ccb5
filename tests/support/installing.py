"""Debian's packages that tests need, installed where they are missing: by one of the workers, the
others wait for it."""

import fcntl
import tempfile
from pathlib import Path

from codexrun_cluster.command import Log
from codexrun_cluster.packages import Package, install, missing

FOLDER = Path(tempfile.gettempdir())


def installed(*needs: Package) -> None:
    """Return once they are there.

    Raises:
        LauncherError: they are not, and this user or system cannot install them; it names the line
            to type.
    """
    if not missing(needs):
        return
    with (FOLDER / "codexrun-tests-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(needs, Log(FOLDER / "codexrun-tests-install.log"))
