"""A log as server-sent events: a line each, its id the offset behind it, so that a reader resumes
at the very byte.

A line above MAX_LINE_BYTES is sent cut, with a mark; the log as text has all of it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from fastapi.sse import format_sse_event

from codexrun_api import metrics
from codexrun_api.archive.archive import Archive
from codexrun_api.archive.notifier import LogNotifier
from codexrun_api.http import sse
from codexrun_core.errors import Unavailable
from codexrun_core.line_cutter import Line, LineCutter
from codexrun_core.runs.record import RunRecord

READ_CHUNK_BYTES = 64 * 1024
BATCH_LINES = 500  # that are sent before others have their turn
POLL_SECONDS = 1.0  # between looks at a run whose log does not grow
CLOSE_SECONDS = 5.0  # so long after a run's end its log may still be closed


def batched(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Divide lines into parts of BATCH_LINES."""
    return (lines[begin : begin + BATCH_LINES] for begin in range(0, len(lines), BATCH_LINES))


async def read_chunks(archive: Archive, run_id: str, start: int, end: int) -> AsyncIterator[bytes]:
    """Read the log from `start` to `end`, or as far as it goes, in pieces of READ_CHUNK_BYTES."""
    offset = start
    while offset < end:
        stop = min(end, offset + READ_CHUNK_BYTES)
        chunk = await asyncio.to_thread(archive.read, run_id, offset, stop)
        if not chunk:
            return
        offset += len(chunk)
        yield chunk


class Follower:
    """One reader of one run's log. stop: set when this process ends."""

    def __init__(
        self,
        archive: Archive,
        notifier: LogNotifier,
        run_id: str,
        find: Callable[[str], Awaitable[RunRecord | None]],
        stop: asyncio.Event,
    ) -> None:
        self._archive = archive
        self._notifier = notifier
        self._run_id = run_id
        self._find = find
        self._stop = stop

    async def events(self, start: int, *, resumed: bool = False) -> AsyncIterator[bytes]:
        """Follow the log from `start` to the run's end."""
        if resumed:
            metrics.RECONNECTS.labels("logs").inc()
        with (
            metrics.STREAMS.labels("logs").track_inprogress(),
            self._notifier.subscribe(self._run_id) as grown,
        ):
            yield sse.FIRST
            loop = asyncio.get_running_loop()
            lines = LineCutter()
            read = start  # offset behind what was read
            sent = start  # offset behind the last whole line
            sent_at = loop.time()
            finished_since: float | None = None
            looked_again = False
            while True:
                grown.clear()
                chunk = await asyncio.to_thread(
                    self._archive.read, self._run_id, read, read + READ_CHUNK_BYTES
                )
                if chunk:
                    read += len(chunk)
                    for batch in batched(lines.feed(chunk)):
                        yield b"".join(self._events_of(batch, sent))
                        sent += sum(line.length + 1 for line in batch)
                        await asyncio.sleep(0)  # a chunk may be thousands of empty lines
                    sent_at = loop.time()
                    finished_since = None
                    looked_again = False
                    if not self._stop.is_set():
                        continue
                if self._stop.is_set():
                    yield sse.RECONNECT
                    return
                run = await self._finished_run()
                if run is not None:
                    if finished_since is None:
                        finished_since = loop.time()
                    if await self._closed() or loop.time() - finished_since >= CLOSE_SECONDS:
                        if not looked_again:  # what came between the last read and this answer
                            looked_again = True
                            continue
                        if last := lines.last():  # without its newline
                            yield b"".join(self._events_of([last], sent, newline=0))
                            sent += last.length
                        yield self._end(run, sent)
                        return
                if loop.time() - sent_at >= sse.PING_SECONDS:
                    sent_at = loop.time()
                    yield sse.PING
                await sse.wait_for_any(grown.wait(), self._stop.wait(), seconds=POLL_SECONDS)

    def _events_of(self, lines: Sequence[Line], offset: int, newline: int = 1) -> list[bytes]:
        events = []
        for line in lines:
            offset += line.length + newline
            text = line.text.decode("utf-8", "replace")
            events.append(format_sse_event(id=str(offset), data_str=text))
        return events

    def _end(self, run: RunRecord, offset: int) -> bytes:
        log = self._archive.log(self._run_id)
        data = {
            "status": run.status,
            "bytes": offset,
            "complete": log.complete,
            "note": log.note or run.log_note,
        }
        return format_sse_event(event="end", id=str(offset), data_str=json.dumps(data))

    async def _finished_run(self) -> RunRecord | None:
        try:
            run = await self._find(self._run_id)
        except Unavailable:  # the log goes on without the registry
            return None
        return run if run is not None and run.terminal else None

    async def _closed(self) -> bool:
        log = await asyncio.to_thread(self._archive.log, self._run_id)
        return log.closed
