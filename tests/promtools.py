"""Prometheus and promtool, from Debian's package."""

import os
import shutil
from pathlib import Path

import pytest

from codexrun_cluster.command import Log
from codexrun_cluster.packages import Need, install

PROGRAMS = ("prometheus", "promtool")


def need_prometheus(folder: Path) -> None:
    """Install what is missing, as root; anybody else is told. `folder`: for apt's log."""
    if all(map(shutil.which, PROGRAMS)):
        return
    if os.geteuid() != 0:
        pytest.skip("prometheus and promtool are missing; as root: apt-get install prometheus")
    install((Need("prometheus", lambda: all(map(shutil.which, PROGRAMS))),), Log(folder / "apt.log"))
