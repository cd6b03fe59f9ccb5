"""Cut a stream of bytes into lines, in linear time and in bounded memory, however long a line
is."""

from typing import NamedTuple

# the runner writes shorter ones; whoever else writes into a log may not
MAX_LINE_BYTES = 256 * 1024


class Line(NamedTuple):
    """`text`: without its newline, cut if it is too long; `length`: bytes of the whole line,
    without its newline."""

    text: bytes
    length: int


class LineCutter:
    """Of a line above `limit` bytes its beginning is kept, with a mark that says how much is left
    out."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._length = 0

    def feed(self, piece: bytes) -> list[Line]:
        """Return the lines that end in this piece."""
        *ends, tail = piece.split(b"\n")
        lines = []
        for end in ends:
            self._keep(end)
            lines.append(self._take())
        self._keep(tail)
        return lines

    def last(self) -> Line | None:
        """Return what stands behind the last newline; None if nothing does."""
        return self._take() if self._length else None

    def _keep(self, part: bytes) -> None:
        self._kept += part[: max(0, self._limit - len(self._kept))]
        self._length += len(part)

    def _take(self) -> Line:
        left_out = self._length - len(self._kept)
        mark = f"… [{left_out} bytes left out]".encode() if left_out else b""
        line = Line(bytes(self._kept) + mark, self._length)
        self._kept.clear()
        self._length = 0
        return line
