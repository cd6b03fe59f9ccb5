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
        self._head = bytearray()
        self._length = 0

    def feed(self, piece: bytes) -> list[Line]:
        """Return the lines that end in this piece."""
        *ends, tail = piece.split(b"\n")
        lines = []
        for end in ends:
            self._append(end)
            lines.append(self._finish_line())
        self._append(tail)
        return lines

    def last(self) -> Line | None:
        """Return what stands behind the last newline; None if nothing does."""
        return self._finish_line() if self._length else None

    def _append(self, part: bytes) -> None:
        self._head += part[: max(0, self._limit - len(self._head))]
        self._length += len(part)

    def _finish_line(self) -> Line:
        left_out = self._length - len(self._head)
        mark = f"… [{left_out} bytes left out]".encode() if left_out else b""
        line = Line(bytes(self._head) + mark, self._length)
        self._head.clear()
        self._length = 0
        return line
