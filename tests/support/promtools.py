"""Prometheus and promtool, from Debian's package."""

import os
import shutil

import pytest
from installing import installed

from codexrun_cluster.packages import Package

PROGRAMS = ("prometheus", "promtool")


def need_prometheus() -> None:
    """Install what is missing, as root; anybody else is told."""
    if all(map(shutil.which, PROGRAMS)):
        return
    if os.geteuid() != 0:
        pytest.skip("prometheus and promtool are missing; as root: apt-get install prometheus")
    installed(Package("prometheus", lambda: all(map(shutil.which, PROGRAMS))))
