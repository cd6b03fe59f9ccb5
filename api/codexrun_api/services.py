"""What the routes work with, made once per process."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request

from codexrun_api.http.auth import Tokens
from codexrun_api.mirror import queue as pace
from codexrun_api.mirror.catalog import Catalog
from codexrun_api.mirror.event_buffer import Feed
from codexrun_api.mirror.runs import Mirror
from codexrun_api.schemas import responses
from codexrun_api.settings import Settings
from codexrun_core.errors import NotFound, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.prices.file import PriceFile
from codexrun_core.prices.table import Prices
from codexrun_core.refusals import Cause
from codexrun_core.registry import Registry
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.record import RunRecord, is_later, record_of, revision_of
from codexrun_core.runs.verdict import is_provisional


class Archive(Protocol):
    """The part of the archive that retention needs."""

    def holds(self, run_id: str) -> bool: ...
    def remove(self, run_id: str) -> bool: ...


@dataclass
class Services:
    settings: Settings
    registry: Registry
    kube: Kube
    archive: Archive
    tokens: Tokens
    feed: Feed
    mirror: Mirror
    catalog: Catalog
    price_file: PriceFile
    stop: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # set on SIGTERM: streams and waits end
    tasks: list[asyncio.Task[None]] = field(
        default_factory=list
    )  # beside the routes; none of them ever ends

    @classmethod
    def make(
        cls, settings: Settings, registry: Registry, kube: Kube, archive: Archive
    ) -> "Services":
        feed = Feed()
        mirror = Mirror(kube, registry, feed, settings.external_url)
        return cls(
            settings,
            registry,
            kube,
            archive,
            Tokens(settings),
            feed,
            mirror,
            Catalog(kube),
            PriceFile(settings.prices_file),
        )

    @property
    def prices(self) -> Prices:
        """Those of today."""
        return self.price_file.on(datetime.now(UTC).date())

    @property
    def broken(self) -> str | None:
        """A task that has ended: only a restart helps."""
        return next((task.get_name() for task in self.tasks if task.done()), None)

    @property
    def ready(self) -> bool:
        """Everything was listed once; what breaks later is answered with its own 503."""
        return all(w.synced.is_set() for w in (self.mirror.watcher, *self.catalog.watchers))

    async def find(self, wanted: str) -> RunRecord | None:
        """By run id or name: the row, or what the watch knows of a run that has no row yet or while
        the registry is away.

        Raises:
            Unavailable: the registry is away, and no such object is there.
        """
        run = self.mirror.find(wanted)
        if run and run.metadata.uid != wanted:
            wanted = run.metadata.uid  # a name: the run that has it now
        known = run if run and not is_provisional(run) else None
        try:
            record = await self.registry.get(wanted)
            if record is None and known is None:
                record = await self.registry.find_by_name(self.settings.namespace, wanted)
        except Unavailable:
            if known is None:
                raise
            record = None
        if known and (record is None or is_later(revision_of(known), record.revision)):
            # The watch has told it already, to streams too, and the row is being written.
            try:
                return await self.record(known, record)
            except NotFound:
                return record_of(known)
        return record

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
        return responses.of_record(record, self.settings.external_url, self.queue(record.run_id))

    def queue(self, run_id: str) -> responses.QueueView | None:
        run = self.mirror.runs.get(run_id)
        if run is None or run.status.phase is not Phase.QUEUED:
            return None
        return pace.place(pace.peer(run), self._peers(run), self._limit(run))

    def next_slot(self, run: CodexRun) -> int:
        """Seconds until a slot of its job type may be free."""
        return pace.next_slot(self._peers(run), self._limit(run))

    def _peers(self, run: CodexRun) -> Collection[pace.Peer]:
        return self.mirror.peers[run.spec.job_type].values()

    def _limit(self, run: CodexRun) -> int:
        job_type = self.catalog.job_types.get(run.spec.job_type)
        if job_type is None or job_type.spec.suspended or _held(job_type):
            return 0
        return job_type.spec.concurrency_limit


def _held(job_type: CodexJobType) -> bool:
    """Whether the apiserver refuses its Jobs, as the operator's condition says."""
    return any(
        condition.type == "Ready" and condition.reason in list(Cause)
        for condition in job_type.status.conditions
    )


async def _of(
    request: Request,
) -> Services:  # not `def`: FastAPI would go through a thread for it, each time
    found: Services = request.app.state.services
    return found


Here = Annotated[Services, Depends(_of)]
