"""A proxy between a process of codexrun and an apiserver, where calls, lists and watches go wrong.

It numbers the calls that change something, for each run on its own and from 1, since those of
several runs come in any order. `faults` says which of them fails in which way, each once; `lists`
and `watches` say what becomes of all reads of a kind.
"""

import asyncio
import json
import random
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from httpapiserver import VERBS, failure
from refusals import REFUSALS

Json = dict[str, Any]

# of a Job <run>-<8 of its uid>-<attempt>, and of a pod of that
OF_RUN = re.compile(r"(?P<run>.+?)-[0-9a-f]{8}-\d+(?:-[a-z0-9]+)?")
HOP_BY_HOP = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")


@dataclass(frozen=True)
class Call:
    """A call that changes something: the `number`th that is `about` a run (its name), a job type
    (`jobtype/NAME`) or a lease (`lease/NAME`)."""

    about: str
    number: int
    verb: str
    plural: str

    def __str__(self) -> str:
        return f"{self.about} {self.number}: {self.verb} {self.plural}"


@dataclass
class Exchange:
    """One call under way. What `forward` returns is the apiserver's answer."""

    proxy: "FaultProxy"
    request: web.Request
    body: bytes

    async def forward(self) -> web.Response:
        return await self.proxy.forward(self.request, self.body)

    def reset(self) -> web.Response:
        """End the connection without an answer."""
        if self.request.transport is not None:
            self.request.transport.abort()
        return web.Response()

    async def abandoned(self) -> web.Response:
        """Answer nothing; raises CancelledError once the client has given up."""
        await asyncio.Event().wait()
        return web.Response()


Answer = Callable[[Exchange], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Fault:
    """What becomes of a call; `kills` when the process ends there."""

    name: str
    answer: Answer
    kills: bool = False

    def __str__(self) -> str:
        return self.name


def refusing(name: str, status: int, reason: str, message: str, **headers: str) -> Fault:
    async def answer(_: Exchange) -> web.StreamResponse:
        response = failure(status, reason, message)
        response.headers.update({key.replace("_", "-"): value for key, value in headers.items()})
        return response

    return Fault(name, answer)


def _refusing_as(name: str, example: str) -> Fault:
    status, reason, message, _ = REFUSALS[example]
    return refusing(name, status, reason, message)


async def _hang(exchange: Exchange) -> web.StreamResponse:
    return await exchange.abandoned()


async def _reset(exchange: Exchange) -> web.StreamResponse:
    return exchange.reset()


async def _lose_answer(exchange: Exchange) -> web.StreamResponse:
    await exchange.forward()
    return exchange.reset()


async def _hang_after(exchange: Exchange) -> web.StreamResponse:
    await exchange.forward()
    return await exchange.abandoned()


async def _come_late(exchange: Exchange) -> web.StreamResponse:
    """The apiserver carries out what its client no longer waits for (priority and fairness)."""
    try:
        return await exchange.abandoned()
    except asyncio.CancelledError:
        exchange.proxy.later(exchange.forward())
        raise


async def _kill_before(exchange: Exchange) -> web.StreamResponse:
    await exchange.proxy.kill()
    return exchange.reset()


async def _kill_after(exchange: Exchange) -> web.StreamResponse:
    await exchange.forward()
    await exchange.proxy.kill()
    return exchange.reset()


ANSWERS = (
    _refusing_as("401", "token not taken"),
    _refusing_as("403 of RBAC", "rbac"),
    _refusing_as("403 of a webhook", "webhook"),
    refusing("409", 409, "Conflict", "the object has been modified"),
    _refusing_as("422", "invalid field"),
    refusing("429", 429, "TooManyRequests", "too many requests", Retry_After="1"),
    refusing("500", 500, "InternalError", "etcdserver: request timed out"),
    Fault("hang", _hang),
    Fault("reset", _reset),
    Fault("applied, the connection reset", _lose_answer),
    Fault("applied, no answer", _hang_after),
    Fault("applied after the client gave up", _come_late),
)
KILLS = (
    Fault("killed before", _kill_before, kills=True),
    Fault("killed after", _kill_after, kills=True),
)


async def _nobody() -> None:
    raise AssertionError("nobody said how the process is killed")


Lines = AsyncIterator[bytes]
WatchFault = Callable[[Lines], Lines]
ListFault = Callable[[Exchange], Awaitable[web.StreamResponse | None]]  # None: as without it


class FaultProxy:
    """`faults` by what a call is about and its number; `lists` and `watches` by plural.

    `calls` are those that came, in their order; `struck` those that failed, and how. `kill` ends
    the process behind the proxy. With `page_objects` no page of a list is longer. No read of a kind
    in `unanswered` is answered, and `in_vain` counts them.
    """

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.upstream = upstream
        self.tls = tls
        self.url = ""
        self.faults: dict[tuple[str, int], Fault] = {}
        self.lists: dict[str, ListFault] = {}
        self.watches: dict[str, WatchFault] = {}
        self.unanswered: set[str] = set()
        self.in_vain = 0
        self.page_objects = 0
        self.calls: list[Call] = []
        self.struck: list[tuple[Call, Fault]] = []
        self.kill: Callable[[], Awaitable[None]] = _nobody
        self._bell = asyncio.Event()  # set by the next fault, which puts another in its place
        self._numbers: Counter[str] = Counter()
        self._session: aiohttp.ClientSession | None = None
        self._later: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FaultProxy"]:
        """Listen on a free port of this machine."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        connector = aiohttp.TCPConnector(limit=0, ssl=self.tls or True)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            self._session = session
            yield self
            await runner.cleanup()
            for task in self._later:
                task.cancel()

    def later(self, work: Any) -> None:
        """Do something that nobody waits for."""
        task = asyncio.ensure_future(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that a fault may change."""
        while not holds():
            await self._bell.wait()

    def numbers(self, about: str) -> int:
        """Return how many calls there were about it."""
        return self._numbers[about]

    # -- requests --------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(self, request, await request.read())
        if request.method == "GET":
            return await self._read(exchange)
        call = self._call(request, exchange.body)
        self.calls.append(call)
        fault = self.faults.pop((call.about, call.number), None)
        if fault is None:
            return await exchange.forward()
        self.struck.append((call, fault))
        self._ring()
        return await fault.answer(exchange)

    def _ring(self) -> None:
        bell = self._bell
        self._bell = asyncio.Event()
        bell.set()

    def _call(self, request: web.Request, body: bytes) -> Call:
        plural, name = _plural_and_name(request.path)
        content = json.loads(body) if body else {}
        about = _about(plural, name or content.get("metadata", {}).get("name", ""), content)
        self._numbers[about] += 1
        verb = VERBS[request.method]
        return Call(about, self._numbers[about], verb, plural)

    async def _read(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        plural, name = _plural_and_name(request.path)
        if plural in self.unanswered:
            self.in_vain += 1
            self._ring()
            return await exchange.abandoned()
        if request.query.get("watch") in ("1", "true"):
            return await self._watch(request, self.watches.get(plural))
        if not name and plural in self.lists:
            answer = await self.lists[plural](exchange)
            if answer is not None:
                return answer
        return await exchange.forward()

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        """Return the apiserver's answer."""
        async with self._request(request, body) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers=_headers(answer.headers)
            )

    async def _watch(self, request: web.Request, fault: WatchFault | None) -> web.StreamResponse:
        async with self._request(request, b"") as answer:
            if answer.status >= 400:
                return web.Response(
                    status=answer.status, body=await answer.read(), headers=_headers(answer.headers)
                )
            response = web.StreamResponse(headers=_headers(answer.headers))
            await response.prepare(request)
            lines = _lines(answer)
            with suppress(ConnectionResetError):  # whoever watched is gone
                async for line in fault(lines) if fault else lines:
                    await response.write(line)
            return response

    def _request(self, request: web.Request, body: bytes) -> Any:
        assert self._session is not None
        query = dict(request.query)
        if self.page_objects and "limit" in query:
            query["limit"] = str(min(self.page_objects, int(query["limit"] or 500)))
        return self._session.request(
            request.method,
            self.upstream + request.path,
            params=query,
            data=body or None,
            headers=_headers(request.headers),
            timeout=aiohttp.ClientTimeout(total=None),
        )


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in HOP_BY_HOP}


def _plural_and_name(path: str) -> tuple[str, str]:
    """Return what a path is of; "" where it is of none or of all."""
    parts = path.strip("/").split("/")
    if "namespaces" not in parts:
        return "", ""
    plural, name = [*parts[parts.index("namespaces") + 2 :], "", ""][:2]
    return plural, name


def _about(plural: str, name: str, body: Json) -> str:
    match plural:
        case "codexruns":
            return name
        case "jobs" | "pods":
            of_run = OF_RUN.fullmatch(name)
            return of_run["run"] if of_run else name
        case "events":
            return str(body.get("involvedObject", {}).get("name", ""))
        case "codexjobtypes":
            return f"jobtype/{name}"
    return f"{plural.removesuffix('s')}/{name}"


async def _lines(answer: aiohttp.ClientResponse) -> Lines:
    rest = b""
    async for piece in answer.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"


# -- what becomes of watches -------------------------------------------------------------------


def cut_after(events: int, *last: bytes) -> WatchFault:
    """The stream ends after so many events, and these last lines."""

    async def cut(lines: Lines) -> Lines:
        left = events
        async for line in lines:
            yield line
            left -= 1
            if left <= 0:
                for each in last:
                    yield each
                return

    return cut


def expired_after(events: int) -> WatchFault:
    """After so many events the position is too old: 410 in the stream, as apiservers say it."""
    status = {
        "kind": "Status",
        "status": "Failure",
        "code": 410,
        "reason": "Expired",
        "message": "too old resource version: 1 (2)",
    }
    return cut_after(events, json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")


async def silent(lines: Lines) -> Lines:
    """Nothing ever comes, not even a bookmark."""
    async for _ in lines:
        pass
    yield b""


@dataclass
class Behind:
    """Each event comes between `least` and `most` seconds late, in the order of its own kind; what
    other kinds tell overtakes it."""

    least: float
    most: float
    chance: random.Random = field(default_factory=random.Random)

    async def __call__(self, lines: Lines) -> Lines:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

        async def take_in() -> None:
            try:
                async for line in lines:
                    delay = self.chance.uniform(self.least, self.most)
                    queue.put_nowait((loop.time() + delay, line))
            finally:
                queue.put_nowait(None)

        taking = asyncio.create_task(take_in())
        try:
            while (item := await queue.get()) is not None:
                due, line = item
                await asyncio.sleep(max(0.0, due - loop.time()))
                yield line
        finally:
            taking.cancel()


# -- what becomes of lists ---------------------------------------------------------------------


def slow_by(seconds: float) -> ListFault:
    """What is answered is as old as the question when it comes."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        response = await exchange.forward()
        await asyncio.sleep(seconds)
        return response

    return answer


def late_by(seconds: float) -> ListFault:
    """The question comes late: what is answered is as new as the answer."""

    async def answer(exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await exchange.forward()

    return answer


@dataclass
class CutBetweenPages:
    """Of the pages after the first, the first `count` never come: the connection ends, or what the
    list began from has been compacted (410), in turn."""

    count: int
    cut: int = 0

    async def __call__(self, exchange: Exchange) -> web.StreamResponse | None:
        if "continue" not in exchange.request.query or self.cut >= self.count:
            return None
        self.cut += 1
        if self.cut % 2:
            return exchange.reset()
        return failure(
            410, "Expired", "The provided continue parameter is too old to display a consistent"
        )


@dataclass
class Restored:
    """The first list that is asked for a second time is answered as the first time: that of a
    cluster whose etcd was put back."""

    answers: dict[str, web.Response] = field(default_factory=dict)  # by query
    told: bool = False

    async def __call__(self, exchange: Exchange) -> web.StreamResponse:
        query = exchange.request.query_string
        response = await exchange.forward()
        if self.told or query not in self.answers:
            self.answers[query] = response
            return response
        self.told = True
        old = self.answers[query]
        return web.Response(body=old.body, headers=_headers(old.headers))
