"""CodexRuns as this process sees them, and as the registry is told of them: one watch for rows,
streams and waiting callers.

Only runs that go on are kept as they are. Of those that have ended there are thousands for each of
them, and their rows have it all: what is kept here says which object is which, and how new it is.

The registry may be away as long as it likes: what is not written yet waits in the writer.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any

from codexrun_api.http.sse import wait_for_any
from codexrun_api.mirror import queue_view
from codexrun_api.mirror.comparison import Comparison, Revision
from codexrun_api.mirror.event_buffer import Event, EventBuffer
from codexrun_api.mirror.queue_view import Peer
from codexrun_api.mirror.write_queue import RegistryWriter
from codexrun_api.schemas import responses
from codexrun_core.errors import NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.kube.watch import Watcher
from codexrun_core.logs import fields
from codexrun_core.registry import Registry, totals
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.record import RunRecord, record_of, revision_of
from codexrun_core.runs.verdict import is_provisional
from codexrun_core.schemas.inputs import exceeds_limit
from codexrun_core.unreadable import one_object

log = logging.getLogger(__name__)

Json = dict[str, Any]
MAX_GONE_RUNS = 10_000


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What is kept of a run that has ended and whose object is still there."""

    name: str
    phase: Phase
    revision: Revision
    retry_of: str | None  # run id


class Followed:
    """One run's newest state, for a caller who waits for it to become something."""

    def __init__(self) -> None:
        self.run: CodexRun | None = None
        self.gone = False
        self._changed = asyncio.Event()

    def tell(self, run: CodexRun, *, gone: bool) -> None:
        # Also of an earlier run of that name: a list tells of the new one before it tells that the
        # earlier one is gone.
        if self.run and _version(run) < _version(self.run):
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
        # by uid: what has not ended, and starts whose caller has not had an answer; large inputs
        # are left out
        self.runs: dict[str, CodexRun] = {}
        self.without_inputs: set[str] = set()  # uids of those
        self.ended: dict[str, EndedRun] = {}  # by uid
        self.names: dict[str, str] = {}  # name -> uid
        self._unreadable: set[str] = set()  # uids of objects that this version cannot read
        self.listed_version = 0
        self._peers: dict[str, dict[str, Peer]] = defaultdict(dict)  # by job type and uid
        self._good: dict[str, deque[Peer]] = defaultdict(lambda: deque(maxlen=totals.USUAL_RUNS))
        self._registry = registry
        self.writer = RegistryWriter(registry)
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._followed: dict[str, set[Followed]] = defaultdict(set)
        self.watcher = Watcher(kube, kube.runs, self.seen, on_list=self._take_list)

    @property
    def namespace(self) -> str:
        return self.kube.namespace

    async def run(self) -> None:
        """Watch and write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.watcher.run())
            tasks.create_task(self.writer.run())
            await self.watcher.synced.wait()
            log.info("mirror.synced", extra=fields(runs=len(self.runs), ended=len(self.ended)))
            self.writer.compare(self.comparison)

    def comparison(self) -> Comparison:
        """Return a pass that holds the registry against what is here."""
        return Comparison(self, self._registry, self.writer.write)

    def find(self, id_or_name: str) -> CodexRun | None:
        """Return the run of that uid or name, unless it has ended."""
        return self.runs.get(self.id_of(id_or_name))

    def id_of(self, id_or_name: str) -> str:
        """Return the uid of the run that has this uid or name; if there is none, what was given."""
        if id_or_name in self.runs or id_or_name in self.ended:
            return id_or_name
        return self.names.get(id_or_name, id_or_name)

    def name_of(self, run_id: str) -> str | None:
        """Return the name of an object that is there."""
        run = self.runs.get(run_id)
        if run:
            return run.metadata.name
        ended = self.ended.get(run_id)
        return ended.name if ended else None

    def revision(self, run_id: str) -> Revision | None:
        """Return how new this run is here; None if it is not there, or is to have no row yet."""
        if ended := self.ended.get(run_id):
            return ended.revision
        run = self.runs.get(run_id)
        return revision_of(run) if run and not is_provisional(run) else None

    def ids(self) -> list[str]:
        """Return the uids of all runs that are there."""
        return [*self.runs, *self.ended]

    def is_known(self, run_id: str) -> bool:
        """Return whether the object is there, readable or not."""
        return run_id in self.runs or run_id in self.ended or run_id in self._unreadable

    async def read(self, run_id: str, name: str = "") -> CodexRun | None:
        """Return the object with all that it has; None if it is gone.

        name: its own, where no such run is known here.

        Raises:
            Unavailable: the apiserver is away, or does not say.
            ValueError: this version cannot read the object.
        """
        run = self.runs.get(run_id)
        if run and run_id not in self.without_inputs:
            return run
        name = self.name_of(run_id) or name
        if not name:
            return None
        try:
            raw = await self.kube.get(f"{self.kube.runs}/{name}")
        except NotFound:
            return None
        except Refused as refused:
            raise Unavailable(f"GET {name}: {refused.message}") from refused
        return CodexRun.model_validate(raw) if raw["metadata"]["uid"] == run_id else None

    def peers(self, job_type: str) -> list[Peer]:
        """Return the runs of a job type that go on, and some of the last good ones."""
        return [*self._peers.get(job_type, {}).values(), *self._good.get(job_type, ())]

    def retries(self, run_id: str) -> int:
        """Return how many retries of this run are there."""
        live = [run.spec.retry_of for run in self.runs.values() if run.spec.retry_of]
        return sum(source.uid == run_id for source in live) + sum(
            run.retry_of == run_id for run in self.ended.values()
        )

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
            elif gone:
                self._take_gone(metadata["uid"], metadata["name"])

    def _read(self, raw: Json, gone: bool) -> CodexRun | None:
        """Return the run; where its last state cannot be read, the last one that could if it went
        on: what is gone has to go."""
        uid = raw["metadata"]["uid"]
        try:
            run = CodexRun.model_validate(raw)
        except ValueError:
            if not gone:
                self._unreadable.add(uid)
                raise
            return self.runs.get(uid)
        self._unreadable.discard(uid)
        return run

    def _take(self, run: CodexRun, gone: bool) -> None:
        uid = run.metadata.uid
        previous = self.runs.get(uid)
        ended = self.ended.get(uid)
        known = self._known_version(uid)
        if uid in self._gone or (not gone and _version(run) <= known):
            return
        if gone:
            self._forget(uid, run.metadata.name, run.spec.job_type)
        elif run.status.phase.terminal and not is_provisional(run):
            self._keep_ended(run)
        else:
            self.runs[uid] = stored = _without_large_inputs(run)
            if stored is not run:
                self.without_inputs.add(uid)
            self.names[run.metadata.name] = uid
            self._peers[run.spec.job_type][uid] = queue_view.peer_of(run)
        for followed in self._followed.get(run.metadata.name, ()):
            followed.tell(run, gone=gone)
        if is_provisional(run):
            return
        if gone:
            # The watch brings a deletion with a version of its own; a list that lacks a run brings
            # the last one that was known.
            self.writer.deleted(run, witnessed=_version(run) > known)
        elif previous or ended or not run.status.phase.terminal or self.watcher.synced.is_set():
            self.writer.changed(run)
        # else it had ended before this process began: the comparison looks whether its row says so
        self._publish(run, previous, ended, gone=gone)

    def _known_version(self, uid: str) -> int:
        if run := self.runs.get(uid):
            return _version(run)
        ended = self.ended.get(uid)
        return ended.revision[2] if ended else -1

    def _keep_ended(self, run: CodexRun) -> None:
        uid = run.metadata.uid
        if uid not in self.ended:
            peer = queue_view.peer_of(run)
            if run.status.phase is Phase.SUCCEEDED:
                self._good[run.spec.job_type].append(peer)
            self._drop_live(uid, run.spec.job_type)
        source = run.spec.retry_of
        self.ended[uid] = EndedRun(
            run.metadata.name,
            run.status.phase,
            revision_of(run),
            source.uid if source else None,
        )
        self.names[run.metadata.name] = uid

    def _take_list(self, uids: Collection[str], version: int) -> None:
        """Take what a whole list lacks as gone, unless it is younger."""
        self.listed_version = version
        self._unreadable.intersection_update(uids)
        for run in [run for uid, run in self.runs.items() if uid not in uids]:
            if _version(run) <= version:
                self._take(run, gone=True)
        for uid, ended in [item for item in self.ended.items() if item[0] not in uids]:
            if ended.revision[2] <= version:
                self._take_gone(uid, ended.name)

    def _take_gone(self, uid: str, name: str) -> None:
        """Take that an object is gone of which nothing is kept to show."""
        if uid not in self._gone:
            self._forget(uid, name)
            self.writer.gone(uid)

    def _forget(self, uid: str, name: str, job_type: str = "") -> None:
        """Know no longer that it is there. job_type: of one that has not ended."""
        self._drop_live(uid, job_type)
        self.ended.pop(uid, None)
        self._unreadable.discard(uid)
        if self.names.get(name) == uid:
            del self.names[name]
        self._gone[uid] = None
        if len(self._gone) > MAX_GONE_RUNS:
            self._gone.popitem(last=False)

    def _drop_live(self, uid: str, job_type: str) -> None:
        self.runs.pop(uid, None)
        self.without_inputs.discard(uid)
        peers = self._peers.get(job_type, {})
        peers.pop(uid, None)
        if not peers:
            self._peers.pop(job_type, None)  # anybody's word; it need not be a job type's

    def _publish(
        self, run: CodexRun, previous: CodexRun | None, ended: EndedRun | None, *, gone: bool
    ) -> None:
        if not self.watcher.synced.is_set():
            return
        before: tuple[int, Phase] | None = None
        if previous and not is_provisional(previous):
            before = (revision_of(previous)[0], previous.status.phase)
        elif ended:
            before = (ended.revision[0], ended.phase)
        if gone:
            kind = "run.deleted"
        elif before != (revision_of(run)[0], run.status.phase):
            kind = "run.phase"
        elif previous and previous.status.usage != run.status.usage:
            kind = "run.usage"
        else:
            return
        self.event_buffer.publish(self.event(record_of(run), kind))

    def event(self, run: RunRecord, kind: str) -> Event:
        # Without the inputs: thousands of events are kept, and each may have 64 KiB of them.
        data = responses.of_record(run, self._external_url).model_dump_json(
            by_alias=True, exclude_none=True, exclude={"params"}
        )
        return Event(str(run.resource_version), kind, run.run_id, run.job_type, data)

    def changed_since(self, version: int) -> list[str]:
        """Return the uids of runs whose newest state is younger than `version`, oldest first."""
        newer = {
            uid: revision[2]
            for uid in self.ids()
            if (revision := self.revision(uid)) and revision[2] > version
        }
        return sorted(newer, key=newer.__getitem__)


def _without_large_inputs(run: CodexRun) -> CodexRun:
    """Return the run as it stays in memory; `Services.record` has the inputs that are left out
    here.

    Inputs above the limit start no run, and 1 MiB of them in etcd may be 35 MiB of objects here.
    """
    inputs = run.spec.inputs
    if inputs is None or not exceeds_limit(inputs):
        return run
    return run.model_copy(update={"spec": run.spec.model_copy(update={"inputs": None})})


def _version(run: CodexRun) -> int:
    """Return the resourceVersion as a number, comparable within one resource (KEP-5504)."""
    version = run.metadata.resource_version
    return int(version) if version.isdecimal() else 0
