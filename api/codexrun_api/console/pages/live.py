"""Events that tell a page that there is something new to ask for. Level-triggered: what a lost
event told is told again by the next one."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from codexrun_api import metrics
from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.templating import Page
from codexrun_api.http import sse
from codexrun_api.services import CurrentServices, Run, Services
from codexrun_core.errors import Unavailable
from codexrun_core.resources.phases import LIVE_STATUSES
from codexrun_core.runs.record import RunRecord

router = APIRouter(route_class=Page, include_in_schema=False)

REFRESH_PAUSE_SECONDS = 1.0  # between two events
POLL_SECONDS = 2.0  # between looks at a live run's usage, which no event tells
REFRESH_SECONDS = 5.0  # between events of a list in which something runs
LISTEN_SECONDS = 30.0  # after a run's end until its page stops listening


@router.get("/console/live")
async def live(services: CurrentServices, _: CurrentVisitor) -> StreamingResponse:
    """For lists: `refresh` when a run has changed, and now and then while one is active."""
    return sse.stream_response(_list(services))


@router.get("/console/runs/{id}/live")
async def run_live(services: CurrentServices, _: CurrentVisitor, record: Run) -> StreamingResponse:
    """For one run: `refresh` when it has changed, `log` with the size when its log has grown,
    `codex` the same but now and then only, `ended` at its end. The pace is kept here: a page's
    own timers go when a part of it is swapped."""
    return sse.stream_response(_run(services, record.run_id))


async def _list(services: Services) -> AsyncIterator[bytes]:
    events = services.event_buffer
    with metrics.STREAMS.labels("events").track_inprogress():
        yield format_sse_event(event="refresh", data_str="{}", retry=sse.RETRY_MILLISECONDS)
        loop = asyncio.get_running_loop()
        position = events.end
        sent_at = loop.time()
        while not services.stop.is_set():
            changed = events.end > position
            phases = (run.status.phase.lower() for run in services.mirror.runs.values())
            active = any(phase in LIVE_STATUSES for phase in phases)
            if changed or (active and loop.time() - sent_at >= REFRESH_SECONDS):
                position = events.end
                sent_at = loop.time()
                yield format_sse_event(event="refresh", data_str="{}")
            elif loop.time() - sent_at >= sse.PING_SECONDS:
                sent_at = loop.time()
                yield sse.PING
            await asyncio.sleep(REFRESH_PAUSE_SECONDS if changed else 0)
            await sse.wait_for_any(
                events.wait_for_events(position), services.stop.wait(), seconds=REFRESH_SECONDS
            )
        yield sse.RECONNECT


async def _run(services: Services, run_id: str) -> AsyncIterator[bytes]:
    archive = services.archive
    events = services.event_buffer
    with (
        metrics.STREAMS.labels("logs").track_inprogress(),
        services.notifier.subscribe(run_id) as grown,
    ):
        yield sse.FIRST
        loop = asyncio.get_running_loop()
        state: object = None
        size = -1
        position = events.end
        sent_at = loop.time()
        finished_since: float | None = None
        codex_size = -1  # the size that the last `codex` was about
        codex_at = 0.0
        while not services.stop.is_set():
            grown.clear()
            record = await _find(services, run_id)
            new_size = await asyncio.to_thread(archive.size, run_id)
            if new_size != size:
                size = new_size
                sent_at = loop.time()
                yield format_sse_event(event="log", data_str=str(size))
            if size != codex_size and loop.time() - codex_at >= POLL_SECONDS:
                codex_size = size
                codex_at = loop.time()
                yield format_sse_event(event="codex", data_str="{}")
            if record and (new_state := _state(services, record)) != state:
                state = new_state
                sent_at = loop.time()
                yield format_sse_event(event="refresh", data_str="{}")
            if record is None or record.terminal or record.status == "deleted":
                if finished_since is None:
                    finished_since = loop.time()
                log = await asyncio.to_thread(archive.log, run_id)
                if log.closed or loop.time() - finished_since >= LISTEN_SECONDS:
                    yield format_sse_event(event="ended", data_str="{}")
                    return
            if loop.time() - sent_at >= sse.PING_SECONDS:
                sent_at = loop.time()
                yield sse.PING
            await asyncio.sleep(REFRESH_PAUSE_SECONDS / 4)  # many small pieces are one event
            await sse.wait_for_any(
                grown.wait(),
                events.wait_for_events(position),
                services.stop.wait(),
                seconds=POLL_SECONDS,
            )
            position = events.end
        yield sse.RECONNECT


def _state(services: Services, record: RunRecord) -> object:
    position = services.queue_position(record.run_id)
    return (
        record.status,
        record.attempt,
        record.reason,
        record.cost_tokens,
        record.resource_version,
        position and position.position,
    )


async def _find(services: Services, run_id: str) -> RunRecord | None:
    try:
        return await services.find(run_id)
    except Unavailable:
        return None
