"""Listens on loopback for a bounded number of connections."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web


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
        assert server is not None
        if len(server.connections) >= self.max_connections:
            return _Closed()
        return cast(asyncio.BaseProtocol, server())


class _Closed(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
