"""Every test is in one lane, and one of the unit lane that starts a process or opens a connection
is caught."""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lanes import (
    OF_FOLDER,
    TOGETHER,
    Escaped,
    Guard,
    NoLane,
    group_of,
    in_turns,
    lane_of,
    skipped,
)

TESTS = Path(__file__).resolve().parents[2]

ROWS = [
    ("a folder says it", "unit/test_a.py", set(), "unit"),
    ("also for what is deeper", "unit/pod/test_a.py", {"parametrize"}, "unit"),
    ("a marker overrides it", "unit/test_a.py", {"local"}, "local"),
    (
        "the markers of the cluster's tests are no lanes",
        "cluster/test_a.py",
        {"disruptive", "alone"},
        "cluster",
    ),
]


@pytest.mark.parametrize(
    ("path", "marks", "lane"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_test_is_in_one_lane(path: str, marks: set[str], lane: str) -> None:
    assert lane_of(Path(path), marks) == lane


@pytest.mark.parametrize(
    ("path", "marks", "said"),
    [
        (
            "unit/test_a.py",
            {"unit", "local"},
            "marked local and unit; a test is in one lane, remove the other marker",
        ),
        (
            "local/test_a.py",
            {"unit"},
            "marked unit, which folder local does not have; add it to OF_FOLDER",
        ),
        ("new/test_a.py", set(), "folder new has no lane; add it to OF_FOLDER in tests/lanes.py"),
    ],
    ids=["two markers", "a lane that its folder does not have", "a folder that nobody entered"],
)
def test_no_lane_and_two_lanes_are_refused(path: str, marks: set[str], said: str) -> None:
    with pytest.raises(NoLane, match=said):
        lane_of(Path(path), marks)


def test_every_folder_of_tests_has_a_lane() -> None:
    assert {path.relative_to(TESTS).parts[0] for path in TESTS.glob("*/**/test_*.py")} == set(
        OF_FOLDER
    )


GROUPS = [
    (
        "a file stays together",
        "tests/local/console/test_a.py::test_1[x::y]",
        "tests/local/console/test_a.py",
    ),
    (
        "where nothing is shared each goes its way",
        "tests/unit/pod/test_a.py::test_1[x]",
        "tests/unit/pod/test_a.py::test_1[x]",
    ),
    ("files that share a server", "tests/cluster/runs/test_git_workspace.py::test_1", "git"),
]


@pytest.mark.parametrize(
    ("nodeid", "group"), [row[1:] for row in GROUPS], ids=[row[0] for row in GROUPS]
)
def test_a_group_is(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group


def test_files_are_strewn_among_tests_on_their_own_and_keep_their_order() -> None:
    files = [f"tests/local/cli/test_{f}.py::test_{t}" for f in "ab" for t in (2, 1)]
    single = [f"tests/local/pod/test_c.py::test_{t}" for t in range(10)]
    turns = in_turns([*single, *files])
    assert sorted(turns) == sorted([*single, *files])
    assert [turns.index(file) for file in files] == [0, 1, 6, 7]
    assert turns == in_turns([*reversed(single), *files])
    assert in_turns([]) == []


def test_no_two_files_have_one_name() -> None:
    """They are imported by it, since no folder of tests is a package."""
    names = sorted(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, other in itertools.pairwise(names) if name == other] == []


def test_what_is_kept_together_exists() -> None:
    assert all((TESTS.parent / file).exists() for file in TOGETHER)


@pytest.mark.parametrize(
    ("folder", "expression", "verdict"),
    [
        ("cluster", "unit", True),
        ("unit", "unit", False),
        ("unit", "local", False),
        ("cluster", "cluster and not (alone or disruptive)", False),
        ("local", "cluster and not (alone or disruptive)", True),
        ("local", "unit or local", False),
        ("local", "", False),
        ("local", "not unit", False),
        ("new", "unit", False),
    ],
)
def test_a_folder_is_not_read_only_if_nothing_of_it_is_meant(
    folder: str, expression: str, verdict: bool
) -> None:
    assert skipped(folder, expression) is verdict


@pytest.mark.parametrize(
    ("folder", "expression", "marks", "verdict"),
    [
        ("unit", "local", "@pytest.mark.local", False),
        ("unit", "local", "pytestmark = pytest.mark.local", False),
        ("unit", "local", "", True),
        ("unit", "unit", "@pytest.mark.local", False),
        ("unit", "unit", "", False),
        ("local", "local", "", False),
        ("local", "unit", "", True),
        ("unit", "", "", False),
        ("new", "local", "", False),
    ],
)
def test_a_file_is_not_read_only_if_nothing_of_it_is_meant(
    folder: str, expression: str, marks: str, verdict: bool
) -> None:
    assert skipped(folder, expression, marks) is verdict


GUARD = Guard()  # one, since its hook stays


def connect() -> None:
    with socket.socket() as here:
        here.connect(("127.0.0.1", 9))


def listen() -> None:
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))


def listen_on_a_path() -> None:
    with socket.socket(socket.AF_UNIX) as here:
        here.bind("\0nowhere-of-the-tests")


ESCAPES: list[Callable[[], object]] = [
    connect,
    listen,
    listen_on_a_path,
    lambda: socket.getaddrinfo("localhost", 80),
    lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    lambda: os.system("true"),
    lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: asyncio.run(asyncio.create_subprocess_exec("true")),
]


@pytest.mark.local
@pytest.mark.parametrize("escape", ESCAPES)
def test_a_process_and_a_connection_are_caught(escape: Callable[[], object]) -> None:
    GUARD.install()
    GUARD.watching = True
    with pytest.raises(Escaped, match=r"a unit test (starts a process|uses the network)"):
        escape()
    GUARD.watching = False
    assert len(GUARD.take()) == 1
    assert GUARD.take() == []


def test_an_event_loop_of_its_own_is_allowed() -> None:
    GUARD.install()
    GUARD.watching = True
    asyncio.run(asyncio.sleep(0))
    GUARD.watching = False
    assert GUARD.take() == []


SWALLOWS = """
import socket

def test_swallows():
    try:
        socket.create_server(("127.0.0.1", 0))
    except Exception:
        pass
"""


@pytest.mark.local
def test_it_fails_the_test_even_if_the_test_swallows_the_error(tmp_path: Path) -> None:
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit/test_swallows.py").write_text(SWALLOWS)
    for name in ("conftest.py", "lanes.py"):
        (tmp_path / name).write_text((TESTS / name).read_text())
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    unit: a\n    local: b\n    cluster: c\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:schemathesis",
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "a unit test uses the network (socket.bind" in done.stdout
    assert "1 failed" in done.stdout or "1 error" in done.stdout
