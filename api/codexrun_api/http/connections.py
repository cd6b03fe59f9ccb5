"""How long may a connection take over each part of an exchange, and how many may there be?

uvicorn (0.54) bounds neither: half a head or a body that never ends keeps its connection, and so
does a reader who does not read.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from codexrun_api import metrics

# of a request whose head is not whole yet; what is above the bounds of head_bounds but below it
# gets an answer with a reason
MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Bounds:
    """Seconds for each part, and connections at once."""

    head_seconds: float = 10.0
    # The largest body is a rollout of 32 MiB; a gate gives up after 60 s.
    body_seconds: float = 75.0
    # without the peer taking anything of an answer
    write_seconds: float = 60.0
    connections: int = 1000
    # An Ingress, and a network that masks addresses, come from one address for many.
    connections_of_peer: int = 500


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own, within bounds. What is cut is counted in `codexrun_http_cut_total`."""

    bounds = Bounds()
    _moved = False
    _head_bytes = 0  # since something else than headers came
    _receiving: asyncio.TimerHandle | None = None  # ends the head, or the body
    _sending: asyncio.TimerHandle | None = None
    _unsent_bytes = 0  # when _sending was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if (
            len(self.connections) > self.bounds.connections
            or self._connections_of_peer() > self.bounds.connections_of_peer
        ):
            self._cut("connections", 503, "There are too many connections; try again later.")
            return
        self._await("head", self.bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._received()
        self._sent()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what was received after it was read: one piece is 256 KiB at most, and as a rule
        holds the whole head.

        A piece with the end of a head, with some of a body, or with a message's end is not counted.
        """
        self._moved = False
        if self._receiving is None:  # the next request begins
            self._await("head", self.bounds.head_seconds)
        super().data_received(data)
        if self._moved:
            self._head_bytes = 0
            return
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response(
                f"The headers of the request exceed {MAX_HEAD_BYTES} bytes; send smaller headers."
            )

    def on_headers_complete(self) -> None:
        self._moved = True
        self._await("body", self.bounds.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._moved = True
        self._received()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._sent()

    def _connections_of_peer(self) -> int:
        """Return how many connections, this one included, come from its address."""
        clients = (each.client for each in self.connections if isinstance(each, HttpToolsProtocol))
        own = self.client
        return sum(client[0] == own[0] for client in clients if client) if own else 0

    def _await(self, part: str, seconds: float) -> None:
        self._received()
        self._receiving = self.loop.call_later(seconds, self._stop_receiving, part, seconds)

    def _received(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _await_reader(self) -> None:
        self._sent()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._sending = self.loop.call_later(self.bounds.write_seconds, self._stop_sending)

    def _sent(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _stop_receiving(self, part: str, seconds: float) -> None:
        if self.flow.read_paused:  # it is this process that does not read
            self._await(part, seconds)
            return
        self._cut(part, 408, f"The request did not arrive completely within {seconds:g} s.")

    def _stop_sending(self) -> None:
        if self.transport.get_write_buffer_size() < self._unsent_bytes:  # slow, but it reads
            self._await_reader()
            return
        metrics.CUT.labels("answer").inc()
        self.transport.abort()

    def _cut(self, bound: str, status: int, message: str) -> None:
        """End the connection, with an answer where none has begun."""
        self._received()
        if self.transport.is_closing():
            return
        metrics.CUT.labels(bound).inc()
        cycle: Any = self.cycle
        begun = cycle is not None and cycle.response_started and not cycle.response_complete
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        if not begun:
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                "content-type: text/plain; charset=utf-8\r\n"
                f"content-length: {len(message)}\r\nconnection: close\r\n\r\n{message}".encode()
            )
        self.transport.close()


class ProbeProtocol(BoundedProtocol):
    """Of the listener for probes: those of one node, and nobody else's."""

    bounds = Bounds(connections=64, connections_of_peer=64)
