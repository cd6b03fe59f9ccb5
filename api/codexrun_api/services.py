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
from codexrun_core.runs.record import RunRecord, is_later, record_of, revision_of
from codexrun_core.runs.verdict import is_provisional


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
        """Return the run of that id or name: its row, or what the watch knows of a run that has no
        row yet or while the registry is away.

        Raises:
            Unavailable: the registry is away, and no such object is there.
        """
        run = self.mirror.find(id_or_name)
        if run and run.metadata.uid != id_or_name:
            id_or_name = run.metadata.uid  # a name: the run that has it now
        live = run if run and not is_provisional(run) else None
        try:
            record = await self.registry.get(id_or_name)
            if record is None and live is None:
                record = await self.registry.find_by_name(self.settings.namespace, id_or_name)
        except Unavailable:
            if live is None:
                raise
            record = None
        if live and (record is None or is_later(revision_of(live), record.revision)):
            # The watch has told it already, to streams too, and the row is being written.
            try:
                return await self.record(live, record)
            except NotFound:
                return record_of(live)
        return record

    async def run_of_id(self, run_id: str) -> RunRecord | None:
        """Return the record of the run with this id, and of no other that has it as its name.

        Raises:
            Unavailable: its object is not there, and the registry is away.
        """
        run = self.mirror.runs.get(run_id)
        return record_of(run) if run else await self.registry.get(run_id)

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
        return self.mirror.peers[run.spec.job_type].values()

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
