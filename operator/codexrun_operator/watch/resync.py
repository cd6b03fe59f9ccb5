"""List our own resources once a minute: the truth at the start, and the proof that kopf is not
behind afterwards."""

import asyncio
import logging
import time
from contextlib import AbstractContextManager

from codexrun_core.errors import Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.kube.watch import check_not_restored
from codexrun_core.logs import fields
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import LIVE_RUNS_SELECTOR, Phase
from codexrun_core.times import now
from codexrun_core.unreadable import one_object
from codexrun_operator.decide.expiry import seconds_to_live
from codexrun_operator.decide.run_reader import read_run
from codexrun_operator.watch.cache import Cache, Json
from codexrun_operator.watch.keys import Key, Kind
from codexrun_operator.watch.scheduler import queue_key
from codexrun_operator.watch.store import version_of
from codexrun_operator.watch.workqueue import WorkQueue

log = logging.getLogger(__name__)

RESYNC_SECONDS = 60.0
FIRST_RESYNC_SECONDS = 2.0  # until the first list is complete: nothing is decided before
STORED_AT_ONCE = 500
UNKNOWN_RUN_SECONDS = (
    30.0  # seconds after its creation that a run may be unknown without anybody being blamed
)
EXPIRY_SECONDS = 600.0


class Resync:
    """Lists periodically. `missed` counts the lists that held runs of which kopf had reported
    nothing, since kopf last reported anything."""

    def __init__(self, kube: Kube, cache: Cache, queue: WorkQueue[Key]) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self.missed = 0
        self.turned = time.monotonic()
        self.synced = asyncio.Event()  # job types and runs were listed in full
        self._expiries_read = float("-inf")

    def kopf_reported(self) -> None:
        """Note that kopf reported an event: it is alive."""
        self.missed = 0

    async def sync(self) -> None:
        """List job types and live runs once: the cache is then as the lists are, but for what is
        younger.

        Raises:
            EtcdRestored: nothing that is known can be relied on.
        """
        cache = self._cache
        known = {
            self._kube.job_types: cache.all_job_types.newest,
            self._kube.runs: cache.runs.newest,
        }
        uids: set[str] = set()
        version = 0
        async for page in self._kube.pages(self._kube.job_types):
            version = version_of(page)
            path = self._kube.job_types
            check_not_restored(path, known=known[path], listed=version)
            for item in page["items"]:
                uids.add(item["metadata"]["uid"])
                with _reading("codexjobtype", item):
                    cache.update_job_type(item)
        cache.replace_job_types(uids, version)
        for name in cache.job_types:
            # prices change by a file and by the calendar, and nothing tells
            self._queue.add(Key(Kind.JOB_TYPE, name))
        news: list[CodexRun] = []  # as a rule none: kopf has told of them
        uids = set()
        async for page in self._kube.pages(self._kube.runs, fieldSelector=LIVE_RUNS_SELECTOR):
            version = version_of(page)
            path = self._kube.runs
            check_not_restored(path, known=known[path], listed=version)
            for item in page["items"]:
                uid = item["metadata"]["uid"]
                uids.add(uid)
                if cache.runs.is_news(uid, version_of(item)):
                    with _reading("codexrun", item):
                        news.append(read_run(item))
        # The first list comes before kopf could tell anything.
        unknown = [run for run in news if self.synced.is_set() and self._unknown(run) and _old(run)]
        # In the order of the queue, so that a restart lets nobody jump it.
        for number, run in enumerate(sorted(news, key=queue_key)):
            with one_object("codexrun", run.metadata.name, run.metadata.resource_version):
                cache.store_run(run)
            if number % STORED_AT_ONCE == 0:
                await asyncio.sleep(0)  # lease, health and watches come first
        cache.replace_runs(uids, version)
        cache.drop_ended()
        cache.enqueue_strays()
        self.synced.set()
        if unknown:
            self.missed += 1
            log.warning(
                "resync.missed",
                extra=fields(runs=[run.metadata.name for run in unknown[:5]], times=self.missed),
            )

    def _unknown(self, run: CodexRun) -> bool:
        uid = run.metadata.uid
        return uid not in self._cache.runs and self._cache.runs.is_news(
            uid, int(run.metadata.resource_version or 0)
        )

    async def run(self) -> None:
        """List again and again, until cancelled."""
        while True:
            self.turned = time.monotonic()
            try:
                await self.sync()
                if time.monotonic() - self._expiries_read >= EXPIRY_SECONDS:
                    await self._schedule_expiries()
                    self._expiries_read = time.monotonic()
            except (Unavailable, Refused) as error:
                log.warning("resync.failed", extra=fields(error=str(error)))
            await asyncio.sleep(RESYNC_SECONDS if self.synced.is_set() else FIRST_RESYNC_SECONDS)

    async def _schedule_expiries(self) -> None:
        """Read when each finished run is to be deleted: they have left the watch."""
        for phase in (phase for phase in Phase if phase.terminal):
            async for item in self._kube.list_items(
                self._kube.runs, fieldSelector=f"status.phase={phase}"
            ):
                with _reading("codexrun", item):
                    run = read_run(item)
                    seconds = seconds_to_live(run, now())
                    if seconds is not None and seconds < 2 * EXPIRY_SECONDS:
                        self._queue.add_later(
                            Key(Kind.EXPIRY, run.metadata.name), max(0.0, seconds)
                        )


def _reading(kind: str, item: Json) -> AbstractContextManager[None]:
    """Log an object that cannot be read, which stops none of the others."""
    metadata = item["metadata"]
    return one_object(kind, metadata["name"], metadata.get("resourceVersion", ""))


def _old(run: CodexRun) -> bool:
    created = run.metadata.creation_timestamp
    return created is not None and (now() - created).total_seconds() > UNKNOWN_RUN_SECONDS
