"""From the gate's spool to the api: log by byte offset, artifacts, and what the run has cost so
far.

Two tasks, so that a long log does not hold up the account. An api that is away is tried again; what
is left behind at the end is said in the termination message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from codexrun_core.pod_contract import LOG_CHUNK_BYTES
from codexrun_pod.gate.budget.ledger import Ledger
from codexrun_pod.gate.logs.ingest_client import Away, Declined, Receiver
from codexrun_pod.gate.logs.spool import Spool

BATCH_SECONDS = 1.0  # a line waits so long for company, unless CHUNK bytes are there
PAUSES = (0.1, 0.3, 1.0, 2.0)  # while the api is away


class Shipping:
    """Of one attempt."""

    def __init__(self, ledger: Ledger, spool: Spool, receiver: Receiver) -> None:
        """Call `start` inside the event loop."""
        self.ledger, self.spool, self.receiver = ledger, spool, receiver
        self.kept: int | None = None  # bytes that the api has; None before it has said so
        self.sealed = False  # the api knows that this was all
        self.declined = False
        self._told: dict[str, Any] | None = None  # the account as the api knows it
        self._log_news, self._hurry, self._usage_news = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Event(),
        )
        self._last_chance = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Ship until `finish`."""
        self._log_news.set()
        self._usage_news.set()
        self.ledger.settled = self._usage_news.set
        work = ((self._log_news, self._ship_log), (self._usage_news, self._ship_usage))
        self._tasks = [asyncio.create_task(self._keep_shipping(news, ship)) for news, ship in work]

    def news(self) -> None:
        """There is more in the spool."""
        self._log_news.set()
        if self.spool.ended or self.spool.size - (self.kept or 0) >= LOG_CHUNK_BYTES:
            self._hurry.set()

    async def finish(self, seconds: float) -> None:
        """The agent is gone: ship the rest, tell the api that this was all, or give up after so
        many seconds."""
        self._last_chance = True
        for event in (self._log_news, self._hurry, self._usage_news):
            event.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.say()

    def say(self) -> None:
        """For the termination message."""
        whole = self.sealed and self.spool.ended and self.kept == self.spool.size
        self.ledger.log_bytes, self.ledger.log_complete = self.kept or 0, whole

    async def _keep_shipping(
        self, news: asyncio.Event, ship: Callable[[], Awaitable[None]]
    ) -> None:
        failures = 0
        while True:
            await news.wait()
            if news is self._log_news and not self._last_chance:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BATCH_SECONDS):
                        await self._hurry.wait()
                self._hurry.clear()
            last = self._last_chance
            news.clear()
            try:
                await ship()
                failures = 0
            except Declined as error:
                self.declined = True
                self.ledger.log("shipping.declined", reason=str(error))
                return
            except Away as error:
                if failures == 0:
                    self.ledger.log("shipping.paused", reason=str(error))
                news.set()
                pause = PAUSES[min(failures, len(PAUSES) - 1)]
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - 200 gates need not come back at once
                failures += 1
                continue
            if last:
                return

    async def _ship_log(self) -> None:
        spool = self.spool
        if self.kept is None:
            said = await self.receiver.log(0, b"")
            self.kept, self.sealed = said.size, said.ended
        while self.kept < spool.size and not self.sealed:
            said = await self.receiver.log(self.kept, spool.read(self.kept, LOG_CHUNK_BYTES))
            if said.size > spool.size:
                raise Declined(f"the api has {said.size} bytes of this log, the gate {spool.size}")
            if said.size == self.kept:
                raise Away("the api has no room for more")
            self.kept = said.size  # less than before where the api's disk lost its end: sent again
        if not self.sealed and (spool.ended or self._last_chance) and self.kept == spool.size:
            said = await self.receiver.log(self.kept, b"", end="complete" if spool.ended else "cut")
            self.sealed = said.ended
        self.say()
        for path in spool.waiting():
            try:
                await self.receiver.artifact(path.name, path)
            except Declined as error:
                self.ledger.log("artifact.declined", artifact=path.name, reason=str(error))
            path.unlink(missing_ok=True)

    async def _ship_usage(self) -> None:
        now = self.ledger.usage()
        if now != self._told and now["requests"]:
            await self.receiver.usage(now)
            self._told = now
