"""Hostile requests, logs and messages against every route there is: bounded work, bounded answers,
and /healthz meanwhile."""

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import re
import string
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import manifests
import pytest
import uvicorn
from apistand import TOKEN, hello_cluster, services_over
from artifacts import store_artifact
from fake_cluster import FakeCluster
from hostile_requests import Answer, ask, filled, routes_of, watched

from codexrun_api.app import create_app
from codexrun_api.archive.archive import Archive
from codexrun_api.console import sessions, templating
from codexrun_api.console.pages import run
from codexrun_api.console.view import safe_html
from codexrun_api.http import connections
from codexrun_api.logs.ingest import create_ingest_app
from codexrun_api.settings import Settings

MIB = 1024 * 1024
LOOP_SECONDS = 0.4  # that one request may hold the event loop at a time
REQUEST_SECONDS = 10  # of CPU that one may take in all
PAGE_BYTES = 6 * MIB
# These are as long as the log, in pieces.
WHOLE_LOG = ("/runs/{id}/logs", "/console/runs/{id}/log/raw")
SESSION = sessions.open_session(hashlib.sha256(TOKEN.encode()).digest(), time.time())
COOKIE = f"{sessions.COOKIE}={SESSION}".encode()
LOGGED_IN = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"cookie", COOKIE)]


class Whole:
    """The application with all its routers, and one run that has ended."""

    def __init__(self, app: Any, kube: FakeCluster, archive: Archive) -> None:
        self.app = app
        self.kube = kube
        self.archive = archive
        status = {
            "phase": "Succeeded",
            "attempt": 1,
            "startedAt": "2026-01-31T12:00:00Z",
            "finishedAt": "2026-01-31T12:01:00Z",
        }
        body = manifests.run("one", inputs={"name": "world"}) | {"status": status}
        self.run_id = str(kube.put(kube.runs, body)["metadata"]["uid"])

    def log(self, data: bytes) -> None:
        for begin in range(0, len(data), MIB):
            self.archive.append_attempt(self.run_id, 1, begin, data[begin : begin + MIB])
        self.archive.seal(self.run_id, 1, complete=True)

    def put(self, name: str, data: bytes) -> None:
        store_artifact(self.archive, self.run_id, name, data)

    def paths(self, method: str = "GET") -> dict[str, str]:
        """Every route's path with values for its parameters, by the path with their names."""
        values = {
            "id": self.run_id,
            "name": "hello",
            "version": "v1",
            "job_type": "hello",
            "number": "0",
            "rest": "nowhere",
        }
        found = [
            route.path
            for route in routes_of(self.app)
            if method in (getattr(route, "methods", None) or ())
        ]
        return {path: filled(path, values) for path in found}


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    settings = Settings(
        namespace="codexrun",
        registry_url=f"sqlite:///{tmp_path}/r.db",
        archive=tmp_path / "archive",
        token=TOKEN,
    )
    kube = hello_cluster()
    async with services_over(settings, kube) as services:
        app = create_app(services)
        made = Whole(app, kube, services.archive)
        async with app.router.lifespan_context(app):
            for watcher in (services.mirror.watcher, *services.catalog.watchers):
                await watcher.synced.wait()
            await services.mirror.writer.caught_up(20)
            yield made


def names(count: int) -> bytes:
    """So many parameters, no name twice."""
    found = (
        "".join(parts)
        for size in (1, 2, 3)
        for parts in itertools.product(string.ascii_letters, repeat=size)
    )
    return "&".join(itertools.islice(found, count)).encode()


QUERIES = {
    "17,000 distinct names": (names(17_000), 414),
    "2,000 distinct names": (names(2_000), 400),
    "one name 2,000 times": (b"a&" * 2_000, 400),
    "nothing but separators": (b"&" * 8_000, 400),
    "a value of 60 KB": (b"search=" + b"a" * 60_000, 414),
    "percent signs": (b"search=" + b"%" * 20_000, 414),
}
HEADERS = {
    "a cookie of backslashes": [(b"cookie", b'a="' + b"\\" * 15_000 + b'"')],
    "a cookie of ours of backslashes": [
        (b"cookie", sessions.COOKIE.encode() + b'="' + b"\\1" * 7_500 + b'"')
    ],
    "5,000 cookies": [(b"cookie", b"a;" * 5_000)],
    "a long cookie": [(b"cookie", b"a=" + b"b" * 60_000)],
    "2,000 headers": [(b"x-%d" % number, b"") for number in range(2_000)],
    "a long header": [(b"x-a", b"a" * 60_000)],
    "a long token": [(b"authorization", b"Bearer " + b"a" * 15_000)],
    "a long last event": [(b"last-event-id", b"9" * 15_000)],
    "a long range": [(b"range", b"bytes=" + b"0-," * 5_000)],
    "a long request id": [(b"x-request-id", b"a" * 15_000)],
}


def check_refusal(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    detail = json.loads(answer.body)["detail"]
    assert re.search(r"(more than the|at most) \d+ .*allowed", detail)
    assert "; " in detail, "it says what to do"


@pytest.mark.parametrize("name", QUERIES)
async def test_a_hostile_query_is_refused_on_every_route_before_anybody_is_asked_who_he_is(
    whole: Whole, name: str
) -> None:
    query, status = QUERIES[name]
    began = time.process_time()
    async with watched(whole.app) as loop:
        for method in ("GET", "POST"):
            for path in whole.paths(method).values():
                check_refusal(await ask(whole.app, path, query, method=method), status)
        check_refusal(await ask(whole.app, "/nowhere", query), status)
    assert loop.longest < LOOP_SECONDS
    assert time.process_time() - began < REQUEST_SECONDS


@pytest.mark.parametrize("name", HEADERS)
async def test_hostile_headers_cost_nothing_on_any_route(whole: Whole, name: str) -> None:
    began = time.process_time()
    async with watched(whole.app) as loop:
        for path in whole.paths().values():
            assert (await ask(whole.app, path, headers=HEADERS[name])).status < 500
    assert loop.longest < LOOP_SECONDS
    assert time.process_time() - began < REQUEST_SECONDS


async def test_a_long_path_is_refused(whole: Whole) -> None:
    for path in (
        "/runs/" + "a" * 3_000,
        "/console/static/" + "./" * 1_100 + "icon.svg",
        "/" + "a/" * 1_100,
    ):
        check_refusal(await ask(whole.app, path), 414)


async def test_the_ingest_port_has_the_same_bounds(tmp_path: Path) -> None:
    async def never(*_: object) -> Any:
        raise AssertionError("nobody is asked")

    app = create_ingest_app(
        Archive(tmp_path), never, never, never, find_run=never, is_removed=never
    )
    for path in (
        "/ingest/log",
        "/ingest/usage",
        "/ingest/artifacts/output.json",
        "/ingest/rollout",
        "/nowhere",
    ):
        for query, status in QUERIES.values():
            check_refusal(await ask(app, path, query, method="POST"), status)
        for headers, status in ((HEADERS["2,000 headers"], 431), (HEADERS["a long header"], 431)):
            check_refusal(await ask(app, path, headers=headers), status)


LONG = "9" * 500
FILTERS = {
    "many statuses": b"status=" + b"failed," * 1_000,
    "a long selector": b"label=" + b"a%20in%20(b)," * 300,
    "half a selector": b"label=a%20in%20" + b"(" * 4_000,
    "a long search": b"search=" + b"a%20" * 1_500,
    "a long time": b"since=" + b"9" * 7_000,
    "a page token": (
        b"page_token=" + b"A" * 500 + b"&page=" + base64.urlsafe_b64encode(b"[" * 4_000)
    ),
    "a sort": b"sort=" + b"-" * 4_000,
    "a pattern": b"tab=log&regexp=1&q=" + b"(a*)*" * 39,
    "a way back": b"back=/console" + b"/" * 7_000,
    "numbers": (
        f"after={LONG}&tail={LONG}&before={LONG}&line={LONG}&from={LONG}&count={LONG}&page_size={LONG}".encode()
    ),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_a_query_within_the_bounds_costs_little_on_every_route(
    whole: Whole, name: str
) -> None:
    whole.log(b"a" * MIB)
    began = time.process_time()
    async with watched(whole.app) as loop:
        for path in whole.paths().values():
            answer = await ask(whole.app, path, FILTERS[name], headers=LOGGED_IN)
            assert answer.status < 500, (path, answer.body[:500])
    assert loop.longest < LOOP_SECONDS
    assert time.process_time() - began < 2 * REQUEST_SECONDS


@pytest.mark.parametrize(
    "body",
    [b"a&" * 100_000, names(60_000), b"token=" + b"%" * 200_000],
    ids=["same", "names", "percent"],
)
async def test_a_hostile_form_costs_little_on_every_route(whole: Whole, body: bytes) -> None:
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    async with watched(whole.app) as loop:
        for path in whole.paths("POST").values():
            for headers in (form, form + LOGGED_IN):
                answer = await ask(whole.app, path, method="POST", headers=headers, body=body)
                assert 400 <= answer.status < 500 or answer.status in (200, 303), path
    assert loop.longest < LOOP_SECONDS


def event(**fields: Any) -> bytes:
    return (
        json.dumps({"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "event": fields}).encode()
        + b"\n"
    )


def items(kind: str, count: int, **fields: Any) -> bytes:
    """The turn and so many items of it."""
    made = (
        event(type="item.completed", item={"id": f"item_{n}", "type": kind, **fields})
        for n in range(count)
    )
    return event(type="turn.started") + b"".join(made)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


TABLE = "|" + "a|" * 256 + "\n|" + "-|" * 256 + "\n" + "|\n" * 256
# None of them ends a table.
BLANKS = ("\u00a0", "\u3000", "\x0b", "\x0c", "\x1c", "\u2028", "\x85", "\ufeff")
MARKDOWN = {
    "a table of 65,536 cells": TABLE,
    "such a table in a list": "- " + TABLE.replace("\n", "\n  "),
    "such a table in a quotation": "> " + TABLE.replace("\n", "\n> "),
    **{
        f"rows of {blank!r}": (
            TABLE.replace("\n|\n", f"\n{blank}\n").replace("\n|\n", f"\n{blank}\n")
        )
        for blank in BLANKS
    },
    "one column, many rows": "a\n:-\n" + "|\n" * 10_000,
    "many columns, one row": "|" + "a|" * 20_000 + "\n|" + "-|" * 20_000 + "\n",
    "a definition used again and again": (
        "[a]: https://x.example/" + "x" * 8_000 + "\n\n" + "[a] " * 2_000
    ),
    "links to nowhere": "[]()" * 8_000,
    "opening brackets": "[" * 32_000,
    "emphasis": "**a_" * 8_000,
    "quotations in quotations": ">" * 50 + "a\n" + "b\n" * 15_000,
    "quotations as deep as they may be": ">" * 19 + "a\n" + "b\n" * 15_000,
    "such quotations in a list": "- " + ">" * 17 + "a\n" + "b\n" * 15_000,
    "quotations of blank lines": (">" * 18 + "\n") * 1_600,
    "lists in lists": "\n".join(" " * 2 * n + "- a" for n in range(180)),
    "headings": "# a\n" * 8_000,
    "entities": "&quot;" * 5_000,
    "control characters": "\u202e" * 10_000,
}
LOGS = {
    **{
        f"messages: {name}": items(
            "agent_message", max(1, 260_000 // len(json.dumps(text))), text=text
        )
        for name, text in MARKDOWN.items()
    },
    "reasoning": items("reasoning", 100, text=TABLE),
    "a log of newlines": b"\n" * (2 * MIB),
    "one line": b"a" * (4 * MIB),
    "lines of one letter": b"a\n" * MIB,
    "colours": items(
        "command_execution",
        30,
        command="x",
        aggregated_output="\x1b[31ma\x1b[0m" * 400,
        exit_code=0,
    ),
    "output of control characters": items(
        "command_execution", 12, command="x", aggregated_output="\x01" * 3_000
    ),
    "raw control characters": b"\x01" * (2 * MIB),
    "a long command": items(
        "command_execution", 1, command="/bin/bash -lc '" + "a" * 250_000 + "'"
    ),
    "many files": items(
        "file_change",
        1,
        changes=[{"path": "a", "kind": "add", "diff": "+\n" * 20} for _ in range(4_000)],
    ),
    "a diff of newlines": items(
        "file_change", 1, changes=[{"path": "a", "kind": "add", "diff": "\n" * 120_000}]
    ),
    "a long plan": items("todo_list", 1, items=[{"text": "", "completed": True}] * 7_000),
    "deep arguments": items("mcp_tool_call", 60, arguments=nested(900)),
    "deep events": b"".join(event(type="new", value=nested(900)) for _ in range(60)),
    "wide arguments": items("mcp_tool_call", 1, arguments=[{}] * 60_000),
    "deep texts": b"".join(
        json.dumps({"src": "stderr", "text": nested(900)}).encode() + b"\n" for _ in range(60)
    ),
    "small events": event(type="x") * 20_000,
    "empty turns": (event(type="turn.started") + event(type="turn.completed", usage={})) * 5_000,
}
TABS = [f"tab={tab}".encode() for tab in run.TABS]


@pytest.mark.parametrize("name", LOGS)
async def test_a_hostile_log_costs_a_bounded_amount_on_every_route(whole: Whole, name: str) -> None:
    data = LOGS[name]
    whole.log(data)
    whole.put("final-message.md", MARKDOWN.get(name.removeprefix("messages: "), TABLE).encode())
    whole.put("workspace.patch", b"\n" * MIB)
    await costs_little(whole, [("/console/runs/{id}", tab) for tab in TABS])
    if name.startswith("messages: "):
        return  # nothing but the run's page renders what was said
    wanted = [(path, b"") for path in whole.paths() if "{id}" in path]
    wanted += [
        ("/runs/{id}/logs", query)
        for query in (b"tail=1000", b"since=2026-01-31T12:00:01Z", b"follow=true")
    ]
    wanted += [
        ("/console/runs/{id}/log/matches", b"q=a"),
        ("/console/runs/{id}/log/lines", b"count=1000"),
    ]
    await costs_little(whole, wanted)


async def costs_little(whole: Whole, wanted: list[tuple[str, bytes]]) -> None:
    """Ask for each path with its query; the event loop is never held for long, and no answer is
    large."""
    for path, query in wanted:
        async with watched(whole.app) as loop:
            answer = await ask(
                whole.app,
                filled(path, {"id": whole.run_id, "name": "workspace.patch"}),
                query,
                headers=LOGGED_IN,
            )
        assert answer.status < 500, (path, query, answer.body[:300])
        assert loop.longest < LOOP_SECONDS, (path, query)
        assert answer.cpu_seconds < REQUEST_SECONDS, (path, query)
        if path not in WHOLE_LOG:
            assert len(answer.body) < PAGE_BYTES, (path, query)


@pytest.mark.parametrize("name", MARKDOWN)
def test_markdown_is_bounded_on_its_own(name: str) -> None:
    budget = safe_html.Budget()
    began = time.process_time()
    html = [budget.markdown(MARKDOWN[name]) for _ in range(100)]
    assert time.process_time() - began < REQUEST_SECONDS
    assert sum(map(len, html)) < 2 * safe_html.MAX_PAGE_HTML
    assert (
        "Shown as plain text: " in html[-1]
        or "left out" in html[-1]
        or sum(map(len, html)) < safe_html.MAX_PAGE_HTML
    )


@pytest.mark.parametrize(
    "name", [name for name in MARKDOWN if "table" in name or "rows" in name or "columns" in name]
)
def test_no_table_has_more_cells_than_are_counted(name: str) -> None:
    """In small, so that it may be rendered: the count is of the text as the renderer gets it."""
    text = MARKDOWN[name].replace("a|" * 256, "a|" * 4).replace("-|" * 256, "-|" * 4)
    text = "\n".join(line[:200] for line in text.split("\n")[:40])
    html = str(safe_html._markdown.render(safe_html._visible_text(text)))
    assert html.count("<td") + html.count("<th>") <= safe_html.table_cells(
        safe_html._visible_text(text)
    )


def test_what_is_above_a_bound_is_shown_as_text_with_the_bound() -> None:
    shown = safe_html.Budget().markdown(TABLE)
    assert (
        "<em>Shown as plain text: the tables of this page may have more than 10,000 cells in"
        " total.</em>" in shown
    )
    assert "|a|a|a|" in shown
    assert "<td" not in shown
    ordinary = "| a | b |\n|---|---|\n| 1 | 2 |\n\nand **so** [on](https://ok.example)"
    assert 6 <= safe_html.table_cells(ordinary) <= 12, "an upper bound"
    assert "<td>1</td>" in safe_html.Budget().markdown(ordinary)


def test_a_quotation_of_a_long_log_is_no_quotation_in_quotations() -> None:
    lines = "> line\n" * 3_000 + "> > answered\n" * 500
    assert safe_html.quoted_lines(lines) == 4_000
    assert "<blockquote>" in safe_html.Budget().markdown(lines)
    above = ">" * 19 + "a\n" + "b\n" * 2_000
    shown = safe_html.Budget().markdown(above)
    counted = "(a line counts once for each level of quoting).</em>"
    assert f"the block quotes in the text have more than 20,000 lines {counted}" in shown


def test_a_static_file_is_served_by_its_very_name() -> None:

    assert set(templating.static_files()) >= {"app.css", "app.js", "log.js"}
    assert "./app.css" not in templating.static_files()


@pytest.mark.parametrize(
    "name",
    ["./app.css", "././icon.svg", "vendor/../app.css", "app.css/", "", "../pages.py", "vendor"],
)
async def test_another_spelling_of_a_static_file_is_no_file(whole: Whole, name: str) -> None:
    assert (await ask(whole.app, f"/console/static/{name}")).status == 404


async def test_a_head_without_end_is_refused(whole: Whole) -> None:
    """By the server itself: its parser keeps what comes until the head is whole."""
    config = uvicorn.Config(
        whole.app, http=connections.BoundedProtocol, log_config=None, lifespan="off", port=0
    )
    server = uvicorn.Server(config)
    config.load()
    task = asyncio.create_task(server._serve())  # without its signal handlers
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        for head in (
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ",
            b"GET /healthz HTTP/1.1\r\n",
            b"GET /",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            part = b"X-A: a\r\n" * 1024 if head.endswith(b"\r\n") else b"a" * 8192
            for _ in range(
                connections.MAX_HEAD_BYTES // 8192 + 1
            ):  # no more: what is not read would reset the connection
                writer.write(part)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)
            assert answer.startswith(b"HTTP/1.1 400"), head
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for size in (1, 60_000, 100_000, 200_000):  # a body is no head, however its pieces arrive
            head = f"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
            writer.write(head.encode() + b"x" * size)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 401")), size
            length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
            assert length
            await reader.readexactly(int(length[1]))
        for _ in range(40):  # requests on one connection are counted each for itself
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 4096 + b"\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"}")
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        )
        with contextlib.suppress(ConnectionError):  # trailers without end: the connection is closed
            for _ in range(1_000):
                writer.write(b"X-T: " + b"a" * 1000 + b"\r\n")
                await writer.drain()
            while await asyncio.wait_for(reader.read(65536), 20):
                pass
    finally:
        server.should_exit = True
        await task


def test_every_cache_has_a_size_or_no_argument_that_comes_from_outside() -> None:
    """`functools.cache` keeps what it is ever called with: it is for functions that a program calls
    with its own few words."""
    root = Path(__file__).parents[3]
    unbounded = {
        (file.relative_to(root).as_posix(), match[1])
        for part in ("api", "core", "operator", "cli")
        for file in (root / part).rglob("*.py")
        for match in re.finditer(
            r"@(?:functools\.)?(?:cache|lru_cache\(maxsize=None\))\ndef (\w+\([^)]*\))",
            file.read_text(),
        )
    }
    assert unbounded == {
        ("api/codexrun_api/app.py", "openapi_document()"),
        ("api/codexrun_api/console/templating.py", "static_files()"),
        ("api/codexrun_api/console/templating.py", "templates()"),
        ("core/codexrun_core/prices/table.py", "built_in()"),
        ("core/codexrun_core/registry/database.py", "insert_once(dialect: str, table: sa.Table)"),
    }


@pytest.mark.parametrize("mark", ["- ", "> ", "1. "])
@pytest.mark.parametrize("levels", [1, 5, 9, 10, 11, 30, 200])
def test_nothing_is_missing_from_nested_markdown(mark: str, levels: int) -> None:
    """The parser leaves out what is nested too deeply, and everything behind it."""
    lines = [" " * len(mark) * level + f"{mark}level{level}" for level in range(levels)]
    if mark == "> ":
        lines = [mark * (level + 1) + f"level{level}" for level in range(levels)]
    shown = safe_html.Budget().markdown("\n".join(lines) + "\n\nafter")
    for word in (*(f"level{level}" for level in range(levels)), "after"):
        assert word in shown
