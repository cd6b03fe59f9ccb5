"""Where in a log do the last lines begin, or those since a moment? Reads a few blocks, however long
the log is."""

import json
from datetime import datetime

from codexrun_api.archive.archive import Archive

READ_BLOCK_BYTES = 64 * 1024
# bytes in which a line with a time is looked for, at each of the at most 26 halvings of a log
PROBE_BYTES = 1024 * 1024
MAX_PROBE_LINES = 1000
HEAD_BYTES = (
    64  # bytes of a line within which its time stands: {"ts":"2026-01-31T12:00:00.000Z",...
)


def last_lines(archive: Archive, run_id: str, size: int, lines: int) -> int:
    """Return the offset of the last `lines` lines; a last one without its newline counts."""
    if lines == 0:
        return size
    end = size
    remaining = lines
    if size and archive.read(run_id, size - 1, size) == b"\n":
        end = size - 1
    while end > 0:
        start = max(0, end - READ_BLOCK_BYTES)
        block = archive.read(run_id, start, end)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            remaining -= 1
            if remaining == 0:
                return start + at + 1
        end = start
    return 0


def at_or_after(archive: Archive, run_id: str, size: int, moment: datetime) -> int:
    """Return the offset of the first line from that moment on, found by halving: a runner's lines
    are in the order of their times.

    Where no line with a time stands within PROBE_BYTES and MAX_PROBE_LINES, nothing is older: of a
    log that is no runner's more is shown rather than less.
    """
    # Lines that begin before `low` are older; one that begins at `high` is not, or there is none.
    low = 0
    high = size
    while low < high:
        middle = (low + high) // 2
        begin, time = _first_time(archive, run_id, middle, high)
        if time is not None and time < moment:
            low = begin + 1
        else:
            high = middle
    return _line_start(archive, run_id, low, size)


def _first_time(archive: Archive, run_id: str, at: int, limit: int) -> tuple[int, datetime | None]:
    """Return where the first line with a time begins, at or after `at` and before `limit`, and
    its time."""
    start = max(0, at - 1)
    data = archive.read(run_id, start, min(start + PROBE_BYTES, limit + HEAD_BYTES))
    begin = 0 if at == 0 else data.find(b"\n") + 1
    if at and not begin:
        return at, None
    for _ in range(MAX_PROBE_LINES):
        if start + begin >= limit:
            break
        if (time := _time(data[begin : begin + HEAD_BYTES])) is not None:
            return start + begin, time
        end = data.find(b"\n", begin)
        if end < 0:
            break
        begin = end + 1
    return at, None


def _line_start(archive: Archive, run_id: str, at: int, limit: int) -> int:
    """Return where the first line begins that begins at or after `at`; `limit` if none does
    before it."""
    if at == 0:
        return 0
    start = at - 1
    while start < limit:
        block = archive.read(run_id, start, min(limit, start + READ_BLOCK_BYTES))
        newline = block.find(b"\n")
        if newline >= 0:
            return min(limit, start + newline + 1)
        if not block:
            break
        start += len(block)
    return limit


def _time(head: bytes) -> datetime | None:
    if not head.startswith(b'{"ts":"'):
        return None
    try:
        return datetime.fromisoformat(json.loads(b'"' + head[7:].partition(b'"')[0] + b'"'))
    except (ValueError, UnicodeDecodeError):
        return None
