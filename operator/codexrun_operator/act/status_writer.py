"""Write a run's status, once per reconcile, and do what follows from a status that stands: log,
metrics, Event, and what the cache keeps of the run."""

from codexrun_core.errors import Conflict, NotFound, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.resources import CodexJobType, CodexRun, JobTypeStatus, RunStatus
from codexrun_core.times import now
from codexrun_operator.act import events
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.decide.expiry import seconds_to_live
from codexrun_operator.decide.run_reader import fields_kept, read_run
from codexrun_operator.decide.status import only_message_differs, same_content
from codexrun_operator.watch.cache import Cache, Json
from codexrun_operator.watch.keys import Key, Kind, run_key
from codexrun_operator.watch.store import version_of
from codexrun_operator.watch.workqueue import WorkQueue

CONFLICT_SECONDS = 1.0  # until the next try, where reading the run again has brought nothing


class StatusWriter:
    """Writes statuses, and remembers the writes whose answer was lost."""

    def __init__(
        self, kube: Kube, cache: Cache, queue: WorkQueue[Key], run_metrics: RunMetrics
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._run_metrics = run_metrics
        self._unanswered: dict[str, tuple[CodexRun, RunStatus]] = {}  # by uid

    async def write(self, run: CodexRun, status: RunStatus) -> None:
        """Write the status of `run`, which is as it was read; a run that has changed since is read
        again. Where only messages have changed, it is written when that is due (`MessagePace`).

        Raises:
            Unavailable: unknown; `settle` finds out.
        """
        uid = run.metadata.uid
        if only_message_differs(run.status, status):
            seconds = self._cache.message_pace.wait(uid, run.status, self._cache.clock())
            if seconds:
                self._queue.add_later(run_key(uid), seconds)
                return
        try:
            written = await write_status(self._kube, run, status)
        except NotFound:
            self._cache.forget(uid)
            return
        except Conflict:
            # Somebody changed the spec. Do not wait for the watch: it may be behind.
            await self.read_again(run)
            known = self._cache.runs.get(uid)
            if known and known.metadata.resource_version == run.metadata.resource_version:
                # No later state than the one that was refused: etcd was restored, which the next
                # list tells.
                self._queue.add_later(run_key(uid), CONFLICT_SECONDS)
            else:
                self._queue.add(run_key(uid))
            return
        except Unavailable:
            self._unanswered[uid] = run, status
            raise
        await self._publish(run, status, written)

    async def settle(self, uid: str) -> None:
        """Find out what became of a write whose answer was lost: if it has arrived, it is published
        like any other."""
        if uid not in self._unanswered:
            return
        run, status = self._unanswered[uid]
        try:
            raw = await self._kube.get(f"{self._kube.runs}/{run.metadata.name}")
        except NotFound:
            del self._unanswered[uid]
            return
        del self._unanswered[uid]
        if raw["metadata"]["uid"] == uid and same_content(read_run(raw).status, status):
            await self._publish(run, status, raw)

    async def read_again(self, run: CodexRun) -> None:
        """Read from the apiserver itself a run that the watch may be wrong about."""
        try:
            raw = await self._kube.get(f"{self._kube.runs}/{run.metadata.name}")
        except NotFound:
            self._cache.forget(run.metadata.uid)
            return
        if raw["metadata"]["uid"] != run.metadata.uid:
            self._cache.forget(run.metadata.uid)  # deleted; this is another one of its name
        self._cache.update_run(raw)

    async def _publish(self, run: CodexRun, status: RunStatus, written: Json) -> None:
        """Log and count a status that stands, post its Event, and keep the cache true."""
        uid = run.metadata.uid
        events.record_move(run, status, self._run_metrics)
        event = events.event_for(run, status, now())
        if status.phase.terminal:
            self._cache.forget(uid, version_of(written))
            self._queue.forget(run_key(uid))
            seconds = seconds_to_live(run.model_copy(update={"status": status}), now())
            if seconds is None:
                seconds = run.spec.ttl_seconds_after_finished
            self._queue.add_later(Key(Kind.EXPIRY, run.metadata.name), seconds)
        else:
            message_only = only_message_differs(run.status, status)
            now_seconds = self._cache.clock()
            self._cache.update_run(written)
            if uid in self._cache.runs:  # else it was deleted meanwhile
                self._cache.message_pace.record(uid, status, now_seconds, message_only=message_only)
        if event:
            await events.post_event(self._kube, event)


async def write_status(
    kube: Kube, resource: CodexRun | CodexJobType, status: RunStatus | JobTypeStatus
) -> Json:
    """Replace the status, and return the object as the apiserver has it now.

    What is stored is then what was decided: a merge patch would remove a key whose value in an
    agent's output is null, and leaves keys that it does not name.

    Raises:
        Conflict: it has changed since it was read.
        NotFound: it was deleted.
        Unavailable: try again.
    """
    folder = kube.runs if isinstance(resource, CodexRun) else kube.job_types
    metadata = resource.metadata
    # The rest of the object is the apiserver's to fill in: a status subresource takes no more.
    body = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": metadata.name,
            "namespace": kube.namespace,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        },
        "status": {**fields_kept(resource), **status.dump()},
    }
    return await kube.replace(f"{folder}/{metadata.name}/status", body)
