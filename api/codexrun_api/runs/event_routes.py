"""GET /events: what happens to runs, as server-sent events that resume where they were cut."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict

from codexrun_api import metrics
from codexrun_api.http import sse
from codexrun_api.http.auth import Caller
from codexrun_api.mirror.event_buffer import Event, Lagged
from codexrun_api.schemas import query_params
from codexrun_api.schemas.problems import answers
from codexrun_api.services import CurrentServices, Services
from codexrun_core.errors import Unavailable

router = APIRouter(tags=["events"])

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", max_length=64, description="Resume after the event with this ID."
    ),
]
After = Annotated[
    str | None,
    Query(max_length=64, description="Same as Last-Event-ID, for callers that cannot set headers."),
]


class EventQuery(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    job_type: query_params.Word | None = None
    run_id: query_params.Word | None = None
    after: After = None

    def __call__(self, event: Event) -> bool:
        return _matches(self.job_type, event.job_type) and _matches(self.run_id, event.run_id)


def _matches(names: str | None, value: str) -> bool:
    return names is None or value in names.split(",")


@router.get(
    "/events",
    operation_id="streamEvents",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": (
                "The events `run.phase`, `run.usage` and `run.deleted` contain the run without its"
                " `params`; `reconnect` is sent before the server stops."
            ),
            "content": {sse.CONTENT_TYPE: {"schema": {"type": "string"}}},
        },
        **answers(401, 422, 500, 503),
    },
)
async def stream_events(
    services: CurrentServices,
    _: Caller,
    query: Annotated[EventQuery, Query()],
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Follow all runs, or those of some job types or IDs. Without a last ID, it starts now."""
    return sse.stream_response(_follow(services, query, last_event_id or query.after))


async def _follow(
    services: Services, query: EventQuery, last_id: str | None
) -> AsyncIterator[bytes]:
    with metrics.STREAMS.labels("events").track_inprogress():
        yield sse.FIRST
        position = services.event_buffer.end
        if last_id:
            metrics.RECONNECTS.labels("events").inc()
            resumed_position = services.event_buffer.after(last_id)
            if resumed_position is not None:
                position = resumed_position
            elif last_id.isdecimal():
                for run_id in services.mirror.changed_since(int(last_id)):
                    try:
                        run = await services.run_of_id(run_id)
                    except Unavailable:
                        yield sse.RECONNECT
                        return
                    if run and query(event := services.mirror.event(run, "run.phase")):
                        yield _format(event)
        while True:
            try:
                events = services.event_buffer.since(position)
            except Lagged:
                metrics.DROPPED.labels("events").inc()
                yield sse.RECONNECT
                return
            position += len(events)
            for event in events:
                if query(event):
                    yield _format(event)
            await sse.wait_for_any(
                services.event_buffer.wait_for_events(position),
                services.stop.wait(),
                seconds=sse.PING_SECONDS,
            )
            if services.event_buffer.end > position:
                continue
            if services.stop.is_set():
                yield sse.RECONNECT
                return
            yield sse.PING


def _format(event: Event) -> bytes:
    return format_sse_event(id=event.id, event=event.kind, data_str=event.data)
