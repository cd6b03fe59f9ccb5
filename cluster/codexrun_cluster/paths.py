"""Where everything lives."""

import hashlib
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# One embedded node per machine, so its sockets and mounts have fixed paths. They are outside the
# checkout because a unix socket's path may be 107 bytes long at most, and the kubelet makes several
# below its root.
RUN = Path("/run/codexrun-node")
VAR = Path("/var/lib/codexrun-node")
LOCK = Path("/run/codexrun-node.lock")


@dataclass(frozen=True)
class Paths:
    """Folders of one checkout and of the user's cache."""

    checkout: Path
    cache: Path

    @property
    def state(self) -> Path:
        return self.checkout / ".cluster"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def env(self) -> Path:
        return self.state / "env"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def venv(self) -> Path:
        return self.checkout / ".venv"


def find_paths() -> Paths:
    """Return this checkout, and the cache folder of whoever calls."""
    home_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Paths(checkout=Path(__file__).resolve().parents[2], cache=Path(home_cache) / "codexrun")


def digest(parts: Iterable[str | bytes | Path]) -> str:
    """Return a short name for content: texts as they are, files and folders by relative path, mode
    and bytes.

    Compiled Python is left out: it appears by running the code and says nothing new.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in _files(part):
                total.update(
                    f"{file.relative_to(part.parent)} {file.stat().st_mode & 0o111:o}\0".encode()
                )
                total.update(hashlib.sha256(file.read_bytes()).digest())
        else:
            total.update(part.encode() if isinstance(part, str) else part)
            total.update(b"\0")
    return total.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def machine() -> str:
    """Return the processor's name as Go and Kubernetes spell it: amd64 or arm64."""
    return {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine(), platform.machine()
    )
