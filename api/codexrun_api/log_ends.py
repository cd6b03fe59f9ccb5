"""A log whose pod died before the rest could be shipped says so, in its last line and in its row."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from codexrun_api.archive import Archive, Superseded
from codexrun_api.bells import Bells
from codexrun_core.hooks import Transition
from codexrun_core.kube.client import Unavailable
from codexrun_core.logs import fields

log = logging.getLogger(__name__)

GATE_SECONDS = 20.0  # so long after the agent's end a gate may still ship
PAUSE = 5.0  # while the registry is away

OnLog = Callable[[str, str, int, bool | None, str | None], Awaitable[object]]


class LogEnds:
    """Told of transitions; ends what is still open when a gate has had its time. Call it inside the event loop."""

    def __init__(self, archive: Archive, on_log: OnLog, bells: Bells, wait: float = GATE_SECONDS) -> None:
        self._archive, self._on_log, self._bells, self._wait = archive, on_log, bells, wait
        self.tasks: set[asyncio.Task[None]] = set()

    def __call__(self, moved: Transition) -> None:
        if moved.terminal:
            task = asyncio.get_running_loop().create_task(self._end(moved))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _end(self, moved: Transition) -> None:
        archive, run_id = self._archive, moved.run_id
        if await asyncio.to_thread(archive.open_attempt, run_id) is None:
            return
        await asyncio.sleep(self._wait)
        attempt = await asyncio.to_thread(archive.open_attempt, run_id)
        if attempt is None:
            return
        why = moved.failure_class or moved.reason or moved.status
        note = f"the pod was gone ({why}) before the rest of its log could be shipped"
        try:
            line = cut_line(run_id, attempt, note)
            await asyncio.to_thread(archive.seal, run_id, attempt, complete=False, note=note, last=line)
        except (Superseded, OSError) as error:
            log.warning("log.not_ended", extra=fields(run_id=run_id, error=str(error)))
            return
        self._bells.ring(run_id)
        log.warning("log.cut_off", extra=fields(run_id=run_id, attempt=attempt, reason=note))
        while True:
            try:
                state = archive.log(run_id)
                await self._on_log(run_id, archive.path(run_id), archive.size(run_id), state.complete, state.note)
                return
            except Unavailable:
                await asyncio.sleep(PAUSE)


def cut_line(run_id: str, attempt: int, reason: str) -> bytes:
    """The archive's own last line of a log that has none of its runner's."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said = {"ts": now, "src": "api", "text": "log.cut_off", "run_id": run_id, "attempt": attempt, "reason": reason}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"
