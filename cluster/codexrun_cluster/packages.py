"""Which Debian packages are missing? As root on a Debian-like machine they are installed, else
named."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.command import Log
from codexrun_cluster.errors import Failure

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))


@dataclass(frozen=True)
class Need:
    """A package, and how to see that what it brings is there (from wherever it came)."""

    package: str
    present: Callable[[], bool]


def _program(*names: str) -> Callable[[], bool]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return lambda: all(shutil.which(name, path=path) for name in names)


def cni_folder() -> Path | None:
    """Where the network plugins are."""
    return next((folder for folder in CNI_FOLDERS if (folder / "bridge").exists()), None)


def _venv() -> bool:
    import importlib.util

    return importlib.util.find_spec("ensurepip") is not None


NODE = (
    Need("containerd", _program("containerd", "ctr")),
    Need("runc", _program("runc")),
    Need("containernetworking-plugins", lambda: cni_folder() is not None),
    Need("nftables", _program("nft")),
    Need("iproute2", _program("ip")),
    Need("buildah", _program("buildah")),
    Need("mmdebstrap", _program("mmdebstrap")),
    Need("ca-certificates", lambda: Path("/etc/ssl/certs/ca-certificates.crt").exists()),
)
# What our own command line needs, and what filling the images needs besides.
ENVIRONMENT = (Need("python3-venv", _venv),)
CLIENT = (*ENVIRONMENT, Need("npm", _program("npm")))


def missing(needs: Iterable[Need]) -> list[str]:
    """Packages to install, in the order of the list."""
    return [need.package for need in needs if not need.present()]


def install(needs: tuple[Need, ...], log: Log) -> str:
    """Install what is missing; an index that is absent or too old is fetched first.

    Raises:
        Failure: not root, no apt, or apt could not; names the line to type.
    """
    wanted = missing(needs)
    if not wanted:
        return "nothing missing"
    line = "apt-get update && apt-get install -y --no-install-recommends " + " ".join(wanted)
    if not shutil.which("apt-get"):
        raise Failure(
            f"missing here: {', '.join(wanted)}", "install them with this system's package manager"
        )
    if os.geteuid() != 0:
        raise Failure(f"missing here: {', '.join(wanted)}", f"as root: {line}")
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
        *wanted,
    ]
    log.run(["apt-get", "update"], env=env, way_out=line)
    log.run(command, env=env, way_out=line)
    still = missing(needs)
    if still:
        raise Failure(
            f"installed, but still not found: {', '.join(still)} (PATH={os.environ.get('PATH')})",
            line,
        )
    return f"installed {', '.join(wanted)}"


def check_python() -> None:
    """The project needs Python 3.11.

    Raises:
        Failure: this one is older.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the check itself
        raise Failure(
            f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed",
            "make PYTHON=python3.11 up",
        )
