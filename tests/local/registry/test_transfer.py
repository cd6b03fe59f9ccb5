"""A registry goes into a file and comes out of it as it was, on either database and from one to
the other."""

import asyncio
import io
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from registry_rows import later, row, run_id
from test_registry_crud import FULL

from codexrun_cli.commands import registry_file
from codexrun_cli.errors import CommandError
from codexrun_cli.exit_codes import Code
from codexrun_core.registry import Registry
from codexrun_core.registry.engines import registry_url
from codexrun_core.registry.export.format import Entry, Reader, entry_line
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import parse_selector

Program = Callable[..., bytes]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Run export (without a file) or import (of one) on the database at a URL; return stdout."""

    def run(url: str, file: bytes | None = None) -> bytes:
        monkeypatch.setenv("CODEXRUN_REGISTRY_URL", url)
        written = io.BytesIO()
        monkeypatch.setattr(registry_file.output, "write_bytes", written.write)
        if file is None:
            registry_file.export_runs()
        else:
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(file)))
            registry_file.import_runs()
        return written.getvalue()

    return run


@pytest.fixture
def other_url(url: str, make_database: Callable[[str], str]) -> str:
    """An empty database of the other kind."""
    return make_database("sqlite" if url.startswith("postgresql") else "postgresql")


async def fill(registry: Registry) -> None:
    for number in range(250):
        await registry.record(row(number, "queued", labels={"team": f"t{number % 3}"}))
    for number in range(100):
        await registry.record(row(number, "running", started_at=later(9000)))
    await registry.record(replace(FULL, run_id=run_id(900), name="full"))
    await registry.mark_deleted([run_id(0), run_id(249)])


async def everything(url: str) -> list[dict[str, Any]]:
    async with await Registry.open(url) as registry:
        return [asdict(entry) async for entry in registry.entries()]


async def in_thread(program: Program, *arguments: Any) -> bytes:
    """A command has an event loop of its own."""
    return await asyncio.to_thread(program, *arguments)


async def test_a_file_into_the_other_kind_of_database_and_back(
    registry: Registry, url: str, other_url: str, program: Program, tmp_path: Path
) -> None:
    await fill(registry)
    file = await in_thread(program, url)
    await in_thread(program, other_url, file)
    assert await everything(other_url) == await everything(url)
    assert await in_thread(program, other_url) == file, "the same bytes come out again"
    async with await Registry.open(other_url) as other:
        for run_filter in (Filter(search="luck"), Filter(labels=parse_selector("team=t1"))):
            page = await other.page(run_filter)
            assert page.runs
            assert page == await registry.page(run_filter), "words and labels are indexed anew"
        assert await other.counts(Filter()) == await registry.counts(Filter())


async def test_what_is_there_stays_as_it_is(
    registry: Registry, url: str, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(registry)
    file = await in_thread(program, url)
    await registry.record(row(5, "succeeded", attempt=1, result="later"))
    await registry.remove([run_id(6), run_id(7)])
    before = await registry.get(run_id(5))
    await in_thread(program, url, file)
    assert await registry.get(run_id(5)) == before
    assert len(await registry.events(run_id(5))) == 3
    assert len(await registry.events(run_id(6))) == 2, "it came back with its transitions"
    assert "2 runs imported; 249 runs already existed" in capsys.readouterr().err


async def test_a_broken_off_import_goes_on_when_it_is_repeated(
    registry: Registry, url: str, other_url: str, program: Program
) -> None:
    await fill(registry)
    file = await in_thread(program, url)
    for part in (len(file) // 3, len(file) - 30):
        with pytest.raises(CommandError) as error:
            await in_thread(program, other_url, file[:part])
        assert "truncated" in str(error.value)
    await in_thread(program, other_url, file)
    assert sorted(await everything(other_url), key=str) == sorted(await everything(url), key=str)


HEAD = b'{"format": "codexrun-registry", "version": 1, "schema": "0004"}\n'
WRONG = [
    ("nothing of ours", b"apiVersion: v1\n", "line 1: not JSON"),
    ("another JSON", b'{"kind": "List"}\n', 'line 1: "format" is not "codexrun-registry"'),
    (
        "a newer file",
        HEAD.replace(b": 1", b": 2"),
        "line 1: the file has format version 2, but this codexrun reads only format version 1",
    ),
    ("a list", HEAD + b"[]\n", "line 2: not a JSON object"),
    ("deep JSON", HEAD + b"[" * 100_000 + b"\n", "line 2: not JSON"),
    ("no run", HEAD + b'{"runs": {}}\n', 'line 2: "runs" is not a valid field of this line'),
    ("an end that does not fit", HEAD + b'{"end": {"runs": 7}}\n', "line 2: end.runs is 7"),
    (
        "two ends",
        HEAD + b'{"end": {"runs": 0}}\n' * 2,
        "line 3: the file continues after the line that ends an export",
    ),
]


@pytest.mark.parametrize(
    ("file", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_what_is_no_export_is_refused_with_the_line(file: bytes, words: str) -> None:
    reader = Reader()
    *good, bad = file.splitlines()
    for line in good:
        assert reader.read(line) is None
    with pytest.raises(ValueError, match="line") as error:
        reader.read(bad)
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": None}, "line 2: run.status: "),
        ({"created_at": "yesterday"}, "line 2: run.created_at: "),
        ({"created_at": "2026-06-01T12:00:00"}, "line 2: run.created_at has no time zone"),
        ({"params": []}, "line 2: run.params: "),
        ({"moon": 1}, "line 2: run.moon is unknown to this version"),
    ],
)
def test_a_field_that_does_not_fit_is_named_and_its_value_is_not(
    change: dict[str, Any], words: str
) -> None:
    reader = Reader()
    reader.read(HEAD)
    line = json.loads(entry_line(Entry(row(1))))
    line["run"] |= change
    with pytest.raises(ValueError, match="line 2") as error:
        reader.read(json.dumps(line).encode())
    assert str(error.value).startswith(words)
    assert "yesterday" not in str(error.value)


def test_a_line_is_readable_and_leaves_out_what_says_nothing() -> None:
    line = entry_line(Entry(row(1, result="Grüße ✓")))
    assert "Grüße ✓".encode() in line
    assert b'"created_at": "2026-06-01T12:01:00Z"' in line
    assert b"null" not in line
    assert b"\\ud800" in entry_line(Entry(row(1, params={"half": "\ud800"})))


@pytest.mark.parametrize(
    ("url", "code"),
    [("mysql://a:secret@h/d", Code.USAGE), ("sqlite:////nowhere/at/all.db", Code.UNREACHABLE)],
)
def test_a_database_that_is_none_is_told_without_its_password(
    program: Program, url: str, code: Code
) -> None:
    with pytest.raises(CommandError) as error:
        program(url)
    assert error.value.code == code
    assert "secret" not in " ".join(error.value.lines())


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, "sqlite:////var/lib/codexrun/registry.db"),
        ({"CODEXRUN_DATA": "/d"}, "sqlite:////d/registry.db"),
        (
            {"CODEXRUN_DATA": "/d", "CODEXRUN_REGISTRY_URL": " postgresql://h/d "},
            "postgresql://h/d",
        ),
    ],
)
def test_the_registry_is_where_the_chart_says(env: dict[str, str], url: str) -> None:
    assert registry_url(env) == url
