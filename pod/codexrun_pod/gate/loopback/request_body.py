"""Reads the bodies of requests on loopback, where anything in the pod may send anything: one at a
time, each with a bound and a deadline, so that unfinished ones take neither memory nor turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import http_exceptions, web

# For a whole body. Over loopback Codex's longest takes some milliseconds; a busy node is slower.
BODY_SECONDS = 3.0
# For one whose time went by while it waited for its turn: it should have come meanwhile.
MIN_TURN_SECONDS = 0.5
# Codex and the runner send one after another.
MAX_WAITING_BODIES = 16


class BodyError(Exception):
    """A body was not read; what had come of it is gone.

    status: HTTP's. 503 where the sender may try again, as Codex does.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class BodyReader:
    """Reads the bodies of one route. max_bytes: of a body; seconds: from a request's arrival to the
    end of its body."""

    max_bytes: int
    seconds: float = BODY_SECONDS
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: int = 0

    @asynccontextmanager
    async def whole(self, request: web.Request) -> AsyncIterator[bytearray]:
        """Read the whole body. The next one is read when the caller is done with this one.

        Raises:
            BodyError: it is too large, or as for `parts`.
        """
        if (request.content_length or 0) > self.max_bytes:
            raise self._too_large()
        async with self._turn_of(request) as seconds:
            body = bytearray()
            async with _within(seconds, self.seconds):
                while chunk := await request.content.readany():
                    if len(body) + len(chunk) > self.max_bytes:
                        raise self._too_large()
                    body += chunk
            yield body

    @asynccontextmanager
    async def parts(self, request: web.Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read the body part by part, within the time that it has.

        Raises:
            BodyError: too many wait, the time is over, the body was cut off or is compressed.
        """
        async with self._turn_of(request) as seconds, _within(seconds, self.seconds):
            yield request.content.iter_any()

    @asynccontextmanager
    async def _turn_of(self, request: web.Request) -> AsyncIterator[float]:
        """Wait for the turn of a request; yield the seconds that its body has left."""
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise BodyError(
                415,
                "a request body with a Content-Encoding is not allowed; send the body uncompressed",
            )
        if self._waiting >= MAX_WAITING_BODIES:
            raise BodyError(
                503,
                (f"{MAX_WAITING_BODIES} requests are already waiting; send one request at a time"),
            )
        arrived = time.monotonic()
        self._waiting += 1
        try:
            async with self._turn:
                yield max(MIN_TURN_SECONDS, self.seconds - (time.monotonic() - arrived))
        finally:
            self._waiting -= 1

    def _too_large(self) -> BodyError:
        return BodyError(413, f"a request body larger than {self.max_bytes} bytes is not allowed")


@asynccontextmanager
async def _within(seconds: float, limit: float) -> AsyncIterator[None]:
    """Turn what can happen to a body into BodyErrors. limit: seconds, as the message has them."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise BodyError(503, f"the request body did not arrive within {limit:g} s") from None
    except (
        aiohttp.ClientError,
        http_exceptions.HttpProcessingError,
        web.RequestPayloadError,
        ConnectionError,
    ):
        raise BodyError(400, "the request body is incomplete") from None
