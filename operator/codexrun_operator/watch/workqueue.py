"""Keyed work: a key is handled by one worker at a time, is queued once however often it is added,
and fails with a pause.

The idea is client-go's workqueue; kopf's on.event handlers are never retried, so a level-triggered
operator brings its own.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from codexrun_core.logs import fields

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 30.0

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Calls `handle(key)` for every key added; first in, first out, but what is urgent first."""

    def __init__(
        self,
        handle: Callable[[K], Awaitable[None]],
        *,
        workers: int,
        is_urgent: Callable[[K], bool] = lambda _: False,
    ) -> None:
        """is_urgent: asked whenever a key is added."""
        self._handle = handle
        self._workers = workers
        self._is_urgent = is_urgent
        self._urgent: dict[K, None] = {}
        self._ready: deque[K] = deque()  # and what has become urgent since
        self._queued: dict[K, float] = {}  # key -> when it was added, monotonic
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._wake = asyncio.Event()

    def add(self, key: K) -> None:
        """Queue a key, once; one that is being handled is handled again afterwards."""
        if key in self._running:
            self._again.add(key)
            return
        if self._is_urgent(key):
            self._urgent[key] = None
        elif key not in self._queued:
            self._ready.append(key)
        self._queued.setdefault(key, time.monotonic())
        self._wake.set()

    def take(self) -> K | None:
        """Take the next key out of the queue; None if it is empty."""
        while self._urgent or self._ready:
            if self._urgent:
                key = next(iter(self._urgent))
                del self._urgent[key]
            else:
                key = self._ready.popleft()
            if self._queued.pop(key, None) is not None:
                return key
        return None

    def add_later(self, key: K, seconds: float) -> None:
        """Add after `seconds`; of several timers of a key the earliest stays."""
        due = time.monotonic() + seconds
        if (timer := self._timers.get(key)) and timer[0] <= due:
            return
        if timer:
            timer[1].cancel()
        handle = asyncio.get_running_loop().call_later(seconds, self._timer_due, key)
        self._timers[key] = (due, handle)

    def _timer_due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def forget(self, key: K) -> None:
        """Drop the key's timer and its failures: nothing is to be done about it any more."""
        if timer := self._timers.pop(key, None):
            timer[1].cancel()
        self._failures.pop(key, None)

    @property
    def depth(self) -> int:
        """Return the number of keys that wait for a worker."""
        return len(self._queued)

    @property
    def oldest_wait(self) -> float:
        """Return the seconds that the longest waiting key has waited for a worker; without end when
        the workers are stuck."""
        return max((time.monotonic() - since for since in self._queued.values()), default=0.0)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._workers):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while not self._queued:
                self._wake.clear()
                await self._wake.wait()
            # A look that had to wait for nothing has not given way to anybody: lease, health and
            # watches come first.
            await asyncio.sleep(0)
            if (key := self.take()) is None:
                continue
            self._running.add(key)
            try:
                await self._handle(key)
                self._failures.pop(key, None)
            except Exception as error:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 12))
                log.warning(
                    "reconcile.failed",
                    extra=fields(
                        key=str(key), error=f"{type(error).__name__}: {error}", pause=pause
                    ),
                    exc_info=None if failures % 5 else error,
                )
                self.add_later(key, pause)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
