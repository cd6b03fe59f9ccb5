"""100 readers and 200 gates at once: every reader gets every line in order, and the api stays
small."""

import asyncio
import json
import re
import uuid
from pathlib import Path

import pytest
from api_process import ApiProcess, running
from apistand import TOKEN
from shipping_stand import events_of

GATES = 200
FOLLOWERS = 100
PIECES = 25
MEMORY = 200 * 10**6


@pytest.fixture
def api(tmp_path):
    runs = [running(f"run-{number}", run_id(number)) for number in range(GATES)]
    made = ApiProcess(tmp_path / "api", runs)
    yield made
    made.kill()


def most_memory(process):
    """Bytes resident at the highest point."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def lines(number, piece):
    """Ten lines of a run's log."""
    texts = [f"run {number} line {piece * 10 + n} " + "x" * 80 for n in range(10)]
    return b"".join(json.dumps({"src": "codex", "text": text}).encode() + b"\n" for text in texts)


def run_id(number):
    return str(uuid.UUID(int=number))


async def ask(reader, writer, method, path, token, body=b"", **headers):
    about = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{about}"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return await reader.readuntil(b"\r\n\r\n")


async def ship(api, number):
    """A gate, from the first line to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.ingest_port)
    offset = 0
    for piece in range(PIECES):
        data = lines(number, piece)
        end = "&end=complete" if piece == PIECES - 1 else ""
        path = f"/ingest/log?offset={offset}{end}"
        while True:
            head = await ask(reader, writer, "POST", path, run_id(number), data)
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
            answer = json.loads(await reader.readexactly(length))
            # The registry's connections are all busy, and the end is to be noted: it comes again.
            if not (end and b" 503 " in head.partition(b"\r\n")[0]):
                break
        assert b" 200 " in head.partition(b"\r\n")[0], head
        offset = answer["size"]
    writer.close()


async def follow(api, number):
    """What a reader of that run's log gets, until it is told the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=2**20)
    head = await ask(reader, writer, "GET", f"/runs/{run_id(number)}/logs?follow=true", TOKEN)
    assert b" 200 " in head.partition(b"\r\n")[0], head
    stream = b""
    while b"event: end" not in stream:
        size = int((await reader.readuntil(b"\r\n")).strip(), 16)
        assert size, "the stream ended before the log"
        stream += (await reader.readexactly(size + 2))[:-2]
    writer.close()
    got, last = events_of(stream)
    return "".join(text + "\n" for _, text in got).encode(), last[1]


async def test_every_follower_gets_every_line_in_order_and_the_api_stays_small(api):
    async with asyncio.timeout(300):
        async with asyncio.TaskGroup() as tasks:
            followers = [tasks.create_task(follow(api, number)) for number in range(FOLLOWERS)]
            for number in range(GATES):
                tasks.create_task(ship(api, number))
    for number, follower in enumerate(followers):
        text, end = follower.result()
        assert text == b"".join(lines(number, piece) for piece in range(PIECES)), f"run {number}"
        assert (end["complete"], end["bytes"]) == (True, len(text))
    assert most_memory(api.process) < MEMORY


async def test_sigterm_ends_the_process_with_streams_open(api):
    """It waits for no reader; how long it takes is in the benchmarks."""
    streams = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(20)]
    for number, (reader, writer) in enumerate(streams):
        path = "/events" if number % 2 else f"/runs/{run_id(number)}/logs?follow=true"
        assert b" 200 " in await ask(reader, writer, "GET", path, TOKEN)
    assert await asyncio.to_thread(api.stop) == 0
    for _, writer in streams:
        writer.close()
