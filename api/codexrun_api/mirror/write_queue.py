"""What the registry has not been told yet, and the one task that tells it.

How a row is written is in core, registry/writes.py. What follows a transition (its line of log, the
end of its run's log) follows the recorded one, not the answer to its write: the answer may be lost,
and this process may end in between. A follower is told once more where it was told and that could
not be noted, with the same event id.
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
from codexrun_api.mirror.comparison import Comparison
from codexrun_core.errors import Unavailable
from codexrun_core.logs import fields
from codexrun_core.registry import Registry
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.lifecycle_hooks import Sink, log_transition, publish
from codexrun_core.runs.record import record_of
from codexrun_core.unreadable import one_object

log = logging.getLogger(__name__)

CATCH_UP_SECONDS = 0.5  # that a caller waits for rows
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
MAX_FOLLOWED = 100  # transitions that are followed at once


@dataclass
class Change:
    """Either a run's state, or, without one, that its object is gone."""

    run_id: str
    run: CodexRun | None = None
    since: float = field(default_factory=time.monotonic)
    written: asyncio.Event = field(default_factory=asyncio.Event)


class RegistryWriter:
    def __init__(self, registry: Registry, sinks: tuple[Sink, ...] = (log_transition,)) -> None:
        self._registry = registry
        self._sinks = sinks
        self._changes: deque[Change] = deque()
        self._latest: dict[tuple[str, int | None, Phase], Change] = {}
        self._has_changes = asyncio.Event()
        self._begin: Callable[[], Comparison] | None = None
        self._comparison: Comparison | None = None
        self._away_since: float | None = None

    def listen(self, sink: Sink) -> None:
        """Tell it of every transition from now on, once it is recorded."""
        self._sinks = (*self._sinks, sink)

    def changed(self, run: CodexRun) -> None:
        """Take a run's newest state. Within a phase it replaces an older one that still waits;
        phases all stay."""
        key = (run.metadata.uid, run.status.attempt, run.status.phase)
        if pending := self._latest.get(key):
            pending.run = run
            return
        self._latest[key] = change = Change(run.metadata.uid, run)
        self._append(change)

    def deleted(self, run: CodexRun, *, witnessed: bool) -> None:
        """Take a deletion. A live run that somebody deleted is over, cancelled by that; if
        nobody saw the deletion, the outcome is unknown."""
        if witnessed and not run.status.phase.terminal:
            status = {
                "phase": Phase.CANCELLED,
                "reason": "Deleted",
                "finished_at": datetime.now(UTC),
            }
            run = run.model_copy(update={"status": run.status.model_copy(update=status)})
        if witnessed:
            self.changed(run)  # its end may have been told by nothing else
        self.gone(run.metadata.uid)

    def gone(self, run_id: str) -> None:
        """Take that the object of a run is gone."""
        self._append(Change(run_id))

    def _append(self, change: Change) -> None:
        self._changes.append(change)
        self._has_changes.set()

    def compare(self, begin: Callable[[], Comparison]) -> None:
        """Hold registry and cluster against each other, now and each time that the registry was
        away."""
        self._begin = begin
        self._comparison = begin()
        self._has_changes.set()

    async def caught_up(self, seconds: float = CATCH_UP_SECONDS) -> None:
        """Return when what this process has told to streams by now stands in the registry, or when
        time is up."""
        if self._changes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changes[-1].written.wait()

    @property
    def away(self) -> bool:
        """Return whether the registry did not take the last write, or none yet."""
        return self._away_since is not None

    @property
    def lag(self) -> float:
        """Return the seconds since the oldest change that is not written, or since the registry is
        away."""
        now = time.monotonic()
        since = (
            self._changes[0].since if self._changes else None,
            self._comparison.since if self._comparison else None,
            self._away_since,
        )
        return now - min((moment for moment in since if moment is not None), default=now)

    async def run(self) -> None:
        """Write until cancelled, once the registry has this version's schema; one that is away is
        asked again."""
        self._away_since = time.monotonic()
        await self._registry.migrated.wait()
        self._has_changes.set()  # an earlier process may have left transitions that nobody followed
        failures = 0
        while True:
            await self._has_changes.wait()
            try:
                await self.drain()
                failures = 0
            except Unavailable as error:
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                failures += 1
                self._away_since = self._away_since or time.monotonic()
                if self._begin:
                    self._comparison = self._begin()
                log.warning(
                    "registry.away",
                    extra=fields(error=str(error), waiting=len(self._changes), pause=pause),
                )
                await asyncio.sleep(pause)

    async def drain(self) -> None:
        """Write everything that waits, and follow it. What comes meanwhile does not wait for the
        whole of a comparison.

        Raises:
            Unavailable: the rest stays.
        """
        self._has_changes.clear()
        try:
            while True:
                for _ in range(min(len(self._changes), MAX_FOLLOWED)):
                    await self._write_change(self._changes[0])
                await self._follow()
                if self._changes:
                    continue
                self._away_since = None
                if self._comparison is None:
                    return
                if not await self._comparison.step():
                    self._comparison = None
        except BaseException:
            self._has_changes.set()
            raise

    async def _follow(self) -> None:
        """Tell the sinks of what is recorded, and then note that."""
        more = True
        while more:
            transitions = await self._registry.pending_transitions(MAX_FOLLOWED)
            for transition in transitions:
                publish(transition, self._sinks)
            if transitions:
                await self._registry.settle_transitions([move.event_id for move in transitions])
            more = len(transitions) == MAX_FOLLOWED

    async def _write_change(self, change: Change) -> None:
        run = change.run
        if run is None:
            with metrics.WRITE_SECONDS.time():
                await self._registry.mark_deleted([change.run_id])
        else:
            await self.write(run)
            if change.run is not run:
                return  # replaced while it was being written: once more
            self._latest.pop((change.run_id, run.status.attempt, run.status.phase), None)
        self._changes.popleft()
        change.written.set()

    async def write(self, run: CodexRun) -> None:
        """Record a run. One that can never be recorded is passed over; the next comparison brings
        it again.

        Raises:
            Unavailable: try again.
        """
        unavailable: Unavailable | None = None
        with (
            one_object("codexrun", run.metadata.name, run.metadata.resource_version),
            metrics.WRITE_SECONDS.time(),
        ):
            try:
                await self._registry.record(record_of(run))
            except Unavailable as error:
                unavailable = error
        if unavailable:
            raise unavailable
