"""Look at one object: take a snapshot, plan, act, write the status once. All state is in `Cache`,
all decisions are in `plan`."""

import time
from collections.abc import Awaitable, Callable

from codexrun_core.errors import NotFound
from codexrun_core.kube.client import Kube, object_path
from codexrun_core.prices.file import PriceFile
from codexrun_core.resources import CodexRun
from codexrun_core.runs.label_keys import RUN_UID_LABEL
from codexrun_core.times import now
from codexrun_core.unreadable import one_object
from codexrun_operator import metrics
from codexrun_operator.act.actions import carry_out
from codexrun_operator.act.cleanup import Cleanup
from codexrun_operator.act.job_creation import JobCreator, with_labels
from codexrun_operator.act.job_types import JobTypes
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.act.status_writer import StatusWriter
from codexrun_operator.decide.observed import Pod
from codexrun_operator.decide.plan import CreateJob, DeletePod, StopPod, plan
from codexrun_operator.decide.status import same_content
from codexrun_operator.job.job import labels
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.cache import Cache, Json
from codexrun_operator.watch.keys import Key, Kind, run_key
from codexrun_operator.watch.workqueue import WorkQueue

POD_CHECK_SECONDS = 10.0  # between looks for a pod that no watch shows
MISSED_POD_SECONDS = 1.0  # until the look for one that an action did not find


class Reconciler:
    """Owns cache and queue, and dispatches each key to the one who looks at that kind."""

    def __init__(
        self,
        kube: Kube,
        settings: PodSettings,
        *,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kube = kube
        self.queue = WorkQueue(self.reconcile, workers=workers, is_urgent=self._is_urgent)
        self.price_file = PriceFile(settings.prices_file)
        self.cache = Cache(
            enqueue=self.queue.add,
            clock=clock,
            prices=lambda: self.price_file.on(now().date()),
        )
        self.run_metrics = RunMetrics(self.cache, kube.namespace)
        self._statuses = StatusWriter(kube, self.cache, self.queue, self.run_metrics)
        self._creator = JobCreator(kube, self.cache, self.queue, settings)
        job_types = JobTypes(kube, self.cache, self.queue, self.run_metrics, clock)
        cleanup = Cleanup(kube, self.cache, self.queue)
        self._handlers: dict[Kind, Callable[[str], Awaitable[None]]] = {
            Kind.RUN: self._run,
            Kind.JOB_TYPE: job_types.write_ready,
            Kind.PROBE: job_types.probe,
            Kind.STRAY: cleanup.end_stray,
            Kind.ORPHAN: cleanup.delete_orphan,
            Kind.EVIDENCE: cleanup.release_evidence,
            Kind.EXPIRY: cleanup.delete_expired,
        }

    async def reconcile(self, key: Key) -> None:
        """Look at the object that `key` names."""
        started = time.monotonic()
        result = "error"
        try:
            await self._handlers[key.kind](key.name)
            result = "ok"
        finally:
            metrics.RECONCILES.labels(key.kind, result).inc()
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.monotonic() - started)

    def _is_urgent(self, key: Key) -> bool:
        return self.cache.stop_is_due(key)  # the cache needs the queue first

    async def _run(self, uid: str) -> None:
        cache = self.cache
        await self._statuses.settle(uid)
        await self._creator.settle(uid)
        await self._ask_for_pods(uid)
        if uid in cache.ledger.unproven:
            await self._read_live(uid)
        source = await self._source(uid)
        # Nothing is awaited from a snapshot to the reservation of a slot: that makes the count
        # exact.
        snapshot = cache.snapshot(uid, source)
        if snapshot is None:
            return
        decision = plan(snapshot, now())
        if decision.read_live:
            await self._read_live(uid)
            snapshot = cache.snapshot(uid, source, absence_proven=True)
            if snapshot is None:
                return
            decision = plan(snapshot, now())
        if decision.waiting:
            cache.scheduler.join(snapshot.run)
        elif not decision.starts:
            cache.scheduler.leave(snapshot.run)
        for action in decision.actions:
            if not isinstance(action, CreateJob):
                found = await carry_out(self.kube, action)
                if not found and isinstance(action, StopPod | DeletePod):
                    cache.miss_pod(uid)  # its watch may tell nothing
                    self.queue.add_later(run_key(uid), MISSED_POD_SECONDS)
            elif not await self._creator.create(snapshot, action):
                self.queue.add(run_key(uid))  # it waits; the next look says for what
                return
        if decision.status is not None and not same_content(snapshot.run.status, decision.status):
            await self._statuses.write(snapshot.run, decision.status)
        if decision.look_again is not None and uid in cache.runs:
            self.queue.add_later(run_key(uid), decision.look_again)

    async def _read_live(self, uid: str) -> None:
        """Ask the apiserver for the run's Jobs and pods: what there is goes into the cache, and
        what then is not there does not exist.

        Jobs first: without its Job no pod can come any more.
        """
        await self._read_items(self.kube.jobs, "job", uid, self.cache.update_job)
        run = self.cache.runs.get(uid)
        if run is not None and uid not in self.cache.jobs:
            await self._creator.find(run)
        listed = await self._read_items(self.kube.pods, "pod", uid, self.cache.update_pod)
        known = self.cache.pods.get(uid)
        if known is not None and not known.gone and known.uid not in listed:
            await self._ask_for_pod(known)
        elif run is not None and known is None:
            await self._find_pod(run)
        self.cache.prove_absence(uid)

    async def _ask_for_pods(self, uid: str) -> None:
        """Ask for the run's pods that their watch shows no more; one that is there is asked for
        until it is gone."""
        for pod in self.cache.unwatched_pods(uid):
            await self._ask_for_pod(pod)

    async def _ask_for_pod(self, pod: Pod) -> None:
        raw = await self._get_pod(pod.name)
        if raw is None or raw["metadata"]["uid"] != pod.uid:
            self.cache.pod_gone(pod)
        else:
            self._read_pod(pod.run_uid, raw)

    async def _find_pod(self, run: CodexRun) -> None:
        """Ask for the pod that the run's status names: no list shows one whose labels were taken
        away."""
        name = run.status.pod_name
        raw = await self._get_pod(name) if name else None
        if raw is None:
            return
        self._read_pod(run.metadata.uid, with_labels(raw, labels(run, run.status.attempt or 1)))

    def _read_pod(self, uid: str, raw: Json) -> None:
        """Take a pod that no watch shows, and ask for it again as long as none does."""
        metadata = raw["metadata"]
        with one_object("pod", metadata["name"], metadata.get("resourceVersion", "")):
            self.cache.read_pod(raw)
        if uid in self.cache.unwatched:
            self.queue.add_later(run_key(uid), POD_CHECK_SECONDS)

    async def _get_pod(self, name: str) -> Json | None:
        try:
            return await self.kube.get(object_path(self.kube.pods, name))
        except NotFound:
            return None

    async def _read_items(
        self, path: str, kind: str, uid: str, update: Callable[[Json], None]
    ) -> set[str]:
        """Return the uids of those that are there."""
        uids = set()
        async for item in self.kube.list_items(path, labelSelector=f"{RUN_UID_LABEL}={uid}"):
            uids.add(item["metadata"]["uid"])
            with one_object(kind, item["metadata"]["name"]):
                update(item)
        return uids

    async def _source(self, uid: str) -> CodexRun | None:
        """Read the run that one without a Job resumes; None if it resumes none, or its object is
        gone. The cache keeps no run that has ended.

        Only for a run that is otherwise valid. It has its place in the queue before it is waited
        for here: meanwhile no other passes it.
        """
        run = self.cache.runs.get(uid)
        retry = run.spec.retry_of if run else None
        if retry is None or not retry.resume or retry.uid is None:
            return None
        snapshot = self.cache.snapshot(uid)
        if snapshot is None:
            return None
        decision = plan(snapshot, now())
        if not (decision.waiting or decision.starts):
            return None  # whatever the source is
        self.cache.scheduler.join(snapshot.run)
        try:
            raw = await self.kube.get(object_path(self.kube.runs, retry.name))
        except NotFound:
            return None
        metadata = raw.get("metadata") or {}
        if raw.get("kind") != "CodexRun" or metadata.get("uid") != retry.uid:
            return None  # another run has the name now
        with one_object("codexrun", retry.name, metadata.get("resourceVersion", "")):
            return CodexRun.model_validate(raw)
        return None
