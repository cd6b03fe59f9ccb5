"""All rows out of one registry, and into another, which may be of the other kind of database."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from codexrun_core.registry.database import insert_once
from codexrun_core.registry.export.format import Entry
from codexrun_core.registry.queries import RUN_COLUMNS
from codexrun_core.registry.rows import EVENT_COLUMNS, RunEvent
from codexrun_core.registry.tables import run_events, runs
from codexrun_core.registry.writes import Writes
from codexrun_core.runs.record import RunRecord

ROWS_PER_READ = 100


class Transfer(Writes):
    """Reads and inserts whole rows."""

    async def entries(self) -> AsyncIterator[Entry]:
        """Yield every run, in the order in which their rows were made. What changes meanwhile is
        as it was before or after."""
        after = -1
        while True:
            page = (
                sa.select(runs.c.seq, *RUN_COLUMNS)
                .where(runs.c.seq > after)
                .order_by(runs.c.seq)
                .limit(ROWS_PER_READ)
            )
            rows = [dict(row._mapping) for row in await self._all(page)]
            if not rows:
                return
            after = rows[-1]["seq"]
            for row in rows:
                del row["seq"]
            records = [RunRecord(**row) for row in rows]
            events = await self._events_of([record.run_id for record in records])
            for record in records:
                yield Entry(record, events[record.run_id])

    async def insert(self, entries: Sequence[Entry]) -> int:
        """Insert runs with their transitions, all or none; return how many there were not yet. A
        row that is there stays as it is."""

        def write(connection: sa.Connection) -> int:
            return sum(self._insert_entry(connection, entry) for entry in entries)

        return await self._write(write)

    def _insert_entry(self, connection: sa.Connection, entry: Entry) -> bool:
        if not self._insert(connection, entry.run):
            return False
        once = insert_once(self.dialect, run_events)
        for event in entry.events:
            connection.execute(once, asdict(event))
        return True

    async def _events_of(self, run_ids: Sequence[str]) -> Mapping[str, list[RunEvent]]:
        query = (
            sa.select(*EVENT_COLUMNS)
            .where(run_events.c.run_id.in_(run_ids))
            .order_by(run_events.c.seq)
        )
        events: defaultdict[str, list[RunEvent]] = defaultdict(list)
        for row in await self._all(query):
            event = RunEvent(**row._mapping)
            events[event.run_id].append(event)
        return events
