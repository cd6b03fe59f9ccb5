"""End what nobody else would ever end: stray and orphaned Jobs, held pods of runs that are over,
finished runs whose time has come."""

import logging

from codexrun_core.errors import Conflict, NotFound
from codexrun_core.kube.client import Kube, object_path
from codexrun_core.logs import fields
from codexrun_core.resources.phases import TERMINAL_PHASES
from codexrun_core.runs.label_keys import RUN_UID_LABEL
from codexrun_core.times import now
from codexrun_core.unreadable import one_object
from codexrun_operator import metrics
from codexrun_operator.act.actions import carry_out
from codexrun_operator.decide.expiry import seconds_to_live
from codexrun_operator.decide.observed import job_from, pod_from
from codexrun_operator.decide.plan import ReleaseEvidence
from codexrun_operator.decide.run_reader import read_run
from codexrun_operator.watch.cache import Cache
from codexrun_operator.watch.keys import Key, Kind
from codexrun_operator.watch.workqueue import WorkQueue

log = logging.getLogger(__name__)


class Cleanup:
    """Looks at objects whose run is over."""

    def __init__(self, kube: Kube, cache: Cache, queue: WorkQueue[Key]) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue

    async def end_stray(self, uid: str) -> None:
        """End a Job or pod that is not over, although its run is.

        However it came to be (a creation that the apiserver carried out late, a Job that somebody
        resumed), the caches may be behind, so that run, Jobs and pods are each read once more.
        """
        name = self._cache.stray(uid)
        if name is not None and await self._is_over(name, uid):
            await self._end_strays(uid)

    async def _is_over(self, name: str, uid: str) -> bool:
        """Return whether the run has ended or was deleted, by the apiserver's own word; a live one
        goes into the cache."""
        try:
            raw = await self._kube.get(object_path(self._kube.runs, name))
        except NotFound:
            return True
        if (
            raw["metadata"]["uid"] != uid
            or (raw.get("status") or {}).get("phase") in TERMINAL_PHASES
        ):
            return True
        with one_object("codexrun", name, raw["metadata"]["resourceVersion"]):
            self._cache.update_run(raw)
        return False

    async def _end_strays(self, uid: str) -> None:
        selector = f"{RUN_UID_LABEL}={uid}"
        job_items = self._kube.list_items(self._kube.jobs, labelSelector=selector)
        pod_items = self._kube.list_items(self._kube.pods, labelSelector=selector)
        all_jobs = [job_from(item) async for item in job_items]
        all_pods = [pod_from(item) async for item in pod_items]
        # Others may label objects of their own with the run that they belong to.
        jobs = [job for job in all_jobs if job.genuine]
        pods = [pod for pod in all_pods if pod.genuine]
        live_pods = [pod for pod in pods if not (pod.deleting or pod.ended)]
        if pods and not live_pods:
            # all have ended: the Job controller is about to say so, and its TTL takes the Job away
            return
        live_jobs = [job for job in jobs if not (job.finished or job.deleting)]
        strays = [(f"{self._kube.jobs}/{job.name}", job.uid) for job in live_jobs]
        strays += [(f"{self._kube.pods}/{pod.name}", pod.uid) for pod in live_pods]
        for path, object_uid in strays:
            try:
                await self._kube.delete(path, uid=object_uid, propagation="Background")
            except (NotFound, Conflict):
                continue
            metrics.STRAYS.inc()
            log.warning("stray.ended", extra=fields(path=path, run_id=uid))

    async def delete_orphan(self, uid: str) -> None:
        """Delete a Job that no run controls (`--cascade=orphan`)."""
        name = self._cache.orphans.get(uid)
        if name is None:
            return
        try:
            await self._kube.delete(f"{self._kube.jobs}/{name}", uid=uid)
        except (NotFound, Conflict):
            return
        log.warning("job.swept", extra=fields(job=name))

    async def release_evidence(self, uid: str) -> None:
        """Let a held pod go whose run was deleted, or has ended."""
        pod = self._cache.pods.get(uid)
        name = self._cache.run_name(uid)
        if pod is None or name is None or pod.gone or not pod.held or uid in self._cache.runs:
            return
        try:
            path = object_path(self._kube.runs, name)
            run = read_run(await self._kube.get(path))
        except NotFound:
            run = None
        if run is None or run.metadata.uid != uid or run.status.phase.terminal:
            await carry_out(self._kube, ReleaseEvidence(pod.name, pod.uid))

    async def delete_expired(self, name: str) -> None:
        """Delete a finished run when its time has come; its TTL may have been changed since."""
        try:
            path = object_path(self._kube.runs, name)
            run = read_run(await self._kube.get(path))
        except NotFound:
            return
        seconds = seconds_to_live(run, now())
        if seconds is None:
            return
        if seconds > 0:
            self._queue.add_later(Key(Kind.EXPIRY, name), seconds)
            return
        try:
            await self._kube.delete(path, uid=run.metadata.uid)
        except (NotFound, Conflict):
            return
        log.info("run.expired", extra=fields(name=name, run_id=run.metadata.uid))
