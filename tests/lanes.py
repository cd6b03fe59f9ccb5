"""Which lane a test belongs to, and what a test of the unit lane may not do.

Three lanes, each test in exactly one:

    unit      no process, no network: `make test-unit`
    local     processes of this machine, a browser, the real Codex, a real Postgres; no cluster: `make test-local`
    cluster   the running cluster of `make up`

`OF_FOLDER` says it for a folder; a test, or a file by its `pytestmark`, overrides it with the lane's marker.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LANES = ("unit", "local", "cluster")
OF_FOLDER = {
    "api": "unit",
    "chart": "local",
    "cli": "local",
    "cluster": "cluster",
    "codex": "local",
    "console": "local",
    "failures": "unit",
    "money": "local",
    "registry": "local",
    "shipping": "local",
    "unit": "unit",
}
# Their tests share nothing but what each process of pytest starts for itself; elsewhere a file stays together, since its
# tests share a browser, a database or a job type.
SPREAD = ("codex", "registry", "unit", "api")


class NoLane(Exception):
    """A test is in no lane, or in two."""


def lane_of(path: Path, marks: Iterable[str]) -> str:
    """The lane of a test.

    Args:
        path: its file, relative to tests/.
        marks: names of the markers of the test, its class and its file.

    Raises:
        NoLane: two lanes are marked, or neither a marker nor the folder names one.
    """
    marked = sorted(set(marks) & set(LANES))
    if len(marked) > 1:
        raise NoLane(f"tests/{path}: marked {' and '.join(marked)}; a test is in one lane, remove the other marker")
    if marked:
        return marked[0]
    folder = path.parts[0]
    if folder not in OF_FOLDER:
        raise NoLane(f"tests/{path}: folder {folder} has no lane; add it to OF_FOLDER in tests/lanes.py")
    return OF_FOLDER[folder]


def group_of(path: Path) -> str | None:
    """The name that keeps tests on one worker of pytest-xdist; None where each may go anywhere."""
    return None if path.parts[0] in SPREAD else str(path.with_suffix(""))


# Audit events (https://docs.python.org/3/library/audit_events.html). An event loop makes a pair of sockets for itself: that
# neither binds nor connects.
PROCESS = ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn")
NETWORK = ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendmsg", "socket.sendto")
FORBIDDEN = {**dict.fromkeys(PROCESS, "starts a process"), **dict.fromkeys(NETWORK, "uses the network")}


class Escaped(RuntimeError):
    """A test of the unit lane does what belongs into another."""


class Guard:
    """While `watching`, whatever is `FORBIDDEN` raises, and is remembered should the caller swallow that."""

    def __init__(self) -> None:
        self.watching = False
        self.seen: list[str] = []
        self._installed = False

    def install(self) -> None:
        """Once for the process: an audit hook cannot be taken back."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._audit)

    def take(self) -> list[str]:
        """What was seen since the last time."""
        seen, self.seen = self.seen, []
        return seen

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watching and event in FORBIDDEN:
            text = f"a unit test {FORBIDDEN[event]} ({event} {arguments!r:.200}); mark it local, or do without"
            self.seen.append(text)
            raise Escaped(text)
