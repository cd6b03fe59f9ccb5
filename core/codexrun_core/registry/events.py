"""Which moves has a run made? Append-only; each is recorded once."""

from dataclasses import dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from codexrun_core.registry.database import Database
from codexrun_core.registry.tables import run_events


@dataclass(frozen=True)
class RunEvent:
    """A transition as it was recorded."""

    event_id: str
    run_id: str
    attempt: int
    status: str
    reason: str | None
    at: datetime


class Events(Database):
    """Read access to `run_events`; the writes of rows add to it."""

    async def events(self, run_id: str) -> list[RunEvent]:
        """The run's transitions in the order in which they were recorded."""
        c = run_events.c
        columns = [c[field.name] for field in fields(RunEvent)]
        query = sa.select(*columns).where(c.run_id == run_id).order_by(c.seq)
        return [RunEvent(**row._mapping) for row in await self._all(query)]
