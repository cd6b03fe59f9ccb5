"""What the routes work with, made once per process."""

import asyncio
import contextlib
import secrets
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from codexrun_api.archive.archive import Archive
from codexrun_api.archive.notifier import LogNotifier
from codexrun_api.bulk_progress import BulkActions
from codexrun_api.http.auth import Tokens
from codexrun_api.http.ended_sessions import EndedSessions
from codexrun_api.http.throttle import Throttle
from codexrun_api.mirror import queue_view
from codexrun_api.mirror.catalog import Catalog
from codexrun_api.mirror.event_buffer import EventBuffer
from codexrun_api.mirror.runs import Mirror
from codexrun_api.schemas import query_params, responses
from codexrun_api.schemas.problems import not_found
from codexrun_api.settings import Settings
from codexrun_core.errors import NotFound, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.prices.file import PriceFile
from codexrun_core.prices.table import Prices
from codexrun_core.prompts.title import title_of
from codexrun_core.refusals import Cause
from codexrun_core.registry import Registry
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.record import RunRecord, is_later, record_of

LOGINS = 10  # that may fail at once, and one more every
LOGIN_SECONDS = 6.0


@dataclass
class Services:
    settings: Settings
    registry: Registry
    kube: Kube
    archive: Archive
    notifier: LogNotifier
    tokens: Tokens
    event_buffer: EventBuffer
    mirror: Mirror
    catalog: Catalog
    price_file: PriceFile
    ended_sessions: EndedSessions
    # of the console's login, by address
    logins: Throttle = field(default_factory=lambda: Throttle(LOGINS, LOGIN_SECONDS))
    bulk_actions: BulkActions = field(default_factory=BulkActions)
    # Two at once: each may take its whole time, and the threads of everything else are not theirs.
    searchers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(2, "log-search")
    )
    # signs the console's forms where no token is asked for
    form_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    # set on SIGTERM: streams and waits end
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    # beside the routes; none of them ever ends
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    def make(cls, settings: Settings, registry: Registry, kube: Kube) -> "Services":
        """Return what one process works with. The archive is not opened yet, and the mirror does
        not run."""
        event_buffer = EventBuffer()
        mirror = Mirror(kube, registry, event_buffer, settings.external_url)
        return cls(
            settings,
            registry,
            kube,
            Archive(settings.archive),
            LogNotifier(),
            Tokens(settings),
            event_buffer,
            mirror,
            Catalog(kube),
            PriceFile(settings.prices_file),
            EndedSessions(settings.archive),
        )

    @property
    def prices(self) -> Prices:
        """Return the prices of today."""
        return self.price_file.on(datetime.now(UTC).date())

    @property
    def broken(self) -> str | None:
        """Return the name of a task that has ended: only a restart helps."""
        return next((task.get_name() for task in self.tasks if task.done()), None)

    @property
    def ready(self) -> bool:
        """Return whether everything was listed once; what breaks later is answered with its own
        503."""
        return all(w.synced.is_set() for w in (self.mirror.watcher, *self.catalog.watchers))

    async def find(self, id_or_name: str) -> RunRecord | None:
        """Return the run of that id or name: its row, or what the cluster knows of a run that has
        no row yet or while the registry is away.

        Raises:
            Unavailable: the registry is away, and no such object is there.
        """
        run_id = self.mirror.id_of(id_or_name)  # a name: the run that has it now
        record = await self.run_of_id(run_id)
        if record is None:
            record = await self.registry.find_by_name(self.settings.namespace, id_or_name)
        return record

    async def run_of_id(self, run_id: str) -> RunRecord | None:
        """Return the record of the run with this id, and of no other that has it as its name.

        Raises:
            Unavailable: the registry is away, and its object is not there.
        """
        revision = self.mirror.revision(run_id)
        try:
            record = await self.registry.get(run_id)
        except Unavailable:
            if revision is None:
                raise
            record = None
        if revision is None or (record and not is_later(revision, record.revision)):
            return record
        # The watch has told it already, to streams too, and the row is being written.
        try:
            return await self._record_of_object(run_id, record)
        except Unavailable:
            if record is None:
                raise
            return record

    async def _record_of_object(self, run_id: str, row: RunRecord | None) -> RunRecord | None:
        """Return what the object amounts to, or its row where it is gone."""
        if live := self.mirror.runs.get(run_id):
            try:
                return await self.record(live, row)
            except NotFound:
                return record_of(live)
        run = await self.object_of(run_id)
        return record_of(run) if run else row

    async def object_of(self, run_id: str) -> CodexRun | None:
        """Return the object of the run: from memory while it goes on (large inputs may be left
        out), else from the apiserver; None if it is gone.

        Raises:
            Unavailable: the apiserver is away.
        """
        if live := self.mirror.runs.get(run_id):
            return live
        try:
            return await self.mirror.read(run_id)
        except ValueError as error:
            raise Unavailable(
                "this version of codexrun cannot read the object of the run"
            ) from error

    async def record(self, run: CodexRun, row: RunRecord | None = None) -> RunRecord:
        """What a run of the mirror amounts to. Inputs that the mirror does not keep come from its
        row, where they never change, or, where there is none yet or the registry is away, from the
        object.

        Raises:
            NotFound, Unavailable: neither is there.
        """
        record = record_of(run)
        if run.metadata.uid not in self.mirror.without_inputs:
            return record
        if row is None:
            with contextlib.suppress(Unavailable):
                row = await self.registry.get(run.metadata.uid)
        if row is None:
            raw = await self.kube.get(f"{self.kube.runs}/{run.metadata.name}")
            if raw["metadata"]["uid"] != run.metadata.uid:
                raise NotFound(404, "NotFound", f'the object of run "{run.metadata.name}" is gone')
            return record_of(CodexRun.model_validate(raw))
        inputs = {"inputs": row.spec["inputs"]} if "inputs" in row.spec else {}
        return replace(record, params=row.params, spec={**record.spec, **inputs})

    def view(self, record: RunRecord) -> responses.RunView:
        return responses.of_record(
            record,
            self.settings.external_url,
            self.queue_position(record.run_id),
            title=self.title(record),
        )

    def title(self, record: RunRecord) -> str:
        """Return what the run is about, by its job type as it is now."""
        job_type = self.catalog.job_types.get(record.job_type)
        return title_of(job_type.spec.title_template if job_type else None, record.params)

    def queue_position(self, run_id: str) -> responses.QueueView | None:
        run = self.mirror.runs.get(run_id)
        if run is None or run.status.phase is not Phase.QUEUED:
            return None
        return queue_view.position_of(queue_view.peer_of(run), self._peers(run), self._limit(run))

    def busy_slots(self, job_type: str) -> int:
        """Return how many slots of the job type are taken."""
        runs = self.mirror.runs.values()
        return sum(queue_view.holds_slot(run) for run in runs if run.spec.job_type == job_type)

    def next_slot(self, run: CodexRun) -> int:
        """Return the seconds until a slot of its job type may be free."""
        return queue_view.seconds_to_next_slot(self._peers(run), self._limit(run))

    def _peers(self, run: CodexRun) -> Collection[queue_view.Peer]:
        return self.mirror.peers(run.spec.job_type)

    def _limit(self, run: CodexRun) -> int:
        job_type = self.catalog.job_types.get(run.spec.job_type)
        if job_type is None or job_type.spec.suspended or _held(job_type):
            return 0
        return job_type.spec.concurrency_limit


def _held(job_type: CodexJobType) -> bool:
    """Return whether the apiserver refuses its Jobs, as the operator's condition says."""
    return any(
        condition.type == "Ready" and condition.reason in list(Cause)
        for condition in job_type.status.conditions
    )


async def _services_of(
    request: Request,
) -> Services:  # not `def`: FastAPI would go through a thread for it, each time
    services: Services = request.app.state.services
    return services


CurrentServices = Annotated[Services, Depends(_services_of)]


async def run_by_id(services: CurrentServices, run_id: query_params.RunId) -> RunRecord:
    """Return the run that the path names.

    Raises:
        Problem: 404, there is none.
        Unavailable: the registry is away, and no such object is there.
    """
    record = await services.find(run_id)
    if record is None:
        raise not_found(run_id)
    return record


# Dependencies are resolved in the order of a route's parameters: declare it after whoever is
# calling, so that nobody without a token learns which runs there are.
Run = Annotated[RunRecord, Depends(run_by_id)]
