"""Server-sent events: what every stream of this server has in common."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

CONTENT_TYPE = "text/event-stream"
PING_SECONDS = 15.0  # of silence, after which a comment shows that the stream still stands
RETRY_MILLISECONDS = 1000  # until a client comes back
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

FIRST = format_sse_event(comment="codexrun", retry=RETRY_MILLISECONDS)
PING = format_sse_event(comment="ping")
# This server stops, or the client is too slow: it comes back with the last id that it has.
RECONNECT = format_sse_event(event="reconnect", data_str="{}", retry=RETRY_MILLISECONDS)


def stream_response(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return the answer whose body these events are."""
    return StreamingResponse(events, media_type=CONTENT_TYPE, headers=HEADERS)


async def wait_for_any(*waits: Coroutine[Any, Any, object], seconds: float) -> None:
    """Return when the first of them is done, or when time is up; cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
