"""Listens on loopback for a bounded number of connections, each with a bounded head."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import http_exceptions, web
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from codexrun_pod.gate.header_filter import MAX_HEAD_BYTES, MAX_LINE_BYTES
from codexrun_pod.gate.policy.verdicts import Denied

LARGE_HEAD = Denied(
    "guardrail",
    "the headers of the request are too large; a line or header may be at most"
    f" {MAX_LINE_BYTES // 1024} KiB long, and all headers together {MAX_HEAD_BYTES // 1024} KiB",
    final=False,
)


class LoopbackSite(web.BaseSite):
    """A TCP site on 127.0.0.1. Connections beyond `max_connections` are closed at once: each takes
    memory before it has sent a request."""

    def __init__(self, runner: web.AppRunner, port: int, max_connections: int) -> None:
        super().__init__(runner)
        self.port = port
        self.max_connections = max_connections

    @property
    def name(self) -> str:
        """Return the URL, by which the runner tells its sites apart."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", self.port)

    def _protocol(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert isinstance(server, web.Server)
        if len(server.connections) >= self.max_connections:
            return _Closed()
        return _Handler(
            server,
            loop=asyncio.get_running_loop(),
            **{
                **server._kwargs,
                "max_line_size": MAX_LINE_BYTES,
                "max_field_size": MAX_LINE_BYTES,
            },
        )


class _Handler(RequestHandler):
    """aiohttp bounds each header, and their number, but not their sum."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0  # of a head that is not whole
        self._body: StreamReader | None = None  # of the last request

    def data_received(self, data: bytes) -> None:
        in_head = self._body is None or self._body.is_eof()
        before = len(self._messages)
        super().data_received(data)
        if len(self._messages) > before:
            self._body = self._messages[-1][1]
            self._head_bytes = 0
        elif in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and self.transport is not None:
                body = _refusal().body
                assert isinstance(body, bytes)
                self.transport.write(
                    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
                    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                )
                self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._body = None  # it refers to this handler, which would wait for the garbage collector
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, http_exceptions.LineTooLong):
            self.close()
            return _refusal()
        return super().handle_error(request, status, exc, message)


def _refusal() -> web.Response:
    return web.json_response(LARGE_HEAD.body, status=400)


class _Closed(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
