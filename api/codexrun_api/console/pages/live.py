"""Word that a page has something new to ask for. Level-triggered: a bell that is lost rings again
with the next one."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from codexrun_api import metrics
from codexrun_api.console.templating import Page
from codexrun_api.console.view.status_text import ACTIVE
from codexrun_api.console.visitors import CurrentVisitor
from codexrun_api.http import sse
from codexrun_api.services import CurrentServices, Run, Services
from codexrun_core.kube.client import Unavailable
from codexrun_core.registry import RunRecord

router = APIRouter(route_class=Page, include_in_schema=False)

REFRESH_PAUSE_SECONDS = 1.0  # seconds between two bells
POLL_SECONDS = 2.0  # seconds between looks at a live run's usage, which no event tells
REFRESH_SECONDS = 5.0  # seconds between bells of a list in which something runs
LISTEN_SECONDS = 30.0  # seconds after a run's end until its page stops listening


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
    with metrics.STREAMS.labels("events").track_inprogress():
        yield format_sse_event(event="refresh", data_str="{}", retry=sse.RETRY_MILLISECONDS)
        loop = asyncio.get_running_loop()
        position, told = services.event_buffer.end, loop.time()
        while not services.stop.is_set():
            changed = services.event_buffer.end > position
            active = any(
                run.status.phase.lower() in ACTIVE for run in services.mirror.runs.values()
            )
            if changed or (active and loop.time() - told >= REFRESH_SECONDS):
                position, told = services.event_buffer.end, loop.time()
                yield format_sse_event(event="refresh", data_str="{}")
            elif loop.time() - told >= sse.PING_SECONDS:
                told = loop.time()
                yield sse.PING
            await asyncio.sleep(REFRESH_PAUSE_SECONDS if changed else 0)
            await sse.wait_for_any(
                services.event_buffer.wait_for_events(position),
                services.stop.wait(),
                seconds=REFRESH_SECONDS,
            )
        yield sse.RECONNECT


async def _run(services: Services, run_id: str) -> AsyncIterator[bytes]:
    archive = services.archive
    with (
        metrics.STREAMS.labels("logs").track_inprogress(),
        services.notifier.subscribe(run_id) as bell,
    ):
        yield sse.FIRST
        loop = asyncio.get_running_loop()
        state: object = None
        size, position, told, over = -1, services.event_buffer.end, loop.time(), 0.0
        drawn, drawn_at = -1, 0.0  # the size that the last `codex` was about
        while not services.stop.is_set():
            bell.clear()
            record, now_size = (
                await _find(services, run_id),
                await asyncio.to_thread(archive.size, run_id),
            )
            if now_size != size:
                size, told = now_size, loop.time()
                yield format_sse_event(event="log", data_str=str(size))
            if size != drawn and loop.time() - drawn_at >= POLL_SECONDS:
                drawn, drawn_at = size, loop.time()
                yield format_sse_event(event="codex", data_str="{}")
            if record and (now_state := _state(services, record)) != state:
                state, told = now_state, loop.time()
                yield format_sse_event(event="refresh", data_str="{}")
            if record is None or record.final or record.status == "deleted":
                over = over or loop.time()
                if (
                    loop.time() - over >= LISTEN_SECONDS
                    or (await asyncio.to_thread(archive.log, run_id)).closed
                ):
                    yield format_sse_event(event="ended", data_str="{}")
                    return
            if loop.time() - told >= sse.PING_SECONDS:
                told = loop.time()
                yield sse.PING
            await asyncio.sleep(REFRESH_PAUSE_SECONDS / 4)  # many small pieces are one bell
            await sse.wait_for_any(
                bell.wait(),
                services.event_buffer.wait_for_events(position),
                services.stop.wait(),
                seconds=POLL_SECONDS,
            )
            position = services.event_buffer.end
        yield sse.RECONNECT


def _state(services: Services, record: RunRecord) -> object:
    position = services.queue(record.run_id)
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
