"""Create a run's Job: reserve its slot, send it, and find out what became of a creation whose
answer was lost."""

import logging
from typing import Any

from codexrun_core.errors import NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.logs import fields
from codexrun_core.refusals import without_name
from codexrun_core.resources import CodexRun
from codexrun_core.runs.label_keys import job_name
from codexrun_core.unreadable import one_object
from codexrun_operator import metrics
from codexrun_operator.act.actions import create_job
from codexrun_operator.decide.plan import CreateJob, Snapshot
from codexrun_operator.job.job import build_job, labels
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.cache import Cache
from codexrun_operator.watch.keys import Key, run_key
from codexrun_operator.watch.ledger import Creation
from codexrun_operator.watch.workqueue import WorkQueue

log = logging.getLogger(__name__)

Json = dict[str, Any]

CHECK_SECONDS = 2.0  # between looks for a Job; it shows on the watch within milliseconds
PATIENT_CHECKS = 5  # so often the watch is waited for, before the apiserver is asked


class JobCreator:
    """Carries out CreateJob."""

    def __init__(
        self, kube: Kube, cache: Cache, queue: WorkQueue[Key], settings: PodSettings
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._settings = settings

    async def create(self, snapshot: Snapshot, action: CreateJob) -> bool:
        """Reserve the slot, and create the Job; False if the apiserver refuses it.

        Raises:
            Unavailable: unknown. It keeps its slot, and is sent again.
        """
        run = snapshot.run
        job_type = snapshot.job_type
        assert job_type is not None
        body = build_job(run, job_type, action.accepted, action.attempt, self._settings)
        self._cache.scheduler.reserve(run, body)
        return await self._send(run.metadata.uid)

    async def settle(self, uid: str) -> None:
        """Send an unconfirmed creation again, if its run may still start, or find out what became
        of it.

        A Job may come and go between two lists of a broken watch, and its run may be deleted before
        the creation is known to have worked. Both would hold the slot for ever; a consistent read
        knows.
        """
        creation = self._cache.ledger.creations.get(uid)
        if creation is None:
            return
        run = self._cache.runs.get(uid)
        stopping = run is not None and (
            run.spec.cancel is not None or run.metadata.deletion_timestamp is not None
        )
        if run is not None and not creation.confirmed:
            job_type = self._cache.job_types.get(creation.job_type)
            if not stopping and job_type is not None and not job_type.spec.suspended:
                await self._send(uid)
            elif await self._exists(creation):
                self._cache.confirm_creation(uid)
            else:
                # Should it still arrive, it is its run's; or a stray, where that is over.
                self._cache.release_slot(uid)
            return
        creation.checks += 1
        if run is not None and not stopping and creation.checks < PATIENT_CHECKS:
            return
        if not await self._exists(creation):
            if creation.confirmed:
                self._cache.lose_job(uid)
                self._queue.add(run_key(uid))
            else:
                self._cache.release_slot(uid)
            return
        self._queue.add_later(run_key(uid), CHECK_SECONDS)

    async def find(self, run: CodexRun) -> None:
        """Ask for the Job of a run by its name, and follow it: no list shows one whose labels were
        taken away."""
        uid = run.metadata.uid
        attempt = run.status.attempt or 1
        metadata = {
            "name": job_name(run.metadata.name, uid, attempt),
            "labels": labels(run, attempt),
        }
        creation = Creation(run.spec.job_type, {"metadata": metadata}, confirmed=True)
        if not await self._exists(creation):
            return
        job = self._cache.jobs.get(uid)
        if job is not None and job.holds_slot and uid not in self._cache.ledger.creations:
            self._cache.ledger.creations[uid] = creation
            self._queue.add_later(run_key(uid), CHECK_SECONDS)

    async def _send(self, uid: str) -> bool:
        """Create the reserved Job; False if the apiserver refuses it, whatever for: its run waits
        on.

        Raises:
            Unavailable: unknown. It keeps its slot, and is sent again.
        """
        creation = self._cache.ledger.creations[uid]
        try:
            await create_job(self._kube, creation.body)
        except Unavailable:
            self._cache.doubt_creation(uid)
            raise
        except Refused as error:
            if creation.doubtful and await self._exists(creation):
                # The lost answer was a success; quota, for one, is asked before the name.
                self._cache.confirm_creation(uid)
                return True
            job = creation.body["metadata"]["name"]
            log.warning(
                "job.refused", extra=fields(job=job, reason=error.cause, error=error.message)
            )
            metrics.REFUSALS.labels(creation.job_type, error.cause).inc()
            self._cache.refuse_creation(uid, error.cause, without_name(error.message))
            return False
        self._cache.confirm_creation(uid)
        return True

    async def _exists(self, creation: Creation) -> bool:
        """Ask the apiserver for the Job; one that is there goes into the cache, as no watch may
        ever show it (a webhook that rewrites labels)."""
        name = creation.body["metadata"]["name"]
        try:
            raw = await self._kube.get(f"{self._kube.jobs}/{name}")
        except NotFound:
            return False
        with one_object("job", name, raw["metadata"].get("resourceVersion", "")):
            self._cache.read_job(with_labels(raw, creation.body["metadata"]["labels"]))
        return True


def with_labels(raw: Json, own: dict[str, str]) -> Json:
    """Return a Job or pod with the labels that codexrun gave it, whoever has taken them away."""
    metadata = raw["metadata"]
    return {**raw, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **own}}}
