"""Which lane a test belongs to, and what a test of the unit lane may not do.

Three lanes, each test in exactly one:

    unit      no process, no network: `make test-unit`
    local     processes of this machine, a browser, the real Codex, a real Postgres; no cluster:
              `make test-local`
    cluster   the running cluster of `make up`

A folder is a lane, and the folders below it are the parts of the source. A test of unit/ that needs
a process, beside others that do not, has the marker `local`. support/ has what tests share.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

LANES = ("unit", "local", "cluster")
OF_FOLDER: dict[str, tuple[str, ...]] = {
    "cluster": ("cluster",),
    "local": ("local",),
    "unit": ("unit", "local"),
}
# Here a test shares nothing with the others of its file but what each process of pytest starts for
# itself. Elsewhere a file stays on one worker, since its tests share a browser, a database or a job
# type.
SPREAD = (
    "unit",
    *(f"local/{part}" for part in ("api", "codex", "core", "docs", "operator", "pod", "registry")),
)
# Files of these folders whose tests share something after all.
SHARING = (
    "tests/local/codex/test_codex_classes.py",
    "tests/local/docs/test_metrics.py",
    "tests/local/docs/test_sbom.py",
    "tests/local/docs/test_wheel.py",
    "tests/local/pod/test_clone.py",
    "tests/local/pod/test_gate_endpoint.py",
    "tests/local/pod/test_patch_of_workspace.py",
    "tests/unit/api/test_api_openapi.py",
    "tests/unit/docs/test_readme_transcript.py",
    "tests/unit/pod/test_simulated_runs.py",
)
# Files that share a Git server in the cluster.
TOGETHER = {
    "tests/cluster/runs/test_git_workspace.py": "git",
    "tests/cluster/runs/test_job_types_at_work.py": "git",
    **{file: file for file in SHARING},
}

LAST_FILE = 0.8  # of a lane's tests that are on their own, when the last whole file begins


class NoLane(Exception):
    """A test is in no lane, or in two."""


def lane_of(path: Path, marks: Iterable[str]) -> str:
    """The lane of a test.

    Args:
        path: its file, relative to tests/.
        marks: names of the markers of the test, its class and its file.

    Raises:
        NoLane: two lanes are marked, or one that its folder does not have, or the folder is not in
            the table.
    """
    folder = path.parts[0]
    if folder not in OF_FOLDER:
        raise NoLane(
            f"tests/{path}: folder {folder} has no lane; add it to OF_FOLDER in tests/lanes.py"
        )
    marked = sorted(set(marks) & set(LANES))
    if len(marked) > 1:
        raise NoLane(
            f"tests/{path}: marked {' and '.join(marked)}; a test is in one lane, remove the other"
            " marker"
        )
    lane = marked[0] if marked else OF_FOLDER[folder][0]
    if lane not in OF_FOLDER[folder]:
        raise NoLane(
            f"tests/{path}: marked {lane}, which folder {folder} does not have; add it to OF_FOLDER"
            " in tests/lanes.py"
        )
    return lane


def skipped(folder: str, expression: str, marks: str | None = None) -> bool:
    """Whether no test of a folder or of a file in it can be meant by pytest's `-m EXPRESSION`, so
    that it need not be imported.

    Args:
        folder: the first below tests/.
        marks: the file's text, which names the markers of its tests; None for the whole folder.
    """
    lane = re.match(rf"({'|'.join(LANES)})(?: and |$)", expression)
    if lane is None or folder not in OF_FOLDER:
        return False
    first, *others = OF_FOLDER[folder]
    if lane[1] in others:
        return marks is not None and f"mark.{lane[1]}" not in marks
    return lane[1] != first


def group_of(nodeid: str) -> str:
    """Tests of one group run on one worker of pytest-xdist.

    Args:
        nodeid: pytest's name of the test, tests/<folder>/<file>.py::<test>.
    """
    file = nodeid.partition("::")[0]
    if file in TOGETHER:
        return TOGETHER[file]
    folder = file.removeprefix("tests/")
    return nodeid if any(folder.startswith(f"{part}/") for part in SPREAD) else file


def in_turns(nodeids: Sequence[str]) -> list[str]:
    """Put the tests of one lane in the order in which pytest-xdist hands them out: files that stay
    together are strewn evenly, the largest first, among tests that go their own way, in an order
    that only looks random. So what waits for a process is beside what keeps a processor busy, and
    no whole file comes last.
    """
    groups: dict[str, list[str]] = {}
    for nodeid in nodeids:
        groups.setdefault(group_of(nodeid), []).append(nodeid)
    files = sorted((g for g in groups if len(groups[g]) > 1), key=lambda g: -len(groups[g]))
    single = sorted((g for g in groups if len(groups[g]) == 1), key=lambda g: crc32(g.encode()))
    places = {g: number / len(files) * LAST_FILE for number, g in enumerate(files)}
    places |= {g: number / len(single) for number, g in enumerate(single)}
    return [nodeid for g in sorted(groups, key=lambda g: (places[g], g)) for nodeid in groups[g]]


# Audit events (https://docs.python.org/3/library/audit_events.html). An event loop makes a pair of
# sockets for itself: that neither binds nor connects.
PROCESS = (
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
)
NETWORK = (
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendmsg",
    "socket.sendto",
)
FORBIDDEN = {
    **dict.fromkeys(PROCESS, "starts a process"),
    **dict.fromkeys(NETWORK, "uses the network"),
}


class Escaped(RuntimeError):
    """A test of the unit lane does what belongs into another."""


class Guard:
    """While `watching`, whatever is `FORBIDDEN` raises, and is remembered should the caller swallow
    that."""

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
        seen = self.seen
        self.seen = []
        return seen

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watching and event in FORBIDDEN:
            text = (
                f"a unit test {FORBIDDEN[event]} ({event} {arguments!r:.200}); mark it local, or do"
                " without"
            )
            self.seen.append(text)
            raise Escaped(text)
