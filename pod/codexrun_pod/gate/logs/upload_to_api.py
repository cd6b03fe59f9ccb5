"""Upload from the gate's spool to the api: log by byte offset, artifacts, and what the run has cost
so far.

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
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.logs.ingest_client import Declined, IngestClient, Unavailable
from codexrun_pod.gate.logs.spool import Spool

BATCH_SECONDS = 1.0  # a line waits so long for company, unless CHUNK bytes are there
RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0)  # while the api is away


class Uploader:
    """Uploads one attempt's log, artifacts and account."""

    def __init__(self, ledger: Ledger, spool: Spool, client: IngestClient) -> None:
        """Call `start` inside the event loop."""
        self.ledger = ledger
        self.spool = spool
        self.client = client
        self.stored_bytes: int | None = None  # bytes that the api has; None before it has said so
        self.closed = False  # the api knows that this was all
        self.declined = False
        self._sent_usage: dict[str, Any] | None = None  # the account as the api knows it
        self._log_changed = asyncio.Event()
        self._batch_full = asyncio.Event()
        self._usage_changed = asyncio.Event()
        self._finishing = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Upload until `finish`."""
        self._log_changed.set()
        self._usage_changed.set()
        self.ledger.on_change = self._usage_changed.set
        work = ((self._log_changed, self._upload_log), (self._usage_changed, self._upload_usage))
        self._tasks = [
            asyncio.create_task(self._upload_on_change(news, ship)) for news, ship in work
        ]

    def notify(self) -> None:
        """Note that there is more in the spool."""
        self._log_changed.set()
        if self.spool.closed or self.spool.size - (self.stored_bytes or 0) >= LOG_CHUNK_BYTES:
            self._batch_full.set()

    async def finish(self, seconds: float) -> None:
        """Upload the rest, as the agent is gone, and close the log, or give up after `seconds`."""
        self._finishing = True
        for event in (self._log_changed, self._batch_full, self._usage_changed):
            event.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.publish()

    def publish(self) -> None:
        """Put into the ledger what the termination message says of the log."""
        whole = self.closed and self.spool.closed and self.stored_bytes == self.spool.size
        self.ledger.log_bytes = self.stored_bytes or 0
        self.ledger.log_complete = whole

    async def _upload_on_change(
        self, changed: asyncio.Event, upload: Callable[[], Awaitable[None]]
    ) -> None:
        failures = 0
        while True:
            await changed.wait()
            if changed is self._log_changed and not self._finishing:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BATCH_SECONDS):
                        await self._batch_full.wait()
                self._batch_full.clear()
            last = self._finishing
            changed.clear()
            try:
                await upload()
                failures = 0
            except Declined as error:
                self.declined = True
                self.ledger.log("shipping.declined", reason=str(error))
                return
            except Unavailable as error:
                if failures == 0:
                    self.ledger.log("shipping.paused", reason=str(error))
                changed.set()
                pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
                # 200 gates need not come back at once
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                failures += 1
                continue
            if last:
                return

    async def _upload_log(self) -> None:
        spool = self.spool
        if self.stored_bytes is None:
            stored = await self.client.log(0, b"")
            self.stored_bytes = stored.size
            self.closed = stored.closed
        while self.stored_bytes < spool.size and not self.closed:
            stored = await self.client.log(
                self.stored_bytes, spool.read(self.stored_bytes, LOG_CHUNK_BYTES)
            )
            if stored.size > spool.size:
                raise Declined(
                    f"the REST API has {stored.size} bytes of this log, but the gate has"
                    f" {spool.size}"
                )
            if stored.size == self.stored_bytes:
                raise Unavailable("the REST API has no space for more log data")
            # less than before where the api's disk lost its end: sent again
            self.stored_bytes = stored.size
        if (
            not self.closed
            and (spool.closed or self._finishing)
            and self.stored_bytes == spool.size
        ):
            stored = await self.client.log(
                self.stored_bytes, b"", end="complete" if spool.closed else "cut"
            )
            self.closed = stored.closed
        self.publish()
        for path in spool.waiting():
            try:
                await self.client.artifact(path.name, path)
            except Declined as error:
                self.ledger.log("artifact.declined", artifact=path.name, reason=str(error))
            path.unlink(missing_ok=True)

    async def _upload_usage(self) -> None:
        usage = self.ledger.usage()
        if usage != self._sent_usage and usage["requests"]:
            await self.client.usage(usage)
            self._sent_usage = usage
