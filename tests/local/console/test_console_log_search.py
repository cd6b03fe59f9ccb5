"""What a search of the log finds, how long it may take, and how lines are counted. Pure but for
files."""

import json
from pathlib import Path

import pytest

from codexrun_api.archive import line_counts
from codexrun_api.archive.archive import Archive
from codexrun_api.archive.line_index import LineIndex
from codexrun_api.console.view.log_search import MAX_LINES, search


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path)
    made.open()
    return made


def say(archive: Archive, *texts: str) -> None:
    data = b"".join(json.dumps({"src": "codex", "text": text}).encode() + b"\n" for text in texts)
    archive.append("run", archive.size("run"), data)


@pytest.mark.parametrize(
    ("q", "regexp", "lines"),
    [
        ("ERROR", False, [1, 3]),
        ("a.c", False, [4]),
        ("a.c", True, [2, 4]),
        ("^.*abc", True, [2]),
        ("exit [1-9]", True, [3]),
        ('say "hi"', False, [5]),
        ("error|hi", True, [1, 3, 5]),
        ("(?-i)ERROR", True, [3]),
        ("hello\\s+error", True, []),
        ("nothing", False, []),
    ],
)
def test_a_search_finds_lines(archive: Archive, q: str, regexp: bool, lines: list[int]) -> None:
    say(archive, "an error", "abc", "ERROR, exit 7", "a.c", 'say "hi"', "hello")
    assert search(archive, "run", q, regexp=regexp).lines == lines


def test_what_matched_is_told_as_the_page_shows_it(archive: Archive) -> None:
    say(archive, 'say "hi", then "ho"', "say hi")
    assert search(archive, "run", 'say "hi"', regexp=False).texts == [['say "hi"']]
    assert search(archive, "run", "h[io]", regexp=True).texts == [["hi", "ho"], ["hi"]]


def test_too_many_lines_are_cut_and_that_is_said(archive: Archive) -> None:
    say(archive, *["x"] * (MAX_LINES + 1))
    found = search(archive, "run", "x", regexp=False)
    assert (len(found.lines), found.said) == (MAX_LINES, "1,000+ matching lines")


@pytest.mark.parametrize("pattern", ["(", "a{2000}", "(?=x)", "(a)\\1"])
def test_what_is_no_pattern_is_told(archive: Archive, pattern: str) -> None:
    say(archive, "x")
    found = search(archive, "run", pattern, regexp=True)
    assert found.said.startswith("not a valid RE2 pattern: ")
    assert found.lines == []


def test_when_time_is_over_it_says_where_it_stopped(archive: Archive) -> None:
    say(archive, "x", "y")
    found = search(archive, "run", "y", regexp=True, seconds=-1)
    said = "0 matching lines; the search stopped after 3 s, at line 1"
    assert (found.lines, found.said) == ([], said)


def test_a_pattern_that_would_backtrack_for_ever_ends(archive: Archive) -> None:
    say(archive, "x" * 60_000)
    assert search(archive, "run", "(x+x+)+y", regexp=True).lines == []


def test_lines_are_counted_as_the_log_grows(archive: Archive, tmp_path: Path) -> None:
    for _ in range(5):
        archive.append("run", archive.size("run"), b"x\n" * 100_000)
    kept = list(map(int, (tmp_path / "runs/run/lines.txt").read_text().split()))
    assert kept == [
        line_counts.BLOCK_BYTES // 2 * (n + 1) for n in range(1_000_000 // line_counts.BLOCK_BYTES)
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: None,
        lambda data: b"",
        lambda data: data[:-3],
        lambda data: data + b"99999999\n99999999\n",
    ],
    ids=["is gone", "is empty", "ends in a number", "is longer than its log"],
)
def test_counts_that_are_damaged_are_made_again(archive: Archive, tmp_path: Path, damage) -> None:
    archive.append("run", 0, b"x\n" * 400_000)
    file = tmp_path / "runs/run/lines.txt"
    left = damage(file.read_bytes())
    file.unlink() if left is None else file.write_bytes(left)
    archive.append("run", archive.size("run"), b"xyz\n" * 100_000)
    size = archive.size("run")
    assert LineIndex(archive, "run").lines(size) == 500_000
    assert LineIndex(archive, "run").offset(450_001, size) == 800_000 + 50_000 * 4
