"""One look at one object: see, plan, act, write the status once, tell. All state is in `State`, all
decisions in `plan`."""

import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

from codexrun_core import times
from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.logs import fields
from codexrun_core.prices.file import PriceFile
from codexrun_core.refusals import without_name
from codexrun_core.resources import CodexRun, JobTypeStatus, RunStatus
from codexrun_core.resources.phases import TERMINAL_PHASES, Phase
from codexrun_core.runs.names import MANAGED_BY_CODEXRUN, RUN_UID_LABEL
from codexrun_core.runs.verdict import is_provisional
from codexrun_core.unreadable import one_object
from codexrun_operator import metrics
from codexrun_operator.act import events, execute
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.decide.job_type_status import job_type_status
from codexrun_operator.decide.observed import Event, job_from, pod_from
from codexrun_operator.decide.plan import CreateJob, ReleaseEvidence, Seen, plan, wants_slot
from codexrun_operator.decide.status import same
from codexrun_operator.job.job import build_job, job_name
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.cache import Creating, Json, State, version_of
from codexrun_operator.watch.workqueue import WorkQueue

log = logging.getLogger(__name__)

WARNINGS_AFTER = timedelta(seconds=5)  # a younger Job is merely starting
READY_PAUSE = 2.0  # after a hold: where the next Job is refused too, Ready need not go up and down
LOOK_PAUSE, PATIENT_LOOKS = 2.0, 5  # a Job shows on the watch within milliseconds


class Reconciler:
    def __init__(
        self,
        kube: Kube,
        settings: PodSettings,
        *,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kube, self.settings, self.clock = kube, settings, clock
        self.queue = WorkQueue(self.reconcile, workers=workers)
        self.price_file = PriceFile(settings.prices_file)
        self.state = State(
            changed=self.queue.add,
            clock=clock,
            prices=lambda: self.price_file.on(times.now().date()),
        )
        self.counters = RunMetrics(self.state, kube.namespace)
        self._unsure: dict[
            str, tuple[CodexRun, RunStatus]
        ] = {}  # status writes whose answer was lost, by uid

    async def reconcile(self, key: str) -> None:
        """Look at one key: a run's uid, or what State.changed and Resync say."""
        started = time.monotonic()
        kind, _, name = key.rpartition("/")
        look = {
            "": self._run,
            "again": self._again,
            "jobtype": self._job_type,
            "probe": self._probe,
            "stray": self._stray,
            "orphan": self._orphan,
            "evidence": self._evidence,
            "expire": self._expire,
        }[kind]
        handler, result = kind or "run", "error"
        try:
            await look(name)
            result = "ok"
        finally:
            metrics.RECONCILES.labels(handler, result).inc()
            metrics.RECONCILE_SECONDS.labels(handler).observe(time.monotonic() - started)

    # -- runs ------------------------------------------------------------------------------------

    async def _run(self, uid: str) -> None:
        state = self.state
        if uid in self._unsure:
            await self._settle_write(uid)
        if creating := state.creating.get(uid):
            await self._settle_creation(uid, creating)
        warnings = await self._warnings(uid)
        # Nothing is awaited from here to the reservation of a slot: that makes the count exact.
        seen = state.view(uid)
        if seen is None:
            return
        missing_for = state.missing_for(uid, seen.missing)
        if wants_slot(seen):
            assert seen.job_type is not None
            seen = dataclasses.replace(seen, admitted=state.may_start(seen.run, seen.job_type))
        else:
            seen = dataclasses.replace(seen, missing_for=missing_for, warnings=warnings)
        now = times.now()
        decision = plan(seen, now)
        if decision.waiting:
            state.wait(seen.run)
        elif not decision.starts:
            state.leave(seen.run)
        for action in decision.actions:
            if not isinstance(action, CreateJob):
                await execute.act(self.kube, action)
                continue
            assert seen.job_type is not None
            state.reserve(
                seen.run,
                build_job(seen.run, seen.job_type, action.accepted, action.attempt, self.settings),
            )
            if not await self._send_job(uid):
                self.queue.add(uid)  # it waits; the next look says for what
                return
        if decision.status is not None and not same(seen.run.status, decision.status):
            await self._write(seen.run, decision.status)
        if decision.look_again is not None and uid in state.runs:
            self.queue.add_later(uid, decision.look_again)

    async def _send_job(self, uid: str) -> bool:
        """Create the reserved Job; False if the apiserver refuses it, whatever for: its run waits
        on.

        Raises:
            Unavailable: unknown. It keeps its slot, and is sent again.
        """
        creating = self.state.creating[uid]
        try:
            await execute.create_job(self.kube, creating.body)
        except Unavailable:
            self.state.unknown(uid)
            raise
        except Refused as error:
            if creating.doubtful and await self._exists(creating):
                # The lost answer was a success; quota, for one, is asked before the name.
                self.state.created(uid)
                return True
            job = creating.body["metadata"]["name"]
            log.warning(
                "job.refused", extra=fields(job=job, reason=error.cause, error=error.message)
            )
            metrics.REFUSALS.labels(creating.job_type, error.cause).inc()
            self.state.refused(uid, error.cause, without_name(error.message))
            return False
        self.state.created(uid)
        return True

    async def _exists(self, creating: Creating) -> bool:
        try:
            await self.kube.get(f"{self.kube.jobs}/{creating.body['metadata']['name']}")
        except NotFound:
            return False
        return True

    async def _settle_creation(self, uid: str, creating: Creating) -> None:
        """Send it again, or find out what became of it.

        A Job may come and go between two lists of a broken watch, and its run may be deleted before
        the creation is known to have worked. Both would hold the slot for ever; a consistent read
        knows.
        """
        run = self.state.runs.get(uid)
        if run is not None and not creating.confirmed:
            if run.spec.cancel is None and run.metadata.deletion_timestamp is None:
                await self._send_job(uid)
            elif await self._exists(creating):
                self.state.created(uid)
            else:
                # Should it still arrive, it is ended as a stray.
                self.state.give_back(uid)
            return
        creating.looks += 1
        if uid in self.state.runs and creating.looks < PATIENT_LOOKS:
            return
        if not await self._exists(creating):
            if creating.confirmed and uid in self.state.runs:
                self.state.witnessed.add(uid)
            self.state.give_back(uid)
            return
        self.queue.add_later(uid, LOOK_PAUSE)

    async def _write(self, run: CodexRun, status: RunStatus) -> None:
        uid = run.metadata.uid
        try:
            written = await execute.write_status(self.kube, run, status)
        except NotFound:
            self.state.forget(uid)
            return
        except Conflict:
            # Somebody changed the spec. Do not wait for the watch: it may be behind.
            await self._read_again(run)
            self.queue.add(uid)
            return
        except Unavailable:
            self._unsure[uid] = run, status
            raise
        await self._written(run, status, written)

    async def _settle_write(self, uid: str) -> None:
        """Find out what became of a write whose answer was lost: if it has arrived, it is told like
        any other."""
        run, status = self._unsure[uid]
        try:
            found = await self.kube.get(f"{self.kube.runs}/{run.metadata.name}")
        except NotFound:
            del self._unsure[uid]
            return
        del self._unsure[uid]
        if found["metadata"]["uid"] == uid and same(CodexRun.model_validate(found).status, status):
            await self._written(run, status, found)

    async def _written(self, run: CodexRun, status: RunStatus, written: execute.Json) -> None:
        """What follows from a status that stands: log, metrics, Event, and what this process
        remembers of the run."""
        uid = run.metadata.uid
        events.tell(run, status, self.counters)
        event = events.event_for(run, status, times.now())
        if status.phase.terminal:
            self.state.forget(uid, version_of(written))
            self.queue.forget(uid)
            after = run.model_copy(update={"status": status})
            rest = seconds_to_live(after)
            rest = run.spec.ttl_seconds_after_finished if rest is None else rest
            self.queue.add_later(f"expire/{run.metadata.name}", rest)
        else:
            self.state.run_seen(written)
        if event:
            await events.post_event(self.kube, event)

    async def _again(self, uid: str) -> None:
        """A run that is known here, and was not among the live ones of a list."""
        if run := self.state.runs.get(uid):
            await self._read_again(run)

    async def _read_again(self, run: CodexRun) -> None:
        """What the apiserver itself has of a run that the watch may be wrong about."""
        try:
            raw = await self.kube.get(f"{self.kube.runs}/{run.metadata.name}")
        except NotFound:
            self.state.forget(run.metadata.uid)
            return
        if raw["metadata"]["uid"] != run.metadata.uid:
            self.state.forget(run.metadata.uid)  # deleted; this is another one of its name
        self.state.run_seen(raw)

    async def _warnings(self, uid: str) -> tuple[Event, ...]:
        """Kubernetes' warnings about a run's Job or pod that does not get going, newest last."""
        seen = self.state.view(uid)
        if seen is None or not _needs_warnings(seen):
            return ()
        names = [job_name(seen.run, seen.job.attempt)] if seen.job else []
        names += [seen.pod.name] if seen.pod else []
        found = []
        for name in names:
            async for page in self.kube.pages(
                self.kube.events, fieldSelector=f"involvedObject.name={name},type=Warning"
            ):
                for item in page["items"]:
                    with one_object("event", item["metadata"]["name"]):
                        found.append(
                            Event(
                                reason=item.get("reason") or "", message=item.get("message") or ""
                            )
                        )
        return tuple(found)

    # -- the rest --------------------------------------------------------------------------------

    async def _job_type(self, name: str) -> None:
        """Keep the Ready condition of a job type true."""
        job_type = self.state.job_types.get(name)
        if job_type is None:
            return
        self.counters.expect(job_type)
        prompt = self.state.prompts.get((job_type.spec.prompt.name, job_type.spec.prompt.version))
        hold = self.state.holds.of(name)
        if self.state.holds.tell_waiting(name, self.clock()):
            self.state.look_at_unstarted(name)
        status = job_type_status(job_type, prompt, self.state.prices(), times.now(), hold)
        if _told(status) == _told(job_type.status):
            return
        try:
            patch = {
                "metadata": {"resourceVersion": job_type.metadata.resource_version},
                "status": status.dump(),
            }
            self.state.job_type_seen(
                await self.kube.merge(f"{self.kube.job_types}/{name}/status", patch)
            )
        except NotFound:
            return
        except Conflict:
            self.queue.add_later(f"jobtype/{name}", 1)

    async def _probe(self, name: str) -> None:
        """Let whoever may try next be looked at; once the job type is not held any more, all for
        whom there are slots."""
        state = self.state
        hold = state.holds.of(name)
        if (
            hold
            and hold.due <= self.clock()
            and not state.waiting[name]
            and not state.unanswered(hold.prober)
        ):
            state.holds.lift(name)  # nobody is left to try
        if state.holds.of(name) is None:
            state.serve(name)
            self.queue.add_later(f"jobtype/{name}", READY_PAUSE)
        elif uid := state.next_to_try(name):
            self.queue.add(uid)
        pause = state.holds.next_due(name, self.clock())
        if pause is not None:
            self.queue.add_later(f"probe/{name}", pause)

    async def _stray(self, uid: str) -> None:
        """A Job or pod of ours that is not over, of a run that is: nobody else would ever end it.

        However it came to be (a creation that the apiserver carried out late, a Job that somebody
        resumed), the caches may be behind, so that run, Jobs and pods are each read once more.
        """
        name = self.state.stray(uid)
        if name is not None and await self._is_over(name, uid):
            await self._end_strays(uid)

    async def _is_over(self, name: str, uid: str) -> bool:
        """Whether the run has ended or was deleted, by the apiserver's own word. Of one that has
        not, State is told."""
        try:
            raw = await self.kube.get(f"{self.kube.runs}/{name}")
        except NotFound:
            return True
        if (
            raw["metadata"]["uid"] != uid
            or (raw.get("status") or {}).get("phase") in TERMINAL_PHASES
        ):
            return True
        with one_object("codexrun", name, raw["metadata"]["resourceVersion"]):
            self.state.run_seen(raw)
        return False

    async def _end_strays(self, uid: str) -> None:
        # Both: others may label objects of their own with the run that they belong to.
        selector = f"{MANAGED_BY_CODEXRUN},{RUN_UID_LABEL}={uid}"
        jobs = [job_from(item) async for item in self._items(self.kube.jobs, selector)]
        pods = [pod_from(item) async for item in self._items(self.kube.pods, selector)]
        live = [pod for pod in pods if not (pod.deleting or pod.ended)]
        if pods and not live:
            # all have ended: the Job controller is about to say so, and its TTL takes the Job away
            return
        ended = [
            (f"{self.kube.jobs}/{job.name}", job.uid)
            for job in jobs
            if not (job.finished or job.deleting)
        ]
        ended += [(f"{self.kube.pods}/{pod.name}", pod.uid) for pod in live]
        for path, object_uid in ended:
            try:
                await self.kube.delete(path, uid=object_uid, propagation="Background")
            except (NotFound, Conflict):
                continue
            metrics.STRAYS.inc()
            log.warning("stray.ended", extra=fields(path=path, run_id=uid))

    async def _items(self, path: str, selector: str) -> AsyncIterator[Json]:
        async for page in self.kube.pages(path, labelSelector=selector):
            for item in page["items"]:
                yield item

    async def _orphan(self, uid: str) -> None:
        """A Job of ours that no run controls (`--cascade=orphan`): nobody else would ever end
        it."""
        name = self.state.orphans.get(uid)
        if name is None:
            return
        try:
            await self.kube.delete(f"{self.kube.jobs}/{name}", uid=uid)
        except (NotFound, Conflict):
            return
        log.warning("job.swept", extra=fields(job=name))

    async def _evidence(self, uid: str) -> None:
        """A pod held by our finalizer whose run was deleted, or has ended: nobody else would ever
        let it go."""
        pod = self.state.pods.get(uid)
        if pod is None or pod.gone or not pod.held or uid in self.state.runs:
            return
        try:
            run = CodexRun.model_validate(await self.kube.get(f"{self.kube.runs}/{pod.run}"))
        except NotFound:
            run = None
        if run is None or run.metadata.uid != uid or run.status.phase.terminal:
            await execute.act(self.kube, ReleaseEvidence(pod.name, pod.uid))

    async def _expire(self, name: str) -> None:
        """Delete a finished run when its time has come; its TTL may have been changed since."""
        try:
            run = CodexRun.model_validate(await self.kube.get(f"{self.kube.runs}/{name}"))
        except NotFound:
            return
        rest = seconds_to_live(run)
        if rest is None:
            return
        if rest > 0:
            self.queue.add_later(f"expire/{name}", rest)
            return
        try:
            await self.kube.delete(f"{self.kube.runs}/{name}", uid=run.metadata.uid)
        except (NotFound, Conflict):
            return
        log.info("run.expired", extra=fields(name=name, run_id=run.metadata.uid))


def seconds_to_live(run: CodexRun) -> float | None:
    """Until a finished run's object is to be deleted; None for one that has not finished.

    A refused REST start leaves no object, also when the api that would have deleted it has died.
    """
    if run.status.phase is Phase.REJECTED and is_provisional(run):
        return 0.0
    if not run.status.phase.terminal or run.status.finished_at is None:
        return None
    age = (times.now() - run.status.finished_at).total_seconds()
    return run.spec.ttl_seconds_after_finished - age


def _needs_warnings(seen: Seen) -> bool:
    job = seen.job
    if job is None or job.created is None or seen.phase.rank > Phase.STARTING.rank or job.finished:
        return False
    started = seen.pod is not None and seen.pod.agent.state in ("running", "terminated")
    return not started and times.now() - job.created > WARNINGS_AFTER


def _told(status: JobTypeStatus) -> list[tuple[str, str, str, str]]:
    return [(c.type, c.status, c.reason, c.message) for c in status.conditions]
