"""GET /events: what happens to runs, as server-sent events that resume where they were cut."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict

from codexrun_api import metrics
from codexrun_api.http.auth import Caller
from codexrun_api.mirror.event_buffer import Event, Lagged
from codexrun_api.schemas import params
from codexrun_api.schemas.problems import answers
from codexrun_api.services import Here, Services

router = APIRouter(tags=["events"])

PING = 15.0
RETRY = 1000  # milliseconds until a client comes back
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

LastId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=64, description="Resume after this event.")
]
After = Annotated[
    str | None, Query(max_length=64, description="The same for callers without headers.")
]


class Only(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    job_type: params.Word | None = None
    run_id: params.Word | None = None
    after: After = None

    def __call__(self, event: Event) -> bool:
        return _in(self.job_type, event.job_type) and _in(self.run_id, event.run_id)


def _in(wanted: str | None, value: str) -> bool:
    return wanted is None or value in wanted.split(",")


@router.get(
    "/events",
    operation_id="streamEvents",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": (
                "`run.phase`, `run.usage`, `run.deleted` with the run as data, without its"
                " `params`; `reconnect` before the server stops."
            ),
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **answers(401, 422, 500, 503),
    },
)
async def stream_events(
    here: Here, _: Caller, only: Annotated[Only, Query()], last: LastId = None
) -> StreamingResponse:
    """Follow all runs, or those of some job types or ids. Without a last id it begins now."""
    stream = _follow(here, only, last or only.after)
    return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)


async def _follow(here: Services, only: Only, last: str | None) -> AsyncIterator[bytes]:
    with metrics.STREAMS.labels("events").track_inprogress():
        yield format_sse_event(comment="codexrun", retry=RETRY)
        position = here.feed.end
        if last:
            metrics.RECONNECTS.labels("events").inc()
            known = here.feed.after(last)
            if known is not None:
                position = known
            elif last.isdecimal():
                for run in here.mirror.changed_since(int(last)):
                    event = here.mirror.event(run, "run.phase")
                    if only(event):
                        yield _wire(event)
        while True:
            try:
                events = here.feed.since(position)
            except Lagged:
                metrics.DROPPED.labels("events").inc()
                yield format_sse_event(event="reconnect", data_str="{}")
                return
            position += len(events)
            for event in events:
                if only(event):
                    yield _wire(event)
            match await something(here, position):
                case "stop":
                    yield format_sse_event(event="reconnect", data_str="{}", retry=RETRY)
                    return
                case "ping":
                    yield format_sse_event(comment="ping")


async def something(here: Services, position: int) -> str:
    """Wait: `event`, `stop` (this process ends), or `ping` (nothing for a while)."""
    more, stop = (
        asyncio.ensure_future(here.feed.more(position)),
        asyncio.ensure_future(here.stop.wait()),
    )
    try:
        await asyncio.wait((more, stop), timeout=PING, return_when=asyncio.FIRST_COMPLETED)
    finally:
        more.cancel()
        stop.cancel()
    return (
        "event"
        if more.done() and not more.cancelled()
        else "stop"
        if here.stop.is_set()
        else "ping"
    )


def _wire(event: Event) -> bytes:
    return format_sse_event(id=event.id, event=event.kind, data_str=event.data)
