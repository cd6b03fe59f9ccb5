"""Requests straight into an application, and a watch over the event loop that they share with
/healthz."""

import asyncio
import contextlib
import gc
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute

Headers = list[tuple[bytes, bytes]]
STREAM_SECONDS = 1.0
QUIET_SECONDS = 0.2


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    cpu_seconds: float = 0.0  # of the whole process


async def ask(
    app: Any,
    path: str,
    query: bytes = b"",
    *,
    method: str = "GET",
    headers: Headers = (),
    body: bytes = b"",
) -> Answer:
    """An event stream is left when it has nothing to say, after a second of its lines, or at its
    end."""
    answer = Answer()
    gone = asyncio.Event()
    quiet: asyncio.TimerHandle | None = None
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal quiet
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                asyncio.get_running_loop().call_later(STREAM_SECONDS, gone.set)
                quiet = asyncio.get_running_loop().call_later(QUIET_SECONDS, gone.set)
        else:
            answer.body += message.get("body", b"")
            if quiet is not None:
                quiet.cancel()
                quiet = asyncio.get_running_loop().call_later(QUIET_SECONDS, gone.set)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"api"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await asyncio.sleep(0)  # a turn of its own
    began = time.process_time()
    await app(scope, receive, send)
    answer.cpu_seconds = time.process_time() - began
    return answer


@dataclass
class LoopWatch:
    """The longest that the event loop's thread worked without a turn for others, in seconds of CPU:
    what another process or thread takes does not count."""

    longest: float = 0.0
    healthy: int = 0  # answers of /healthz meanwhile


@asynccontextmanager
async def watched(app: Any) -> AsyncIterator[LoopWatch]:
    """Every callback of the loop is measured, and /healthz is asked again and again on it."""
    watch = LoopWatch()
    over = asyncio.Event()
    run = asyncio.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        watch.longest = max(watch.longest, time.thread_time() - began)

    async def look() -> None:
        while not over.is_set():
            assert (await ask(app, "/healthz")).status == 200
            watch.healthy += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.02)

    gc.disable()  # its pauses are the heap's, not the request's
    asyncio.Handle._run = measured  # type: ignore[method-assign]
    task = asyncio.create_task(look())
    try:
        yield watch
    finally:
        over.set()
        await task
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.enable()


def routes_of(app: Any) -> Iterator[BaseRoute]:
    """Every route of an application, those of its routers too."""
    for route in app.routes:
        if hasattr(route, "original_router"):
            yield from routes_of(route.original_router)
        else:
            yield route


def filled(path: str, values: dict[str, str]) -> str:
    """A route's path with a value for each parameter; a parameter that is not known is an error, so
    that a new one is named."""
    return re.sub(r"{(\w+)(?::\w+)?}", lambda match: values[match[1]], path)
