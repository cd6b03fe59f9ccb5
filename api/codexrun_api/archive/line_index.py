"""Where does line n of a log begin? By the newlines that the archive has counted block by block; a
log only grows."""

from bisect import bisect_left
from collections.abc import Iterator

from codexrun_api.archive import line_counts
from codexrun_api.archive.archive import Archive

MAX_LINE_BYTES = 16 * 1024  # bytes of a line that are shown


class LineIndex:
    """One log's, as long as a request takes. Lines are numbered from 1; the last one may not be
    whole yet."""

    def __init__(self, archive: Archive, run_id: str) -> None:
        self._archive = archive
        self._run_id = run_id
        self._before = [0]  # newlines before each block

    def lines(self, size: int) -> int:
        """Return how many lines there are in the first `size` bytes."""
        if size == 0:
            return 0
        self._extend(size)
        block = size // line_counts.BLOCK_BYTES
        tail = (
            self._archive.read(self._run_id, block * line_counts.BLOCK_BYTES, size)
            if size % line_counts.BLOCK_BYTES
            else b""
        )
        ends = self._before[block] + tail.count(b"\n")
        return ends if self._archive.read(self._run_id, size - 1, size) == b"\n" else ends + 1

    def offset(self, line: int, size: int) -> int:
        """Return where the line begins; `size` if it does not exist."""
        if line <= 1:
            return 0
        self._extend(size)
        newline_number = line - 1  # the newline that it follows
        block = max(0, bisect_left(self._before, newline_number) - 1)
        remaining = newline_number - self._before[block]
        data = self._archive.read(
            self._run_id,
            block * line_counts.BLOCK_BYTES,
            min(size, (block + 1) * line_counts.BLOCK_BYTES),
        )
        at = -1
        for _ in range(remaining):
            at = data.find(b"\n", at + 1)
            if at < 0:
                return size
        return block * line_counts.BLOCK_BYTES + at + 1

    def line_at(self, offset: int, size: int) -> int:
        """Return the line that this byte is in."""
        self._extend(size)
        block = min(offset, size) // line_counts.BLOCK_BYTES
        data = self._archive.read(self._run_id, block * line_counts.BLOCK_BYTES, min(offset, size))
        return self._before[block] + data.count(b"\n") + 1

    def read(
        self, first: int, count: int, size: int, *, max_bytes: int = MAX_LINE_BYTES
    ) -> Iterator[tuple[int, int, bytes, int]]:
        """Read number, offset, content and whole length of `count` lines; the content of one that
        is longer than `max_bytes` is cut there."""
        at = self.offset(first, size)
        number = first
        while number < first + count and at < size:
            data = self._archive.read(self._run_id, at, min(size, at + line_counts.BLOCK_BYTES))
            begin = 0
            while number < first + count and (end := data.find(b"\n", begin)) >= 0:
                yield (
                    number,
                    at + begin,
                    data[begin : min(end, begin + max_bytes)],
                    end - begin,
                )
                begin = end + 1
                number = number + 1
            if number >= first + count:
                return
            if begin:
                at += begin
                continue
            # No newline in a whole block, or the last line: where does it end?
            end = self.offset(number + 1, size)
            whole = (
                end
                - at
                - (
                    1
                    if end < size or self._archive.read(self._run_id, size - 1, size) == b"\n"
                    else 0
                )
            )
            yield (
                number,
                at,
                self._archive.read(self._run_id, at, at + min(max_bytes, whole)),
                whole,
            )
            at = end
            number = number + 1

    def _extend(self, size: int) -> None:
        if len(self._before) * line_counts.BLOCK_BYTES <= size:
            self._before = [0, *self._archive.newlines(self._run_id, size)]
