"""The content coding of the model's answer (RFC 9110, 8.4): undone while it streams, or refused.

The gate asks for none. A server or a proxy that compresses all the same must not make an answer
that passes uncounted.
"""

from __future__ import annotations

import zlib

import aiohttp
from multidict import CIMultiDictProxy

PIECE_BYTES = 65536  # at most, of what was compressed: a small answer may hold gigabytes
READABLE = frozenset({"gzip", "x-gzip", "deflate"})
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS


class UnreadableError(Exception):
    """The answer has a coding that the gate cannot undo."""

    def __init__(self, coding: str) -> None:
        """coding: as the answer names it."""
        super().__init__(coding[:100])


def applied(headers: CIMultiDictProxy[str]) -> tuple[str, ...]:
    """Return the codings of an answer in the order of their application. Each header may stand
    there several times, and each may be a list. A transfer coding beside `chunked` compresses as
    well, and aiohttp leaves it as it is."""
    content = _names(headers, "Content-Encoding")
    transfer = _names(headers, "Transfer-Encoding")
    return (*content, *(name for name in transfer if name != "chunked"))


def _names(headers: CIMultiDictProxy[str], header: str) -> list[str]:
    lists = headers.getall(header, ())
    names = [name.strip().lower() for names in lists for name in names.split(",")]
    return [name for name in names if name not in ("", "identity")]


class Body:
    """The body of an answer as its server meant it."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        """answer: of a session that decompresses nothing.

        Raises:
            UnreadableError: another coding than gzip or deflate, or more than one.
        """
        codings = applied(answer.headers)
        if len(codings) > 1 or not READABLE.issuperset(codings):
            raise UnreadableError(", ".join(codings))
        self._content = answer.content
        self._inflate = Inflate() if codings else None

    async def readany(self) -> bytes:
        """Return some of its bytes as soon as there are any; b"" at its end.

        Raises:
            aiohttp.ClientError: it broke off, or is not what its header says.
        """
        if self._inflate is None:
            return await self._content.readany()
        while True:
            if piece := self._inflate.piece():
                return piece
            chunk = await self._content.readany()
            if not chunk:
                return b""
            self._inflate.add(chunk)

    async def read(self, most: int) -> bytes:
        """Return the first `most` bytes of it."""
        text = b""
        while len(text) < most and (chunk := await self.readany()):
            text += chunk
        return text[:most]


class Inflate:
    """Undoes gzip and deflate, piece by piece. Pure."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._waiting = b""  # compressed
        self._more = False  # of what has been taken in already

    def add(self, chunk: bytes) -> None:
        """Take in compressed bytes; `piece` has given all of those before."""
        self._waiting = chunk

    def piece(self) -> bytes:
        """Return at most PIECE_BYTES; b"" if more compressed bytes are needed first.

        Raises:
            aiohttp.ClientPayloadError: what was taken in is neither gzip nor deflate.
        """
        while self._waiting or self._more:
            if self._stream is None:
                self._stream = zlib.decompressobj(_window(self._waiting[0]))
            try:
                piece = self._stream.decompress(self._waiting, PIECE_BYTES)
            except zlib.error as error:
                raise aiohttp.ClientPayloadError(
                    f"the response cannot be decompressed: {error}"
                ) from error
            self._waiting = self._stream.unconsumed_tail
            self._more = len(piece) == PIECE_BYTES
            if self._stream.eof:  # gzip may have another member (RFC 1952, 2.2)
                self._waiting = self._stream.unused_data
                self._stream = None
                self._more = False
            if piece:
                return piece
        return b""


def _window(first: int) -> int:
    """Return zlib's `wbits`. Some servers send deflate without zlib's header, which a first byte of
    gzip (0x1f) or of zlib (method 8, RFC 1950) tells."""
    return GZIP_OR_ZLIB if first == 0x1F or first & 0x0F == 8 else RAW_DEFLATE
