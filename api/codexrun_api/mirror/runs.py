"""CodexRuns as this process sees them, and as the registry is told of them: one watch for rows,
streams and waiting callers.

The registry may be away as long as it likes: what is not written yet waits in the writer.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from codexrun_api.http.sse import wait_for_any
from codexrun_api.mirror import queue_view
from codexrun_api.mirror.event_buffer import Event, EventBuffer
from codexrun_api.mirror.queue_view import Peer
from codexrun_api.mirror.write_queue import RegistryWriter
from codexrun_api.schemas import responses
from codexrun_core.kube.client import Kube
from codexrun_core.kube.watch import Watcher
from codexrun_core.logs import fields
from codexrun_core.registry import Registry
from codexrun_core.resources import CodexRun
from codexrun_core.runs.verdict import is_provisional
from codexrun_core.schemas.inputs import exceeds_limit
from codexrun_core.unreadable import one_object

log = logging.getLogger(__name__)

Json = dict[str, Any]
MAX_GONE_RUNS = 10_000


class Followed:
    """One run's newest state, for a caller who waits for it to become something."""

    def __init__(self) -> None:
        self.run: CodexRun | None = None
        self.gone = False
        self._changed = asyncio.Event()

    def tell(self, run: CodexRun, *, gone: bool) -> None:
        if (
            self.run
            and self.run.metadata.uid == run.metadata.uid
            and _version(run) < _version(self.run)
        ):
            return
        self.run = run
        self.gone = gone
        self._changed.set()

    async def until(
        self, done: Callable[[CodexRun], bool], uid: str, seconds: float, stop: asyncio.Event
    ) -> None:
        """Return when the run of that uid is `done` or gone, when time is up, or when this process
        stops."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not stop.is_set() and not self._settled(done, uid):
            remaining = deadline - loop.time()
            if remaining <= 0:
                return
            self._changed.clear()
            await wait_for_any(self._changed.wait(), stop.wait(), seconds=remaining)

    def _settled(self, done: Callable[[CodexRun], bool], uid: str) -> bool:
        return (
            self.run is not None and self.run.metadata.uid == uid and (self.gone or done(self.run))
        )


class Mirror:
    def __init__(
        self, kube: Kube, registry: Registry, event_buffer: EventBuffer, external_url: str = ""
    ) -> None:
        self.kube = kube
        self.event_buffer = event_buffer
        self._external_url = external_url
        self.runs: dict[
            str, CodexRun
        ] = {}  # every object there is, by uid; large inputs and those of ended runs are left out
        self.without_inputs: set[str] = set()  # uids of those
        self.names: dict[str, str] = {}  # name -> uid
        self.peers: dict[str, dict[str, Peer]] = defaultdict(dict)  # by job type and uid
        self.writer = RegistryWriter(registry)
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._followed: dict[str, set[Followed]] = defaultdict(set)
        self.watcher = Watcher(kube, kube.runs, self.seen)

    async def run(self) -> None:
        """Watch and write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.watcher.run())
            tasks.create_task(self.writer.run())
            await self.watcher.synced.wait()
            log.info("mirror.synced", extra=fields(runs=len(self.runs)))
            # Rows of runs that ended and were deleted while nobody watched.
            self.writer.missing(lambda uid: uid not in self.runs)

    def find(self, id_or_name: str) -> CodexRun | None:
        """Return the run of that uid or name."""
        return self.runs.get(id_or_name) or self.runs.get(self.names.get(id_or_name, ""))

    @contextlib.asynccontextmanager
    async def follow(self, name: str) -> AsyncIterator[Followed]:
        """Follow the run of that name, from before it exists."""
        followed = Followed()
        self._followed[name].add(followed)
        try:
            yield followed
        finally:
            self._followed[name].discard(followed)
            if not self._followed[name]:
                del self._followed[name]

    def seen(self, raw: Json, gone: bool = False) -> None:
        """Take the newest state of a run, from the watch or from the answer to a write of this
        process."""
        metadata = raw["metadata"]
        with one_object("codexrun", metadata.get("name", ""), metadata.get("resourceVersion", "")):
            metadata.pop("managedFields", None)  # kilobytes a run that nobody reads
            run = self._read(raw, gone)
            if run:
                self._take(run, gone)

    def _read(self, raw: Json, gone: bool) -> CodexRun | None:
        """Return the run; where its last state cannot be read, the last one that could: what is
        gone has to go."""
        try:
            return CodexRun.model_validate(raw)
        except ValueError:
            if not gone:
                raise
            return self.runs.get(raw["metadata"]["uid"])

    def _take(self, run: CodexRun, gone: bool) -> None:
        uid = run.metadata.uid
        name = run.metadata.name
        previous = self.runs.get(uid)
        if uid in self._gone or (previous and not gone and _version(run) <= _version(previous)):
            return
        if gone:
            self._forget(run)
        else:
            self.runs[uid] = stored = _without_large_inputs(run)
            if stored is not run:
                self.without_inputs.add(uid)
            self.names[name] = uid
            self.peers[run.spec.job_type][uid] = queue_view.peer_of(run)
        for followed in self._followed.get(name, ()):
            followed.tell(run, gone=gone)
        if is_provisional(run):
            return
        if gone:
            # The watch brings a deletion with a version of its own; a new list brings the last one
            # that was known.
            self.writer.deleted(
                run, witnessed=previous is None or _version(run) > _version(previous)
            )
        else:
            self.writer.changed(run)
        self._publish(run, previous, gone=gone)

    def _forget(self, run: CodexRun) -> None:
        uid = run.metadata.uid
        name = run.metadata.name
        self.runs.pop(uid, None)
        self.without_inputs.discard(uid)
        self.peers[run.spec.job_type].pop(uid, None)
        if not self.peers[run.spec.job_type]:
            del self.peers[run.spec.job_type]  # anybody's word; it need not be a job type's
        if self.names.get(name) == uid:
            del self.names[name]
        self._gone[uid] = None
        if len(self._gone) > MAX_GONE_RUNS:
            self._gone.popitem(last=False)

    def _publish(self, run: CodexRun, previous: CodexRun | None, *, gone: bool) -> None:
        if not self.watcher.synced.is_set():
            return
        before = (
            previous
            and not is_provisional(previous)
            and (previous.status.attempt, previous.status.phase)
        )
        if gone:
            self.event_buffer.publish(self.event(run, "run.deleted"))
        elif before != (run.status.attempt, run.status.phase):
            self.event_buffer.publish(self.event(run, "run.phase"))
        elif previous and previous.status.usage != run.status.usage:
            self.event_buffer.publish(self.event(run, "run.usage"))

    def event(self, run: CodexRun, kind: str) -> Event:
        # Without the inputs: thousands of events are kept, and each may have 64 KiB of them.
        data = responses.of_run(run, self._external_url).model_dump_json(
            by_alias=True, exclude_none=True, exclude={"params"}
        )
        return Event(run.metadata.resource_version, kind, run.metadata.uid, run.spec.job_type, data)

    def changed_since(self, version: int) -> list[CodexRun]:
        """Return the runs whose newest state is younger than `version`, oldest first."""
        newer = [run for run in self.runs.values() if _version(run) > version]
        return sorted((run for run in newer if not is_provisional(run)), key=_version)


def _without_large_inputs(run: CodexRun) -> CodexRun:
    """Return the run as it stays in memory; `Services.record` has the inputs that are left out
    here.

    Ended runs stay in the cluster for long, and their inputs are most of their size. Inputs above
    the limit start no run, and 1 MiB of them in etcd may be 35 MiB of objects here.
    """
    inputs = run.spec.inputs
    if inputs is None or not (run.status.phase.terminal or exceeds_limit(inputs)):
        return run
    return run.model_copy(update={"spec": run.spec.model_copy(update={"inputs": None})})


def _version(run: CodexRun) -> int:
    """Return the resourceVersion as a number, comparable within one resource (KEP-5504)."""
    version = run.metadata.resource_version
    return int(version) if version.isdecimal() else 0
