"""One look at one object: see, plan, act, write the status once, tell. All state is in `State`, all decisions in `plan`."""

import dataclasses
import logging
import time
from datetime import timedelta

from codexrun_core.lifecycle import Phase
from codexrun_core.logs import fields
from codexrun_core.resources import CodexRun, JobTypeStatus, RunStatus
from codexrun_operator import execute, metrics, report
from codexrun_operator.admission import may_start
from codexrun_operator.jobs import build_job, job_name
from codexrun_operator.jobtypes import job_type_status
from codexrun_operator.kube import Conflict, Kube, NotFound, Refused
from codexrun_operator.plan import CreateJob, Seen, plan, wants_slot
from codexrun_operator.seen import Event
from codexrun_operator.settings import PodSettings
from codexrun_operator.state import State, place
from codexrun_operator.status import moved, same
from codexrun_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

WARNINGS_AFTER = timedelta(seconds=5)  # a younger Job is merely starting
REFUSED_PAUSE = 30.0


class Reconciler:
    def __init__(self, kube: Kube, settings: PodSettings, *, workers: int) -> None:
        self.kube, self.settings = kube, settings
        self.queue = WorkQueue(self.reconcile, workers=workers)
        self.state = State(changed=self.queue.add)

    async def reconcile(self, key: str) -> None:
        """Look at one key: a run's uid, "jobtype/<name>", "orphan/<Job uid>" or "expire/<run name>"."""
        started = time.monotonic()
        kind, _, name = key.rpartition("/")
        look = {"": self._run, "jobtype": self._job_type, "orphan": self._orphan, "expire": self._expire}[kind]
        try:
            await look(name)
        except Exception:
            metrics.RECONCILES.labels("error").inc()
            raise
        metrics.RECONCILES.labels("ok").inc()
        metrics.RECONCILE_SECONDS.observe(time.monotonic() - started)

    # -- runs ------------------------------------------------------------------------------------

    async def _run(self, uid: str) -> None:
        state = self.state
        if (creating := state.creating.get(uid)) and not creating.confirmed:
            await self._send_job(uid)
        seen = state.view(uid)
        if seen is None:
            return
        if wants_slot(seen):
            assert seen.job_type is not None
            waiting = state.waiting[seen.run.spec.job_type].values()
            admitted = may_start(place(seen.run), list(waiting), state.slots(seen.job_type))
            seen = dataclasses.replace(seen, admitted=admitted)
        elif _needs_warnings(seen):
            seen = dataclasses.replace(seen, warnings=await self._warnings(seen))
        now = execute.now()
        decision = plan(seen, now)
        if decision.waiting:
            state.wait(seen.run)
        else:
            state.waiting[seen.run.spec.job_type].pop(uid, None)
        status = decision.status
        for action in decision.actions:
            if not isinstance(action, CreateJob):
                await execute.act(self.kube, action)
                continue
            assert seen.job_type is not None
            # No await between the admission above and this: that makes the count exact.
            state.reserve(seen.run, build_job(seen.run, seen.job_type, action.accepted, action.attempt, self.settings))
            try:
                await self._send_job(uid)
            except Refused as error:
                status = self._refused(seen.run, error)
        if status is not None and not same(seen.run.status, status):
            await self._write(seen.run, status)
        if decision.look_again is not None:
            self.queue.add_later(uid, decision.look_again)

    async def _send_job(self, uid: str) -> None:
        """Create the reserved Job. What is not known to have failed keeps its slot, and is sent again.

        Raises:
            Refused: it surely does not exist; the slot is given back.
            Unavailable: unknown.
        """
        creating = self.state.creating[uid]
        if uid not in self.state.runs:
            # Its run was deleted meanwhile: only find out whether the Job came to be (then it is garbage-collected).
            try:
                await self.kube.get(f"{self.kube.jobs}/{creating.body['metadata']['name']}")
            except NotFound:
                self.state.give_back(uid)
            return
        try:
            await execute.create_job(self.kube, creating.body)
        except Refused:
            self.state.give_back(uid)
            raise
        creating.confirmed = True

    def _refused(self, run: CodexRun, error: Refused) -> RunStatus:
        """Quota frees itself; everything else about a Job that the apiserver refuses needs a change by people."""
        now = execute.now()
        if "quota" in error.message:
            self.queue.add_later(run.metadata.uid, REFUSED_PAUSE)
            return moved(run, Phase.QUEUED, "Quota", f"Waiting: {error.message}", now)
        return moved(run, Phase.REJECTED, "JobRefused", f"The Job was refused: {error.message}", now, finished_at=now)

    async def _write(self, run: CodexRun, status: RunStatus) -> None:
        uid = run.metadata.uid
        try:
            written = await execute.write_status(self.kube, run, status)
        except NotFound:
            self.state.forget(uid)
            return
        except Conflict:
            # Somebody changed the spec. Do not wait for the watch: it may be behind.
            self.state.run_seen(await self.kube.get(f"{self.kube.runs}/{run.metadata.name}"))
            self.queue.add(uid)
            return
        report.transition(run, status)
        event = report.event_for(run, status, execute.now())
        if status.phase.terminal:
            self.state.forget(uid)
            self.queue.forget(uid)
            self.queue.add_later(f"expire/{run.metadata.name}", run.spec.ttl_seconds_after_finished)
        else:
            self.state.run_seen(written)
        if event:
            await report.post_event(self.kube, event)

    async def _warnings(self, seen: Seen) -> tuple[Event, ...]:
        """Kubernetes' warnings about a Job or pod that does not get going, newest last."""
        names = [job_name(seen.run, seen.job.attempt)] if seen.job else []
        names += [seen.pod.name] if seen.pod else []
        found = []
        for name in names:
            async for page in self.kube.pages(self.kube.events, fieldSelector=f"involvedObject.name={name},type=Warning"):
                found += [Event(reason=item["reason"], message=item.get("message", "")) for item in page["items"]]
        return tuple(found)

    # -- the rest --------------------------------------------------------------------------------

    async def _job_type(self, name: str) -> None:
        """Keep the Ready condition of a job type true."""
        job_type = self.state.job_types.get(name)
        if job_type is None:
            return
        prompt = self.state.prompts.get((job_type.spec.prompt.name, job_type.spec.prompt.version))
        status = job_type_status(job_type, prompt, execute.now())
        if _told(status) == _told(job_type.status):
            return
        try:
            patch = {"metadata": {"resourceVersion": job_type.metadata.resource_version}, "status": status.dump()}
            self.state.job_type_seen(await self.kube.merge(f"{self.kube.job_types}/{name}/status", patch))
        except NotFound:
            return
        except Conflict:
            self.queue.add_later(f"jobtype/{name}", 1)

    async def _orphan(self, uid: str) -> None:
        """A Job of ours that no run controls (`--cascade=orphan`): nobody else would ever end it."""
        name = self.state.orphans.get(uid)
        if name is None:
            return
        try:
            await self.kube.delete(f"{self.kube.jobs}/{name}", uid=uid)
        except (NotFound, Conflict):
            return
        log.warning("job.swept", extra=fields(job=name))

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
    """Until a finished run's object is to be deleted; None for one that has not finished."""
    if not run.status.phase.terminal or run.status.finished_at is None:
        return None
    age = (execute.now() - run.status.finished_at).total_seconds()
    return run.spec.ttl_seconds_after_finished - age


def _needs_warnings(seen: Seen) -> bool:
    job = seen.job
    if job is None or job.created is None or seen.phase.rank > Phase.STARTING.rank or job.finished:
        return False
    started = seen.pod is not None and seen.pod.agent.state in ("running", "terminated")
    return not started and execute.now() - job.created > WARNINGS_AFTER


def _told(status: JobTypeStatus) -> list[tuple[str, str, str, str]]:
    return [(c.type, c.status, c.reason, c.message) for c in status.conditions]
