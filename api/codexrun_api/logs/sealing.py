"""A log whose pod died before the rest could be shipped says so, in its last line and in its row.

What an earlier process did not live to end is ended by the next one: ``catch_up`` at the start,
transitions from then on.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

from codexrun_api import metrics
from codexrun_api.archive.archive import Archive, Superseded
from codexrun_api.archive.notifier import LogNotifier
from codexrun_core.errors import Unavailable
from codexrun_core.logs import fields
from codexrun_core.runs.lifecycle_hooks import Transition
from codexrun_core.runs.record import RunRecord

log = logging.getLogger(__name__)

GATE_SECONDS = 20.0  # so long after the agent's end a gate may still ship
RETRY_SECONDS = 5.0  # while the registry is away, or the volume full

# run_id, path, bytes, complete, note; False: there is no such row
OnLog = Callable[[str, str, int, bool | None, str | None], Awaitable[bool | None]]


class LogSealer:
    """Told of transitions; ends what is still open when a gate has had its time. Call it inside the
    event loop."""

    def __init__(
        self, archive: Archive, on_log: OnLog, notifier: LogNotifier, wait: float = GATE_SECONDS
    ) -> None:
        self._archive = archive
        self._on_log = on_log
        self._notifier = notifier
        self._wait = wait
        self.tasks: dict[str, asyncio.Task[None]] = {}  # by run id

    def __call__(self, transition: Transition) -> None:
        if transition.terminal and transition.run.started_at:
            self._begin(transition.run)

    def catch_up(self, open_logs: Iterable[RunRecord]) -> None:
        """Seal what an earlier process did not. open_logs: runs that have started and ended, and
        whose rows do not say whether the log is complete."""
        for run in open_logs:
            self._begin(run)

    def _begin(self, run: RunRecord) -> None:
        """Seal the log, once: a transition that an earlier process left pending may be of a log
        that is caught up on."""
        if run.run_id in self.tasks:
            return
        task = asyncio.get_running_loop().create_task(self._seal_when_due(run))
        self.tasks[run.run_id] = task
        task.add_done_callback(lambda _: self.tasks.pop(run.run_id))

    async def _seal_when_due(self, run: RunRecord) -> None:
        """Seal the log in the archive first, then note it in the row; also in the row of a log
        that is sealed: the registry may have been away then. Where retention has removed the row
        meanwhile, the log goes too."""
        archive = self._archive
        run_id = run.run_id
        if not await self._is_closed(run_id):
            await asyncio.sleep(self._wait)
        told = False
        while not await self._is_closed(run_id):
            try:
                await self._seal_cut_off(run)
            except Superseded as error:
                log.warning("log.not_ended", extra=fields(run_id=run_id, error=str(error)))
                return
            except OSError as error:
                if not told:
                    log.warning("log.not_ended", extra=fields(run_id=run_id, error=str(error)))
                told = True
                await asyncio.sleep(RETRY_SECONDS)
        log_state = await asyncio.to_thread(archive.log, run_id)
        while True:
            try:
                noted = await self._on_log(
                    run_id,
                    archive.path(run_id),
                    archive.size(run_id),
                    log_state.complete,
                    log_state.note,
                )
                if noted is False:
                    await asyncio.to_thread(archive.remove, run_id)
                return
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)

    async def _is_closed(self, run_id: str) -> bool:
        return (await asyncio.to_thread(self._archive.log, run_id)).complete is not None

    async def _seal_cut_off(self, run: RunRecord) -> None:
        """End the log with a line that says where and why.

        Raises:
            Superseded: a later attempt has begun.
            OSError: the volume is full.
        """
        run_id = run.run_id
        cause = run.failure_class or run.reason or run.status
        attempt = await asyncio.to_thread(self._archive.open_attempt, run_id) or run.attempt or 1
        part = "the rest" if self._archive.size(run_id) else "any"
        note = f"the pod was gone ({cause}) before {part} of its log could be uploaded"
        line = cut_line(run_id, attempt, note)
        await asyncio.to_thread(
            self._archive.seal, run_id, attempt, complete=False, note=note, last=line
        )
        self._notifier.notify(run_id)
        metrics.CUT_OFF.inc()
        log.warning("log.cut_off", extra=fields(run_id=run_id, attempt=attempt, reason=note))


def cut_line(run_id: str, attempt: int, reason: str) -> bytes:
    """Return the archive's own last line of a log that has none of its runner's."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {
        "ts": now,
        "src": "api",
        "text": "log.cut_off",
        "run_id": run_id,
        "attempt": attempt,
        "reason": reason,
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"
