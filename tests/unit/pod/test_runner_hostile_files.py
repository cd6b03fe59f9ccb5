"""What the runner reads after an agent has had its folders: nothing is waited for or followed."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from codexrun_pod.runner.codex.audit import find_refused_call
from codexrun_pod.runner.codex.tool_hook import RECORD
from codexrun_pod.runner.files import read_regular
from codexrun_pod.runner.logs.artifacts import rollout_path

THREAD = "01a20e65-55d7-7832-a148-cacc95af9108"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_file(path: Path) -> None:
    (path.parent / "secret").write_text("hunter2")
    path.symlink_to(path.parent / "secret")


def link_without_an_end(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def folder(path: Path) -> None:
    path.mkdir()


def a_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


ODD = [fifo, link_to_a_file, link_without_an_end, link_to_itself, folder, a_socket]


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "it"
    make(path)
    with pytest.raises(OSError, match="/it") as refused:
        read_regular(path, 10)
    assert not isinstance(refused.value, FileNotFoundError)


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_a_record_of_refused_calls_that_was_replaced_ends_the_run(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Where the record cannot be written, the hook still forbids the call; the run has to end all
    the same. The main thread reads it twice a second, and must not wait there."""
    make(tmp_path / RECORD)
    stop = find_refused_call(tmp_path)
    assert stop is not None
    assert stop.reason == "guardrail"
    assert "hunter2" not in stop.message


def test_a_record_of_refused_calls_names_the_first(tmp_path: Path) -> None:
    assert find_refused_call(tmp_path) is None
    (tmp_path / RECORD).write_bytes(b"mcp__x\xff\nBash\n" + b"x" * 100_000)
    stop = find_refused_call(tmp_path)
    assert stop is not None
    assert stop.message.startswith("Codex was about to use mcp__x\ufffd, which")


@pytest.mark.parametrize(
    "thread",
    [None, "", "**", "/**/**/x", "../../../x", "*", "[", f"{THREAD}\n", THREAD.upper()],
)
def test_a_thread_that_is_none_has_no_rollout(tmp_path: Path, thread: str | None) -> None:
    day = tmp_path / "sessions/2026/01/31"
    day.mkdir(parents=True)
    rollout = day / f"rollout-2026-01-31T12-00-00-{THREAD}.jsonl"
    rollout.write_text("{}\n")
    settings = SimpleNamespace(codex_home=tmp_path)
    assert rollout_path(settings, thread) is None  # type: ignore[arg-type]
    assert rollout_path(settings, THREAD) == rollout  # type: ignore[arg-type]
