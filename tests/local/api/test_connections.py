"""Connections of the api's ports: how long each part of an exchange may take, how many there may
be, and that a full port keeps no probe waiting."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from codexrun_api import metrics
from codexrun_api.http.connections import BoundedProtocol, Bounds, ProbeProtocol

PATIENCE_SECONDS = 30
SHORT = 0.3
LONG = 600.0


class Application:
    """It reads a body and says how long it was; /stream goes on until told, /ample has more than
    sockets hold, /late reads nothing before it is told."""

    def __init__(self) -> None:
        self.going_on = asyncio.Event()
        self.left: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            answer = await self.answer(request)
        except ClientDisconnect:
            self.left.append(request.url.path)
            return
        await answer(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        if request.url.path == "/stream":
            return StreamingResponse(self.stream())
        if request.url.path == "/ample":
            return StreamingResponse(self.ample())
        if request.url.path == "/late":
            await self.going_on.wait()
        return PlainTextResponse(str(len(await request.body())))

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"begun "
        await self.going_on.wait()
        yield b"ended"

    async def ample(self) -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b"x" * 65536


@asynccontextmanager
async def listening(bounds: Bounds, base: type[BoundedProtocol] = BoundedProtocol) -> Any:
    protocol = type("Protocol", (base,), {"bounds": bounds})
    app = Application()
    config = uvicorn.Config(app, http=protocol, log_config=None, lifespan="off", port=0)
    server = uvicorn.Server(config)
    config.load()
    task = asyncio.create_task(server._serve())  # without its signal handlers
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0)
    try:
        yield app, server.servers[0].sockets[0].getsockname()[1]
    finally:
        app.going_on.set()
        server.should_exit = True
        await task


@asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """All until the server closes."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    return b""


def cut(bound: str) -> float:
    return metrics.CUT.labels(bound)._value.get()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
UNFINISHED = [
    ("head", "nothing at all", b""),
    ("head", "half a request line", b"GET /"),
    ("head", "half a head", GET[:-2]),
    ("head", "blank lines", b"\r\n\r\n"),
    ("head", "a second head", GET, GET[:-2]),
    ("head", "a blank line after a request", GET, b"\r\n"),
    ("body", "no body", POST),
    ("body", "half a body", POST + b"12345"),
    ("body", "half a chunk", CHUNKED + b"5\r\n12"),
    ("body", "no last chunk", CHUNKED + b"2\r\n12\r\n"),
    ("body", "no end of the trailers", CHUNKED + b"0\r\nA: b\r\n"),
]


@pytest.mark.parametrize(
    ("part", "data"), [(row[0], row[2:]) for row in UNFINISHED], ids=[row[1] for row in UNFINISHED]
)
async def test_what_does_not_end_in_time_ends_with_its_connection(
    part: str, data: tuple[bytes, ...]
) -> None:
    before = cut(part)
    bounds = Bounds(**{"head_seconds": LONG, "body_seconds": LONG} | {f"{part}_seconds": SHORT})
    async with listening(bounds) as (_, port), connected(port) as (reader, writer):
        *whole, unfinished = data
        for request in whole:
            writer.write(request)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n0"), PATIENCE_SECONDS)
        writer.write(unfinished)
        answer = await rest_of(reader)
    assert cut(part) == before + 1
    assert b"The request did not arrive completely within 0.3 s." in answer
    assert b"HTTP/1.1 408 Request Timeout\r\n" in answer


async def test_who_sends_a_byte_now_and_then_gets_no_more_time() -> None:
    before = cut("head")
    async with (
        listening(Bounds(head_seconds=SHORT)) as (_, port),
        connected(port) as (reader, writer),
    ):
        writer.write(b"GET /")
        ended = asyncio.ensure_future(rest_of(reader))
        with contextlib.suppress(ConnectionError):
            while not ended.done():
                writer.write(b"a")
                await asyncio.wait([ended], timeout=SHORT / 5)
        # A byte that comes after the answer is met with a reset, which may overtake it (RFC 9112,
        # 9.6).
        answer = await ended
        assert not answer or b"408" in answer
        assert cut("head") == before + 1


async def test_an_application_is_told_that_the_body_will_not_come() -> None:
    async with (
        listening(Bounds(body_seconds=SHORT)) as (app, port),
        connected(port) as (reader, writer),
    ):
        writer.write(POST.replace(b" / ", b" /upload "))
        await rest_of(reader)
        assert app.left == ["/upload"]


async def test_a_body_that_this_process_does_not_read_is_not_late() -> None:
    size = 300_000
    head = b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    before = cut("body")
    async with (
        listening(Bounds(body_seconds=SHORT)) as (app, port),
        connected(port) as (reader, writer),
    ):
        writer.write(head + b"x" * size)
        # as long as the deadline would have passed twice
        await asyncio.wait([asyncio.ensure_future(app.going_on.wait())], timeout=1.5)
        app.going_on.set()
        assert (await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)).endswith(b"200 OK\r\n")
    assert cut("body") == before


async def test_a_stream_lasts_longer_than_every_deadline() -> None:
    async with listening(Bounds(1.0, 1.0, 1.0)) as (app, port), connected(port) as (reader, writer):
        writer.write(GET.replace(b" / ", b" /stream "))
        await asyncio.wait_for(reader.readuntil(b"begun "), PATIENCE_SECONDS)
        await asyncio.wait([asyncio.ensure_future(app.going_on.wait())], timeout=1.5)
        app.going_on.set()
        await asyncio.wait_for(reader.readuntil(b"ended"), PATIENCE_SECONDS)


async def test_who_reads_nothing_of_an_answer_loses_the_connection() -> None:
    before = cut("answer")
    async with (
        listening(Bounds(write_seconds=SHORT)) as (_, port),
        connected(port) as (reader, writer),
    ):
        writer.write(GET.replace(b" / ", b" /ample "))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while cut("answer") == before:  # noqa: ASYNC110 - a counter rings for nobody
                await asyncio.sleep(SHORT / 5)
        answer = await rest_of(reader)
    assert len(answer) < 1_000 * 65536


async def test_who_reads_slowly_keeps_the_connection() -> None:
    """However often the time is over: each time some of the answer has gone."""

    class SlowReader(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.unsent = iter([900, 600, 300, 300])
            self.aborted = asyncio.Event()

        def get_write_buffer_size(self) -> int:
            return next(self.unsent)

        def abort(self) -> None:
            self.aborted.set()

    config = uvicorn.Config(Application(), log_config=None, lifespan="off")
    config.load()
    protocol = BoundedProtocol(config, ServerState(), {})
    protocol.bounds = Bounds(write_seconds=0.0)
    protocol.transport = transport = SlowReader()
    protocol.flow = FlowControl(transport)
    protocol.pause_writing()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await transport.aborted.wait()
    assert list(transport.unsent) == []


async def test_connections_of_all_and_of_one_address_are_bounded() -> None:
    before = cut("connections")
    async with listening(Bounds(connections=4, connections_of_peer=2)) as (_, port):
        async with contextlib.AsyncExitStack() as stack:

            async def answer(host: str) -> bytes:
                reader, writer = await stack.enter_async_context(connected(port, host))
                with contextlib.suppress(ConnectionError):
                    writer.write(GET)
                    return await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
                return b""

            told = [await answer("127.0.0.2") for _ in range(3)]
            assert [line[9:12] for line in told] == [b"200", b"200", b"503"]
            told = [await answer("127.0.0.3"), await answer("127.0.0.4"), await answer("127.0.0.5")]
            assert [line[9:12] for line in told] == [b"200", b"200", b"503"]
        async with connected(port, "127.0.0.2") as (reader, writer):  # those before have left
            writer.write(GET)
            assert b"200" in await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
    assert cut("connections") == before + 2


def test_the_gates_own_time_for_a_file_ends_first() -> None:
    from codexrun_pod.gate.logs.ingest_client import FILE_TIMEOUT

    assert Bounds().body_seconds > FILE_TIMEOUT.total
    assert ProbeProtocol.bounds.head_seconds <= Bounds().head_seconds
