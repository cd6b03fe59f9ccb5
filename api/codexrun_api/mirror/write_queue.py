"""What the registry has not been told yet, and the one task that tells it.

How a row is written is in core, registry/writes.py.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from codexrun_api import metrics
from codexrun_core.errors import Unavailable
from codexrun_core.logs import fields
from codexrun_core.registry import Registry, SchemaError
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.lifecycle_hooks import Sink, log_transition, publish
from codexrun_core.runs.record import record_of
from codexrun_core.unreadable import one_object

log = logging.getLogger(__name__)

CATCH_UP_SECONDS = 0.5  # that a caller waits for rows
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class Change:
    """Either a run's state, or that it is deleted."""

    run: CodexRun
    deleted: bool = False
    since: float = field(default_factory=time.monotonic)
    written: asyncio.Event = field(default_factory=asyncio.Event)


class RegistryWriter:
    def __init__(self, registry: Registry, sinks: tuple[Sink, ...] = (log_transition,)) -> None:
        self._registry = registry
        self._sinks = sinks
        self._changes: deque[Change] = deque()
        self._latest: dict[tuple[str, int | None, Phase], Change] = {}
        self._has_changes = asyncio.Event()
        self._is_missing: Callable[[str], bool] | None = None

    def listen(self, sink: Sink) -> None:
        """Tell it of every transition from now on, once its row is written."""
        self._sinks = (*self._sinks, sink)

    def changed(self, run: CodexRun) -> None:
        """Take a run's newest state. Within a phase it replaces an older one that still waits;
        phases all stay."""
        key = (run.metadata.uid, run.status.attempt, run.status.phase)
        if pending := self._latest.get(key):
            pending.run = run
            return
        self._latest[key] = change = Change(run)
        self._changes.append(change)
        self._has_changes.set()

    def deleted(self, run: CodexRun, *, witnessed: bool) -> None:
        """Take a deletion. A live run that somebody deleted is over, cancelled by that; if
        nobody saw the deletion, the outcome is unknown."""
        if witnessed and not run.status.phase.terminal:
            status = {
                "phase": Phase.CANCELLED,
                "reason": "Deleted",
                "finished_at": datetime.now(UTC),
            }
            self.changed(run.model_copy(update={"status": run.status.model_copy(update=status)}))
        self._changes.append(Change(run, deleted=True))
        self._has_changes.set()

    def missing(self, is_missing: Callable[[str], bool]) -> None:
        """Mark live rows whose objects are gone."""
        self._is_missing = is_missing
        self._has_changes.set()

    async def caught_up(self, seconds: float = CATCH_UP_SECONDS) -> None:
        """Return when what this process has told to streams by now stands in the registry, or when
        time is up."""
        if self._changes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changes[-1].written.wait()

    @property
    def lag(self) -> float:
        """Return the seconds since the oldest change that is not written."""
        return time.monotonic() - self._changes[0].since if self._changes else 0.0

    async def run(self) -> None:
        """Write until cancelled; a registry that is away is asked again."""
        failures = 0
        while True:
            await self._has_changes.wait()
            try:
                await self.drain()
                failures = 0
            except (Unavailable, SchemaError) as error:
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                log.warning(
                    "registry.away",
                    extra=fields(error=str(error), waiting=len(self._changes), pause=pause),
                )
                await asyncio.sleep(pause)

    async def drain(self) -> None:
        """Write everything that waits.

        Raises:
            Unavailable: the rest stays.
        """
        self._has_changes.clear()
        try:
            while self._changes:
                await self._write(self._changes[0])
            if self._is_missing:
                gone = [
                    run_id for run_id, _ in await self._registry.live() if self._is_missing(run_id)
                ]
                if gone:
                    await self._registry.mark_deleted(gone)
                    log.warning("runs.deleted_unseen", extra=fields(runs=len(gone)))
                self._is_missing = None
        except BaseException:
            self._has_changes.set()
            raise

    async def _write(self, change: Change) -> None:
        run = change.run
        unavailable: Unavailable | None = None
        # A change that can never be written is set aside; the list of the next start brings its run
        # again.
        with one_object("codexrun", run.metadata.name, run.metadata.resource_version):
            try:
                await self._record(change)
            except Unavailable as error:
                unavailable = error
        if unavailable:
            raise unavailable
        key = (run.metadata.uid, run.status.attempt, run.status.phase)
        if change.run is not run:
            return  # replaced while it was being written: once more
        self._changes.popleft()
        change.written.set()
        if not change.deleted:
            self._latest.pop(key, None)

    async def _record(self, change: Change) -> None:
        run = change.run
        with metrics.WRITE_SECONDS.time():
            if change.deleted:
                await self._registry.mark_deleted([run.metadata.uid])
                return
            transition = await self._registry.record(record_of(run))
        if transition:
            publish(transition, self._sinks)
