"""What the images stand on where no registry is: a minimal Debian made from this machine's own apt
sources."""

import os
import re
import shutil
import tarfile
from pathlib import Path

from codexrun_cluster.command import Log
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.paths import Paths, digest, machine

INCLUDE = ("python3", "git", "ca-certificates")
RECIPE = "1"  # raise it to have everybody's base built anew, for instance for security updates


def base_tar(paths: Paths) -> Path:
    """Return the base's root file system in the cache."""
    return (
        paths.cache
        / "base"
        / f"{codename()}-{machine()}-{digest([RECIPE, *INCLUDE, codename()])}.tar"
    )


def codename(os_release: str | None = None) -> str:
    """Return the machine's own release, for its mirror has that one for certain."""
    text = os_release if os_release is not None else Path("/etc/os-release").read_text()
    match = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", text, re.MULTILINE)
    if not match:
        raise LauncherError(
            "/etc/os-release names no VERSION_CODENAME: this is no Debian release",
            "use CLUSTER=kind",
        )
    return match[1]


def build_base(paths: Paths, log: Log) -> str:
    """Bootstrap it unless the cache has it.

    Raises:
        LauncherError: apt knows no source of this release, or the bootstrap failed.
    """
    tar = base_tar(paths)
    if tar.exists():
        return "in the cache"
    tar.parent.mkdir(parents=True, exist_ok=True)
    partial = tar.with_suffix(".partial.tar")
    targets = log.read(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)|$(CODENAME)|$(COMPONENT)|$(SIGNED_BY)",
            "Created-By: Packages",
        ]
    )
    lines = sources(targets, codename())
    if not lines:
        raise LauncherError(
            f"apt has no source of {codename()} main here",
            "add one to /etc/apt/sources.list, then apt-get update",
        )
    log.run(
        [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(INCLUDE)}",
            *_SLIM,
            codename(),
            partial,
            "-",
        ],
        stdin="".join(line + "\n" for line in lines),
        hint="read the log; the mirror may be away",
    )
    os.replace(partial, tar)
    return f"{tar.stat().st_size // 1_000_000} MB"


# Pages and translations nobody reads in a container.
_SLIM = [
    f"--dpkgopt=path-exclude={path}/*"
    for path in ("/usr/share/man", "/usr/share/locale", "/usr/share/doc")
]


def sources(targets: str, release: str) -> list[str]:
    """One-line apt sources for a release and its updates, from `apt-get indextargets` (which reads
    every format)."""
    lines = []
    for row in targets.splitlines():
        uri, name, component, signed_by = row.strip().split("|")
        key = f" [signed-by={signed_by}]" if signed_by.startswith("/") else ""
        line = f"deb{key} {uri} {name} {component}"
        if (
            component == "main"
            and (name == release or name.startswith(f"{release}-"))
            and line not in lines
        ):
            lines.append(line)
    return lines


def python_version(tar: Path) -> str:
    """Return `3.11`: what the base's python3 is, for wheels are made for one version."""
    with tarfile.open(tar) as root:
        link = root.getmember("./usr/bin/python3").linkname
    return link.removeprefix("python")


def free_space(paths: Paths) -> None:
    """A cold start writes some 9 GB, a warm one little.

    Raises:
        LauncherError: less than that is free.
    """
    paths.cache.mkdir(parents=True, exist_ok=True)
    needed = 3 if base_tar(paths).exists() else 10
    for folder in (paths.cache, paths.checkout):
        free = shutil.disk_usage(folder).free / 1e9
        if free < needed:
            raise LauncherError(
                f"only {free:.1f} GB are free where {folder} lies; {needed} GB are needed",
                f"free some space (old builds: rm -r {paths.cache}), or set XDG_CACHE_HOME to a"
                " larger disk",
            )
