"""GET /runs/{id}/logs: one URL before, during and after the pod's life. Text, in parts if wanted,
or a stream that resumes."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from codexrun_api.archive.archive import Archive
from codexrun_api.archive.tail import at_or_after, last_lines
from codexrun_api.http import sse
from codexrun_api.http.auth import Caller
from codexrun_api.logs.stream import Follower, read_chunks
from codexrun_api.schemas import query_params
from codexrun_api.schemas.problems import Problem, answers
from codexrun_api.services import CurrentServices, Run
from codexrun_core.runs.record import RunRecord
from codexrun_core.times import moment

router = APIRouter(tags=["logs"])

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")

Tail = Annotated[
    int | None, Query(ge=0, le=1_000_000, description="Return only this many lines from the end.")
]
Since = Annotated[
    query_params.Time | None,
    Query(description="Return only lines since this time: an age (10m, 2h) or an RFC 3339 time."),
]
Follow = Annotated[bool, Query(description="The same as `Accept: text/event-stream`.")]
After = Annotated[
    int | None,
    Query(
        ge=0,
        le=2**50,
        description="Number of bytes to skip; the same as Last-Event-ID, for"
        " callers that cannot set headers.",
    ),
]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", max_length=20, description="Resume after the event with this ID."
    ),
]
RangeHeader = Annotated[
    str | None,
    Header(alias="Range", max_length=64, description="`bytes=0-99`, `bytes=100-`, `bytes=-100`"),
]

LOG_RESPONSE = {
    "description": (
        "The log, one JSON object per line. In a stream, each line is an event whose ID is the"
        " offset after the line; `end` is sent at the end of the run, and `reconnect` before the"
        " server stops."
    ),
    "headers": {
        "X-Log-Complete": {"schema": {"type": "string", "enum": ["true", "false", "unknown"]}}
    },
    "content": {"text/plain": {"schema": {"type": "string"}}, sse.CONTENT_TYPE: {}},
}
RANGE_RESPONSE = {
    "description": "The range.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


class Unsatisfiable(Problem):
    """With the header that says how long the log is."""

    def __init__(self, size: int) -> None:
        super().__init__(
            416,
            "range-not-satisfiable",
            f"the requested range is outside the log, which is {size} bytes long",
        )
        self.headers = {"Content-Range": f"bytes */{size}"}


@router.get(
    "/runs/{id}/logs",
    operation_id="getRunLogs",
    response_class=Response,
    responses={
        200: LOG_RESPONSE,
        206: RANGE_RESPONSE,
        **answers(401, 404, 416, 422, 500, 503),
    },
)
async def get_run_logs(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    services: CurrentServices,
    _: Caller,
    run: Run,
    tail: Tail = None,
    since: Since = None,
    after: After = None,
    follow: Follow = False,
    last_id: LastEventId = None,
    range_header: RangeHeader = None,
) -> Response:
    """What the agent's container printed, both live and after the run is gone from the
    cluster."""
    archive = services.archive
    size = await asyncio.to_thread(archive.size, run.run_id)
    start = after or 0
    if last_id is not None and last_id.isascii() and last_id.isdecimal():
        start = int(last_id)
        tail = None  # what was chosen at first lies behind
        since = None
    if since:
        start = max(
            start, await asyncio.to_thread(at_or_after, archive, run.run_id, size, moment(since))
        )
    if tail is not None:
        start = max(start, await asyncio.to_thread(last_lines, archive, run.run_id, size, tail))
    if follow or sse.CONTENT_TYPE in request.headers.get("accept", ""):
        follower = Follower(archive, services.notifier, run.run_id, services.find, services.stop)
        events = follower.events(min(start, size), resumed=last_id is not None)
        return sse.stream_response(events)
    if range_header and not (tail is not None or since or after):
        return _range_response(archive, run, range_header, size)
    return _text_response(archive, run, min(start, size), size)


def _range_response(archive: Archive, run: RunRecord, range_header: str, size: int) -> Response:
    """Answer one range (RFC 9110, 14.2); an invalid one is ignored."""
    match = _RANGE.fullmatch(range_header.strip())
    if match is None or not (match[1] or match[2]):
        return _text_response(archive, run, 0, size)
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]) + 1 if match[2] else size, size)
        if match[2] and int(match[2]) < int(match[1]):
            return _text_response(archive, run, 0, size)
    else:
        start = max(0, size - int(match[2]))
        end = size
    if start >= end:
        raise Unsatisfiable(size)
    return _text_response(archive, run, start, end, size)


def _text_response(
    archive: Archive, run: RunRecord, start: int, end: int, whole_size: int | None = None
) -> StreamingResponse:
    """Answer with the log from start to end. whole_size: the log's size, if this is a range of
    it."""
    log = archive.log(run.run_id)
    complete = {True: "true", False: "false", None: "unknown"}[log.complete]
    headers = {
        "Content-Length": str(end - start),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "X-Log-Complete": complete,
        **(
            {} if whole_size is None else {"Content-Range": f"bytes {start}-{end - 1}/{whole_size}"}
        ),
    }

    return StreamingResponse(
        read_chunks(archive, run.run_id, start, end),
        200 if whole_size is None else 206,
        headers,
        media_type="text/plain; charset=utf-8",
    )
