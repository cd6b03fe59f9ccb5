"""Requests over kept connections, at little cost: what is measured shares its cores with this
client."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from measured import quantile

KEPT_SECONDS = 2.0  # of the five that uvicorn leaves a connection idle


@dataclass
class Load:
    """What a number of requests came to: seconds each took, and how many had which status."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    took: float = 0.0

    def add(self, seconds: float, status: int) -> None:
        self.seconds.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def quantile(self, share: float) -> float:
        """In milliseconds."""
        return 1000 * quantile(self.seconds, share)

    def rate(self, status: int) -> float:
        """Answers of this status per second."""
        return self.statuses.get(status, 0) / self.took


class Client:
    """A pool of connections to one server; a caller has one to itself for the time of a request."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body."""
        data = b"" if body is None else json.dumps(body).encode()
        content_headers = (
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if data else ""
        )
        reader, writer = await self._connection()
        writer.write(
            f"{method} {path} HTTP/1.1\r\n{self._head}{content_headers}\r\n".encode() + data
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        self._idle.append((time.monotonic(), reader, writer))
        return int(head.split(b" ", 2)[1]), answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The one used last; a server closes those that idle."""
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() - since < KEPT_SECONDS:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        for *_, writer in self._idle:
            writer.close()


async def at_once(workers: int, seconds: float, call: Callable[[], Awaitable[int]]) -> Load:
    """As many as these workers get through; each begins when its last one is answered."""
    load = Load()
    started_at = time.perf_counter()

    async def work() -> None:
        while (start := time.perf_counter()) - started_at < seconds:
            status = await call()
            load.add(time.perf_counter() - start, status)

    await asyncio.gather(*(work() for _ in range(workers)))
    load.took = time.perf_counter() - started_at
    return load


async def at_rate(rate: float, seconds: float, call: Callable[[], Awaitable[int]]) -> Load:
    """One every 1/rate seconds, whether or not the ones before are answered: time spent in a queue
    counts."""
    load = Load()
    started_at = time.perf_counter()
    tasks = []

    async def once(due: float) -> None:
        status = await call()
        load.add(time.perf_counter() - due, status)

    for number in range(int(rate * seconds)):
        due = started_at + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(once(due)))
    await asyncio.gather(*tasks)
    load.took = time.perf_counter() - started_at
    return load
