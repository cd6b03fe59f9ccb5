"""Debian packages that are missing: as root on a Debian-like machine they are installed, else
named."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.command import Log
from codexrun_cluster.errors import LauncherError

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))


@dataclass(frozen=True)
class Package:
    """A Debian package, and how to see that what it brings is there (from wherever it came)."""

    name: str
    present: Callable[[], bool]


def _program(*names: str) -> Callable[[], bool]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return lambda: all(shutil.which(name, path=path) for name in names)


def cni_folder() -> Path | None:
    """Return where the network plugins are."""
    return next((folder for folder in CNI_FOLDERS if (folder / "bridge").exists()), None)


def _venv() -> bool:
    import importlib.util

    return importlib.util.find_spec("ensurepip") is not None


NODE = (
    Package("containerd", _program("containerd", "ctr")),
    Package("runc", _program("runc")),
    Package("containernetworking-plugins", lambda: cni_folder() is not None),
    Package("nftables", _program("nft")),
    Package("iproute2", _program("ip")),
    Package("buildah", _program("buildah")),
    Package("mmdebstrap", _program("mmdebstrap")),
    Package("ca-certificates", lambda: Path("/etc/ssl/certs/ca-certificates.crt").exists()),
)
# What our own command line needs, and what filling the images needs besides.
ENVIRONMENT = (Package("python3-venv", _venv),)
CLIENT = (*ENVIRONMENT, Package("npm", _program("npm")))


def missing(packages: Iterable[Package]) -> list[str]:
    """Return the names of packages to install, in the order of the list."""
    return [package.name for package in packages if not package.present()]


def install(packages: tuple[Package, ...], log: Log) -> str:
    """Install what is missing; an index that is absent or too old is fetched first.

    Raises:
        LauncherError: not root, no apt, or apt could not; names the line to type.
    """
    names = missing(packages)
    if not names:
        return "nothing missing"
    options = "-y --no-install-recommends"
    command_line = f"apt-get update && apt-get install {options} {' '.join(names)}"
    if not shutil.which("apt-get"):
        raise LauncherError(
            f"missing here: {', '.join(names)}", "install them with this system's package manager"
        )
    if os.geteuid() != 0:
        raise LauncherError(f"missing here: {', '.join(names)}", f"as root: {command_line}")
    # RUNLEVEL=1: the packages' own services (a system containerd) must not start just because we
    # need the programs.
    env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = [
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=120",
        *names,
    ]
    log.run(["apt-get", "update"], env=env, hint=command_line)
    log.run(command, env=env, hint=command_line)
    remaining = missing(packages)
    if remaining:
        raise LauncherError(
            f"installed, but still not found: {', '.join(remaining)}"
            f" (PATH={os.environ.get('PATH')})",
            command_line,
        )
    return f"installed {', '.join(names)}"


def check_python() -> None:
    """Check that this is Python 3.11 or newer.

    Raises:
        LauncherError: this one is older.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the check itself
        raise LauncherError(
            f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed",
            "make PYTHON=python3.11 up",
        )
