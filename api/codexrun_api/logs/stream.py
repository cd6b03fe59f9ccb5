"""A log as server-sent events: a line each, its id the offset behind it, so that a reader resumes
at the very byte.

A line above MAX_LINE_BYTES is sent cut, with a mark; the log as text has all of it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from fastapi.sse import format_sse_event

from codexrun_api import metrics
from codexrun_api.logs.archive import Archive
from codexrun_api.logs.notifier import Bells
from codexrun_core.errors import Unavailable
from codexrun_core.line_cutter import Line, LineCutter
from codexrun_core.runs.record import RunRecord

PIECE = 64 * 1024  # bytes read at once
BATCH = 500  # lines that are sent before others have their turn
PING = 15.0
LOOK = 1.0  # seconds between looks at a run whose log does not grow
LAST_WORDS = 5.0  # so long after a run's end its log may still be closed
RETRY = 1000  # milliseconds until a client comes back
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def batched(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """In parts of BATCH."""
    return (lines[begin : begin + BATCH] for begin in range(0, len(lines), BATCH))


class Follower:
    """One reader of one run's log. stop: set when this process ends."""

    def __init__(
        self,
        archive: Archive,
        bells: Bells,
        run_id: str,
        find: Callable[[str], Awaitable[RunRecord | None]],
        stop: asyncio.Event,
    ) -> None:
        self._archive, self._bells, self._run_id, self._find, self._stop = (
            archive,
            bells,
            run_id,
            find,
            stop,
        )

    async def events(self, start: int, *, resumed: bool = False) -> AsyncIterator[bytes]:
        """From `start` to the run's end."""
        if resumed:
            metrics.RECONNECTS.labels("logs").inc()
        with (
            metrics.STREAMS.labels("logs").track_inprogress(),
            self._bells.heard(self._run_id) as bell,
        ):
            yield format_sse_event(comment="codexrun", retry=RETRY)
            loop = asyncio.get_running_loop()
            at, lines, quiet, over_since, looked_again = (
                start,
                LineCutter(),
                loop.time(),
                0.0,
                False,
            )
            read = start  # offset behind what was read; `at` is behind the last whole line
            while True:
                bell.clear()
                piece = await asyncio.to_thread(
                    self._archive.read, self._run_id, read, read + PIECE
                )
                if piece:
                    read += len(piece)
                    for some in batched(lines.feed(piece)):
                        yield b"".join(self._wire(some, at))
                        at += sum(line.length + 1 for line in some)
                        await asyncio.sleep(0)  # a piece may be thousands of empty lines
                    quiet, over_since, looked_again = loop.time(), 0.0, False
                    if not self._stop.is_set():
                        continue
                if self._stop.is_set():
                    yield format_sse_event(event="reconnect", data_str="{}", retry=RETRY)
                    return
                if (run := await self._over()) is not None:
                    over_since = over_since or loop.time()
                    if await self._closed() or loop.time() - over_since >= LAST_WORDS:
                        if not looked_again:  # what came between the last read and this answer
                            looked_again = True
                            continue
                        if last := lines.last():  # without its end
                            yield b"".join(self._wire([last], at, newline=0))
                            at += last.length
                        yield self._end(run, at)
                        return
                if loop.time() - quiet >= PING:
                    quiet = loop.time()
                    yield format_sse_event(comment="ping")
                await self._something(bell)

    def _wire(self, lines: Sequence[Line], at: int, newline: int = 1) -> list[bytes]:
        events = []
        for line in lines:
            at += line.length + newline
            events.append(
                format_sse_event(id=str(at), data_str=line.text.decode("utf-8", "replace"))
            )
        return events

    def _end(self, run: RunRecord, at: int) -> bytes:
        state = self._archive.log(self._run_id)
        said = {
            "status": run.status,
            "bytes": at,
            "complete": state.complete,
            "note": state.note or run.log_note,
        }
        return format_sse_event(event="end", id=str(at), data_str=json.dumps(said))

    async def _over(self) -> RunRecord | None:
        """The run, if it has ended."""
        try:
            run = await self._find(self._run_id)
        except Unavailable:  # the log goes on without the registry
            return None
        return run if run is not None and run.terminal else None

    async def _closed(self) -> bool:
        """Nothing more can come: its attempt has said so, or there never was one (rejected,
        cancelled in the queue)."""
        log = await asyncio.to_thread(self._archive.log, self._run_id)
        return log.complete is not None or not log.begins

    async def _something(self, bell: asyncio.Event) -> None:
        """Wait for more of the log, the end of this process, or a moment."""
        waits = [asyncio.ensure_future(event.wait()) for event in (bell, self._stop)]
        try:
            await asyncio.wait(waits, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
