"""GET /runs/{id}/logs and artifacts: parts of a log, and a stream that loses and doubles
nothing."""

import asyncio
import json
import time
import tracemalloc
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
from artifacts import store_artifact
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shipping_stand import LOG, RUN, events_of

from codexrun_api.app import HANDLED_ERRORS
from codexrun_api.archive.notifier import LogNotifier
from codexrun_api.archive.tail import at_or_after, last_lines
from codexrun_api.http import middleware, sse
from codexrun_api.logs import artifact_routes, routes, stream
from codexrun_api.logs.stream import Follower
from codexrun_api.schemas import problems
from codexrun_core.errors import Unavailable
from codexrun_core.line_cutter import MAX_LINE_BYTES
from codexrun_core.runs.record import RunRecord

MIB = 1024 * 1024
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(status="running"):
    return RunRecord(RUN, "hello-1", "codexrun", "hello", status, NOON, NOON)


class FakeServices:
    """What logs and artifacts want of the application's services."""

    def __init__(self, archive, notifier):
        self.archive = archive
        self.notifier = notifier
        self.run = record()
        self.down = False
        self.stop = asyncio.Event()
        self.tokens = SimpleNamespace(user=lambda token: "me" if token == "secret" else None)
        self.settings = SimpleNamespace(external_url="http://api")

    async def find(self, wanted):
        if self.down:
            raise Unavailable("the registry is away")
        return self.run if wanted in (RUN, "hello-1") else None


@pytest.fixture
def services(archive, notifier):
    return FakeServices(archive, notifier)


@pytest.fixture
def notifier():
    return LogNotifier()


@pytest.fixture
async def client(services):
    app = FastAPI()
    app.state.services = services
    for error in HANDLED_ERRORS:
        app.add_exception_handler(error, problems.handle)
    app.include_router(routes.router)
    app.include_router(artifact_routes.router)
    app.add_middleware(middleware.RequestMiddleware, body_limit=1000)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://api"
    ) as client:
        client.headers["Authorization"] = "Bearer secret"
        yield client


URL = f"/runs/{RUN}/logs"


async def test_the_whole_log_by_id_and_by_name(client, archive):
    archive.append_attempt(RUN, 1, 0, LOG)
    for url in (URL, "/runs/hello-1/logs"):
        answer = await client.get(url)
        assert (answer.status_code, answer.content) == (200, LOG)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-log-complete"] == "unknown"
    archive.seal(RUN, 1, complete=True)
    assert (await client.get(URL)).headers["x-log-complete"] == "true"


async def test_a_run_without_a_log_has_an_empty_one(client):
    answer = await client.get(URL)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_who_may_not_and_what_is_not_there(client):
    assert (await client.get("/runs/unknown/logs")).json()["code"] == "run-not-found"
    assert (await client.get("/runs/unknown/artifacts")).status_code == 404
    client.headers["Authorization"] = "Bearer wrong"
    assert (await client.get(URL)).status_code == 401
    assert (await client.get(f"/runs/{RUN}/artifacts")).status_code == 401


LINES = LOG.splitlines(keepends=True)
PARTS = [
    ("the last two lines", {"tail": 2}, b"".join(LINES[-2:])),
    ("no line", {"tail": 0}, b""),
    ("more lines than there are", {"tail": 9999}, LOG),
    ("since a time", {"since": "2026-01-31T12:00:05Z"}, b"".join(LINES[5:])),
    ("since between two lines", {"since": "2026-01-31T12:00:04.5Z"}, b"".join(LINES[5:])),
    ("since before all", {"since": "2026-01-01T00:00:00Z"}, LOG),
    ("since after all", {"since": "2027-01-01T00:00:00Z"}, b""),
    ("the later of both", {"since": "2026-01-31T12:00:05Z", "tail": 1}, LINES[-1]),
    ("after an offset", {"after": 10}, LOG[10:]),
    ("after more than there is", {"after": 10**9}, b""),
]


@pytest.mark.parametrize(
    ("query", "expected"), [part[1:] for part in PARTS], ids=[part[0] for part in PARTS]
)
async def test_parts_of_a_log(client, archive, query, expected):
    archive.append(RUN, 0, LOG)
    answer = await client.get(URL, params=query)
    assert (answer.status_code, answer.content) == (200, expected)


@pytest.mark.parametrize(
    "query", [{"tail": -1}, {"tail": "x"}, {"since": "yesterday"}, {"after": -1}], ids=str
)
async def test_wrong_wishes(client, query):
    assert (await client.get(URL, params=query)).status_code == 422


RANGES = [
    ("bytes=0-4", 206, LOG[:5], f"bytes 0-4/{len(LOG)}"),
    ("bytes=5-", 206, LOG[5:], f"bytes 5-{len(LOG) - 1}/{len(LOG)}"),
    ("bytes=-7", 206, LOG[-7:], f"bytes {len(LOG) - 7}-{len(LOG) - 1}/{len(LOG)}"),
    ("bytes=0-99999999", 206, LOG, f"bytes 0-{len(LOG) - 1}/{len(LOG)}"),
    ("bytes=99999999-", 416, None, f"bytes */{len(LOG)}"),
    ("bytes=-0", 416, None, f"bytes */{len(LOG)}"),
    ("bytes=5-2", 200, LOG, None),
    ("bytes=-", 200, LOG, None),
    ("lines=1-2", 200, LOG, None),
    ("bytes=0-1,3-4", 200, LOG, None),
]


@pytest.mark.parametrize(
    ("wanted", "status", "expected", "said"), RANGES, ids=[row[0] for row in RANGES]
)
async def test_ranges(client, archive, wanted, status, expected, said):
    archive.append(RUN, 0, LOG)
    answer = await client.get(URL, headers={"Range": wanted})
    assert (answer.status_code, answer.headers.get("content-range")) == (status, said)
    if expected is not None:
        assert answer.content == expected
        assert answer.headers["accept-ranges"] == "bytes"


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(st.integers(0, 300), max_size=20),
    lines=st.integers(0, 25),
    second=st.integers(-1, 21),
    whole=st.booleans(),
)
def test_tail_and_since_agree_with_reading_all_of_it(archive, texts, lines, second, whole):
    log = b"".join(
        b'{"ts":"2026-01-31T12:00:%02d.000Z","text":"%s"}\n' % (n, b"x" * size)
        for n, size in enumerate(texts)
    )
    log = log if whole else log[:-1]
    archive.remove(RUN)
    archive.append(RUN, 0, log)
    all_lines = log.splitlines(keepends=True)
    assert log[last_lines(archive, RUN, len(log), lines) :] == b"".join(
        all_lines[len(all_lines) - min(lines, len(all_lines)) :]
    )
    moment = datetime.fromtimestamp(NOON.timestamp() + second, UTC)
    assert log[at_or_after(archive, RUN, len(log), moment) :] == b"".join(
        all_lines[max(0, second) :]
    )


async def follow(archive, notifier, services, start=0, **more):
    return [
        piece
        async for piece in Follower(archive, notifier, RUN, services.find, services.stop).events(
            start, **more
        )
    ]


async def test_a_follower_gets_what_there_is_and_what_comes_and_the_end(
    archive, notifier, services
):
    follower = Follower(archive, notifier, RUN, services.find, services.stop).events(0)
    got = []
    at = 0
    for line in LINES:
        half = len(line) // 2
        at, _ = archive.append_attempt(RUN, 1, at, line[:half])
        notifier.notify(RUN)
        at, _ = archive.append_attempt(RUN, 1, at, line[half:])
        notifier.notify(RUN)
        while (
            sum(b"data: {" in piece for piece in got) < len(got)
            or not got
            or b"data" not in got[-1]
        ):
            got.append(await anext(follower))
            if b"data" in got[-1]:
                break
        got = [piece for piece in got if b"data" in piece]
    archive.seal(RUN, 1, complete=True)
    services.run = record("succeeded")
    notifier.notify(RUN)
    got += [piece async for piece in follower]
    lines, end = events_of(b"".join(got))
    assert b"".join(line.encode() + b"\n" for _, line in lines) == LOG
    assert [offset for offset, _ in lines] == [
        sum(map(len, LINES[: n + 1])) for n in range(len(LINES))
    ]
    assert end == (
        "end",
        {"status": "succeeded", "bytes": len(LOG), "complete": True, "note": None},
    )


@pytest.mark.parametrize("seen", range(len(LINES) + 1))
async def test_a_follower_resumes_behind_the_last_line_it_saw(client, archive, services, seen):
    archive.append_attempt(RUN, 1, 0, LOG)
    archive.seal(RUN, 1, complete=True)
    services.run = record("succeeded")
    offset = sum(map(len, LINES[:seen]))
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(offset)}
    answer = await client.get(URL, headers=headers, params={"tail": 1})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    lines, end = events_of(answer.content)
    assert [line for _, line in lines] == [line.decode().rstrip("\n") for line in LINES[seen:]]
    assert end[0] == "end"
    assert lines == [] or lines[-1][0] == len(LOG)


async def test_a_line_longer_than_any_piece_is_one_event(archive, notifier, services):
    long = json.dumps({"text": "x" * 200_000}).encode()
    archive.append_attempt(RUN, 1, 0, long + b"\n" + LOG)
    archive.seal(RUN, 1, complete=True)
    services.run = record("failed")
    lines, _ = events_of(b"".join(await follow(archive, notifier, services)))
    assert lines[0] == (len(long) + 1, long.decode())
    assert len(lines) == 1 + len(LINES)


async def test_a_line_without_end_is_cut_with_a_mark_in_linear_time(archive, notifier, services):
    whole = 32 * MIB
    for begin in range(0, whole, MIB):
        archive.append_attempt(RUN, 1, begin, b"a" * MIB)
    archive.append_attempt(RUN, 1, whole, b"\n" + LOG)
    archive.seal(RUN, 1, complete=True)
    services.run = record("failed")
    tracemalloc.start()
    began = time.process_time()
    pieces = await follow(archive, notifier, services)
    spent = time.process_time() - began
    (_, peak) = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    lines, end = events_of(b"".join(pieces))
    mark = f"… [{whole - MAX_LINE_BYTES} bytes left out]"
    assert lines[0] == (whole + 1, "a" * MAX_LINE_BYTES + mark)
    assert [line for _, line in lines[1:]] == [line.decode().rstrip("\n") for line in LINES]
    assert end[1]["bytes"] == whole + 1 + len(LOG)
    assert spent < 4, "512 reads of 64 KiB, not 512 copies of what is there by then"
    assert peak < 8 * MIB


@pytest.mark.parametrize(
    "log",
    [b"\n" * (8 * MIB), b"a" * (8 * MIB), b'{"ts":"x\n' * 800_000],
    ids=["empty", "one", "no time"],
)
def test_since_looks_at_a_bounded_part_of_a_log_that_is_no_runners(archive, log):
    for begin in range(0, len(log), MIB):
        archive.append_attempt(RUN, 1, begin, log[begin : begin + MIB])
    reads = []
    read = archive.read
    archive.read = lambda *about: reads.append(about) or read(*about)
    began = time.process_time()
    assert at_or_after(archive, RUN, len(log), NOON) == 0
    assert time.process_time() - began < 4
    assert len(reads) < 60


async def test_a_run_that_never_had_a_pod_ends_at_once(archive, notifier, services):
    services.run = record("rejected")
    lines, end = events_of(b"".join(await follow(archive, notifier, services)))
    assert (lines, end[0]) == ([], "end")


async def test_the_end_waits_for_the_last_words_of_a_log_that_is_open(archive, notifier, services):
    archive.append_attempt(RUN, 1, 0, LINES[0])
    services.run = record("succeeded")
    follower = Follower(archive, notifier, RUN, services.find, services.stop).events(0)
    got = [await anext(follower), await anext(follower)]
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    archive.append_attempt(RUN, 1, len(LINES[0]), LINES[1])
    archive.seal(RUN, 1, complete=True)
    notifier.notify(RUN)
    got += [await waiting] + [piece async for piece in follower]
    lines, end = events_of(b"".join(got))
    assert [line.encode() + b"\n" for _, line in lines] == LINES[:2]
    assert end[1]["complete"] is True


async def test_a_log_whose_gate_died_ends_all_the_same(archive, notifier, services, monkeypatch):
    monkeypatch.setattr(stream, "CLOSE_SECONDS", 0.0)
    archive.append_attempt(RUN, 1, 0, LINES[0] + b"half")
    services.run = record("failed")
    lines, end = events_of(b"".join(await follow(archive, notifier, services)))
    assert [line for _, line in lines] == [LINES[0].decode().rstrip(), "half"]
    assert end[1] == {
        "status": "failed",
        "bytes": len(LINES[0]) + 4,
        "complete": None,
        "note": None,
    }


async def test_a_stream_ends_when_the_process_does_and_outlives_the_registry(
    archive, notifier, services
):
    archive.append_attempt(RUN, 1, 0, LOG)
    services.down = True
    follower = Follower(archive, notifier, RUN, services.find, services.stop).events(0)
    got = [await anext(follower), await anext(follower)]
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    services.stop.set()
    got += [await waiting] + [piece async for piece in follower]
    lines, end = events_of(b"".join(got))
    assert len(lines) == len(LINES)
    assert end[0] == "reconnect"


async def test_a_silent_stream_is_pinged(archive, notifier, services, monkeypatch):
    monkeypatch.setattr(sse, "PING_SECONDS", 0.0)
    follower = Follower(archive, notifier, RUN, services.find, services.stop).events(0)
    assert b"retry: 1000" in await anext(follower)
    assert await anext(follower) == b": ping\n\n"
    await follower.aclose()


async def test_artifacts_are_listed_and_downloaded(client, archive):
    assert (await client.get(f"/runs/{RUN}/artifacts")).json() == {"artifacts": []}
    store_artifact(archive, RUN, "final-message.md", b"<script>alert(1)</script>")
    (one,) = (await client.get("/runs/hello-1/artifacts")).json()["artifacts"]
    assert (one["name"], one["bytes"], one["url"]) == (
        "final-message.md",
        25,
        f"http://api/runs/{RUN}/artifacts/final-message.md",
    )
    answer = await client.get(one["url"])
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"].startswith("text/markdown")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "rollout.jsonl",
        "..",
        "%2e%2e%2flogs.txt",
        "..%2Flogs.txt",
        "%2Fetc%2Fpasswd",
        "a%00b",
        "%2e%2e",
    ],
)
async def test_no_other_file_is_downloaded(client, archive, name):
    archive.append(RUN, 0, LOG)
    answer = await client.get(f"/runs/{RUN}/artifacts/{name}")
    assert answer.status_code in (404, 422)
    assert b"2026-01-31T12" not in answer.content
