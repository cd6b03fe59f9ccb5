"""Which lines of a log hold a text, or match a pattern? By RE2: in linear time whatever the
pattern, and bounded in all."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import re2

from codexrun_api.archive.archive import Archive
from codexrun_api.archive.line_index import LineIndex
from codexrun_api.console.view.formats import count, plural

MAX_LINES = 1000  # lines
MAX_MARKS = 10  # matches of a line that are marked
MAX_SECONDS = 3.0
READ_CHUNK_BYTES = 1024 * 1024  # bytes read at once
# bytes between two looks at the clock: the worst pattern that MEMORY allows takes less than a
# second for them
STEP_BYTES = 64 * 1024
MAX_PATTERN_BYTES = 1024 * 1024  # bytes of a pattern's program and automaton


class BadPattern(ValueError):
    """It is none of RE2's; the message says why."""


@dataclass
class SearchResult:
    """`texts` are what matched in each of the lines; `stopped` is the line at which time was
    over."""

    lines: list[int] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    more: bool = False
    stopped: int | None = None
    error: str = ""

    @property
    def said(self) -> str:
        if self.error:
            return self.error
        text = (
            f"{count(len(self.lines))}+ matching lines"
            if self.more
            else plural(len(self.lines), "matching line")
        )
        return (
            f"{text}; the search stopped after {MAX_SECONDS:g} s, at line {count(self.stopped)}"
            if self.stopped
            else text
        )


def search(
    archive: Archive, run_id: str, query: str, *, regexp: bool, seconds: float = MAX_SECONDS
) -> SearchResult:
    """Search a log without regard to case. A line is searched as it is stored, as JSON: a quote
    in it stands there with its backslash."""
    result = SearchResult()
    try:
        pattern = _compile(query, regexp=regexp)
    except BadPattern as error:
        result.error = str(error)
        return result
    size = archive.size(run_id)
    index = LineIndex(archive, run_id)
    at = 0
    line = 1
    ends = time.monotonic() + seconds
    while at < size:
        data = _whole_lines(
            archive.read(run_id, at, min(size, at + READ_CHUNK_BYTES)),
            last=at + READ_CHUNK_BYTES >= size,
        )
        if not data:
            break
        counted = begin = 0
        while begin < len(data):
            if time.monotonic() > ends:
                result.stopped = line + data.count(b"\n", counted, begin)
                return result
            end = _step(data, begin)
            hit = pattern.search(data, begin, end)
            if hit is None or hit.start() == end:  # nothing at the very end is no line of its own
                begin = end
                continue
            line += data.count(b"\n", counted, hit.start())
            counted = hit.start()
            after = data.find(b"\n", hit.end(), end)
            stop = after if after >= 0 else end
            if not result.lines or result.lines[-1] != line:
                if len(result.lines) == MAX_LINES:
                    result.more = True
                    return result
                result.lines.append(line)
                result.texts.append(_distinct_texts(pattern.finditer(data, hit.start(), stop)))
            begin = stop + 1
        at += len(data)
        line = index.line_at(at, size)
    return result


def _compile(query: str, *, regexp: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    options.never_nl = True
    options.max_mem = MAX_PATTERN_BYTES
    text = query if regexp else re2.escape(json.dumps(query, ensure_ascii=False)[1:-1])
    try:
        return re2.compile(b"(?m)" + text.encode("utf-8", "replace"), options=options)
    except re2.error as error:
        reason = (
            error.args[0].decode()
            if error.args and isinstance(error.args[0], bytes)
            else str(error)
        )
        raise BadPattern(f"not a valid RE2 pattern: {reason}") from None


def _whole_lines(data: bytes, *, last: bool) -> bytes:
    """Return the data up to the last newline, if there is one: a match does not go beyond its
    line."""
    end = data.rfind(b"\n") + 1
    return data if last or not end else data[:end]


def _step(data: bytes, begin: int) -> int:
    """Return the offset about STEP_BYTES further, at the end of a line if there is one."""
    if begin + STEP_BYTES >= len(data):
        return len(data)
    return (data.rfind(b"\n", begin, begin + STEP_BYTES) + 1) or begin + STEP_BYTES


def _distinct_texts(hits: Iterable[Any]) -> list[str]:
    """Return the first matches as the page shows them, each once."""
    return list(
        dict.fromkeys(text for hit in islice(hits, MAX_MARKS) if (text := _unquote(hit.group())))
    )


def _unquote(matched: bytes) -> str:
    text = matched[:400].decode("utf-8", "replace")
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text
