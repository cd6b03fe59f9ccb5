"""Where does line n of a log begin? Newlines are counted block by block, once; a log only grows."""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator

from codexrun_api.archive import Archive

BLOCK = 256 * 1024
LONGEST = 16 * 1024  # bytes of a line that are shown
KEPT = 64  # logs


class LineIndex:
    """One log's. Lines are numbered from 1; the last one may not be whole yet."""

    def __init__(self, archive: Archive, run_id: str) -> None:
        self._archive, self._run_id = archive, run_id
        self._before = [0]  # newlines before each block
        self._lock = threading.Lock()

    def lines(self, size: int) -> int:
        """How many there are in the first `size` bytes."""
        if size == 0:
            return 0
        self._extend(size)
        block = size // BLOCK
        rest = self._archive.read(self._run_id, block * BLOCK, size) if size % BLOCK else b""
        ends = self._before[block] + rest.count(b"\n")
        return ends if self._archive.read(self._run_id, size - 1, size) == b"\n" else ends + 1

    def offset(self, line: int, size: int) -> int:
        """Where it begins; `size` if there is no such line."""
        if line <= 1:
            return 0
        self._extend(size)
        wanted = line - 1  # the newline that it follows
        block = max(0, bisect_left(self._before, wanted) - 1)
        left = wanted - self._before[block]
        data = self._archive.read(self._run_id, block * BLOCK, min(size, (block + 1) * BLOCK))
        at = -1
        for _ in range(left):
            at = data.find(b"\n", at + 1)
            if at < 0:
                return size
        return block * BLOCK + at + 1

    def line_at(self, offset: int, size: int) -> int:
        """The line that this byte is in."""
        self._extend(size)
        block = min(offset, size) // BLOCK
        return self._before[block] + self._archive.read(self._run_id, block * BLOCK, min(offset, size)).count(b"\n") + 1

    def read(self, first: int, count: int, size: int) -> Iterator[tuple[int, int, bytes, int]]:
        """Number, offset, content and whole length of so many lines; the content of a very long one is cut."""
        at, number = self.offset(first, size), first
        while number < first + count and at < size:
            data = self._archive.read(self._run_id, at, min(size, at + BLOCK))
            begin = 0
            while number < first + count and (end := data.find(b"\n", begin)) >= 0:
                yield number, at + begin, data[begin : min(end, begin + LONGEST)], end - begin
                begin, number = end + 1, number + 1
            if number >= first + count:
                return
            if begin:
                at += begin
                continue
            # No newline in a whole block, or the last line: where does it end?
            end = self.offset(number + 1, size)
            whole = end - at - (1 if end < size or self._archive.read(self._run_id, size - 1, size) == b"\n" else 0)
            yield number, at, self._archive.read(self._run_id, at, at + min(LONGEST, whole)), whole
            at, number = end, number + 1

    def _extend(self, size: int) -> None:
        with self._lock:
            while len(self._before) * BLOCK <= size:
                start = (len(self._before) - 1) * BLOCK
                block = self._archive.read(self._run_id, start, start + BLOCK)
                if len(block) < BLOCK:
                    return  # a size that was never true
                self._before.append(self._before[-1] + block.count(b"\n"))


class LineIndexes:
    """Those of the logs that were looked at last."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._kept: OrderedDict[str, LineIndex] = OrderedDict()

    def of(self, run_id: str) -> LineIndex:
        index = self._kept.pop(run_id, None) or LineIndex(self._archive, run_id)
        self._kept[run_id] = index
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return index


def matches(archive: Archive, run_id: str, index: LineIndex, needle: bytes, *, size: int, most: int) -> tuple[list[int], bool]:
    """Numbers of the lines that hold the text (ASCII without its case), and whether there are more."""
    wanted, found, at = needle.lower(), list[int](), 0
    overlap = len(wanted) - 1
    while at < size:
        data = archive.read(run_id, at, min(size, at + 4 * BLOCK)).lower()
        if not data:
            break
        begin, counted, number = 0, 0, 0
        while (hit := data.find(wanted, begin)) >= 0:
            number = (number or index.line_at(at, size)) + data.count(b"\n", counted, hit)
            counted = hit
            if not found or found[-1] < number:
                if len(found) == most:
                    return found, True
                found.append(number)
            end = data.find(b"\n", hit)
            begin = end if end >= 0 else len(data)
        at += len(data) if at + len(data) >= size else max(1, len(data) - overlap)
    return found, False
