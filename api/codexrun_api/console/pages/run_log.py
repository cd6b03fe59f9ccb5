"""The log in pieces: windows of lines, the next match, the whole, and the bell that says that there
is more.

A line's number is its identity. What streams is never a line, only word that there are more: a page
asks for those after the last one it has, so that a stream that is cut loses and doubles nothing.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from codexrun_api.archive.archive import Archive
from codexrun_api.archive.line_index import MAX_LINE_BYTES, LineIndex
from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.templating import Page, off_loop, page
from codexrun_api.console.view.log_lines import (
    MAX_LINE_CHARACTERS,
    MAX_WHOLE_LINE_BYTES,
    Line,
    read_line,
)
from codexrun_api.console.view.log_search import SearchResult, search
from codexrun_api.logs.stream import read_chunks
from codexrun_api.services import CurrentServices, Run, Services

router = APIRouter(route_class=Page, include_in_schema=False)

MAX_QUERY_CHARACTERS = 200  # characters that are searched for
DEFAULT_LINES = 500  # lines
WINDOW_LINES = 250  # of a page that is opened
NO_WINDOW: dict[str, Any] = {
    **dict.fromkeys(("wanted", "previous_hit", "next_hit", "earlier_line", "later_line")),
    **dict.fromkeys(("total", "first", "last"), 0),
    **dict.fromkeys(("at_end", "raw", "regexp"), False),
    "lines": [],
    "found": SearchResult(),
    "q": "",
}


@router.get("/console/runs/{id}/log/lines")
async def lines(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    services: CurrentServices,
    _: CurrentVisitor,
    run: Run,
    first: Annotated[int, Query(alias="from", ge=1, le=2**40)] = 1,
    count: Annotated[int, Query(ge=1, le=1000)] = DEFAULT_LINES,
    raw: bool = False,
    whole: bool = False,
) -> Response:
    """So many lines from that one on, as HTML; a header says how many the log has. whole: the first
    of them alone, up to MAX_WHOLE_LINE_BYTES."""
    if whole:
        count = 1
    lines, total = await off_loop(
        partial(_lines, services.archive, run.run_id, first, count, raw=raw, whole=whole)
    )
    answer = page(request, "log_lines.html", lines=lines, run=run)
    answer.headers["X-Log-Lines"] = str(total)
    return answer


@router.get("/console/runs/{id}/log/matches")
async def matches(
    services: CurrentServices,
    _: CurrentVisitor,
    run: Run,
    q: Annotated[str, Query(min_length=1, max_length=MAX_QUERY_CHARACTERS)],
    regexp: bool = False,
) -> Response:
    """Numbers of the lines that hold the text, what matched in them, and a word about both."""
    result = await search_log(services, run.run_id, q, regexp=regexp)
    return JSONResponse(
        {
            "lines": result.lines,
            "texts": result.texts,
            "said": result.said,
            "error": bool(result.error),
        }
    )


@router.get("/console/runs/{id}/log/raw")
async def raw(
    services: CurrentServices, _: CurrentVisitor, run: Run, download: bool = False
) -> Response:
    """All of it, byte for byte."""
    archive = services.archive
    size = await asyncio.to_thread(archive.size, run.run_id)

    headers = {"Content-Length": str(size)}
    if download:
        headers["Content-Disposition"] = f'attachment; filename="{run.name}.jsonl"'
    return StreamingResponse(
        read_chunks(archive, run.run_id, 0, size),
        200,
        headers,
        media_type="text/plain; charset=utf-8",
    )


async def search_log(services: Services, run_id: str, q: str, *, regexp: bool) -> SearchResult:
    """Search the log outside the event loop."""
    call = partial(search, services.archive, run_id, q, regexp=regexp)
    return await asyncio.get_running_loop().run_in_executor(services.searchers, call)


async def window(services: Services, run_id: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of the log that a URL asks for: around a line, around the next match, or
    its end."""
    q = query.get("q", "")[:MAX_QUERY_CHARACTERS]
    regexp = query.get("regexp") == "1"
    line = _number(query.get("line", ""))
    result = await search_log(services, run_id, q, regexp=regexp) if q else SearchResult()
    if line is None and result.lines:
        line = result.lines[0]
    search_context = {"q": q, "regexp": regexp, "found": result}
    return search_context | await off_loop(
        partial(_window, services.archive, run_id, line, result.lines, raw=query.get("raw") == "1")
    )


def _window(
    archive: Archive, run_id: str, wanted_line: int | None, hits: list[int], *, raw: bool
) -> dict[str, Any]:
    total = LineIndex(archive, run_id).lines(archive.size(run_id))
    count = WINDOW_LINES
    first = (
        max(1, total - count + 1) if wanted_line is None else max(1, min(wanted_line - 100, total))
    )
    lines, _ = _lines(archive, run_id, first, count, raw=raw)
    last = lines[-1].number if lines else 0
    return {
        "lines": lines,
        "total": total,
        "first": first,
        "last": last,
        "wanted": wanted_line,
        "at_end": wanted_line is None,
        "raw": raw,
        "previous_hit": next((n for n in reversed(hits) if wanted_line and n < wanted_line), None),
        "next_hit": next((n for n in hits if wanted_line and n > wanted_line), None),
        "earlier_line": max(1, first - count + 100) if first > 1 else None,
        "later_line": last + 101 if last < total else None,
    }


def _lines(
    archive: Archive, run_id: str, first: int, count: int, *, raw: bool, whole: bool = False
) -> tuple[list[Line], int]:
    size = archive.size(run_id)
    index = LineIndex(archive, run_id)
    total = index.lines(size)
    max_bytes = MAX_WHOLE_LINE_BYTES if whole else MAX_LINE_BYTES
    max_characters = MAX_WHOLE_LINE_BYTES if whole else MAX_LINE_CHARACTERS
    raw_lines = index.read(first, min(count, max(0, total - first + 1)), size, max_bytes=max_bytes)
    return [
        read_line(number, data, length, json_form=raw, max_characters=max_characters)
        for number, _, data, length in raw_lines
    ], total


def _number(text: str) -> int | None:
    return (
        int(text)
        if text.isascii() and text.isdecimal() and 0 < len(text) < 13 and int(text) > 0
        else None
    )
