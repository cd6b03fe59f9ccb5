"""Rows as they are read: one run, a page of a list, how many there are, and which moves a run has
made."""

from dataclasses import dataclass, fields, replace
from datetime import datetime

import sqlalchemy as sa

from codexrun_core.registry.database import Database
from codexrun_core.registry.queries import (
    LIST_INDEX,
    LISTED_COLUMNS,
    NEWEST_FIRST,
    RUN_COLUMNS,
    after_cursor,
    conditions,
    count_by_status,
    first_ids,
    inverted_filter,
    rows_by_id,
    word_conditions,
)
from codexrun_core.registry.sorted_queries import order, page_ids
from codexrun_core.registry.tables import run_events, runs
from codexrun_core.resources.phases import TERMINAL_STATUSES
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.paging import MAX_PAGE_SIZE, PAGE_SIZE, Page, parse_token, token_after
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import NEWEST, Sort

# Made once: putting 45 columns together takes longer than the database does.
ROW_BY_ID = sa.select(*RUN_COLUMNS).where(runs.c.run_id == sa.bindparam("run_id"))
ROW_BY_NAME = (
    sa.select(*RUN_COLUMNS)
    .where(runs.c.namespace == sa.bindparam("namespace"), runs.c.name == sa.bindparam("name"))
    .order_by(*NEWEST_FIRST)
    .limit(1)
)
RECENT_RUNS = 500  # of the newest runs are looked through before the word index is asked


@dataclass(frozen=True)
class RunEvent:
    """A transition as it was recorded."""

    event_id: str
    run_id: str
    attempt: int
    status: str
    reason: str | None
    at: datetime


EVENT_COLUMNS = [run_events.c[field.name] for field in fields(RunEvent)]


class Rows(Database):
    """Read access to `runs` and `run_events`."""

    async def get(self, run_id: str) -> RunRecord | None:
        """Return the run of this id."""
        return await self._one(ROW_BY_ID, run_id=run_id)

    async def find_by_name(self, namespace: str, name: str) -> RunRecord | None:
        """Return the newest run of this name: names come again once an object is gone."""
        return await self._one(ROW_BY_NAME, namespace=namespace, name=name)

    async def page(
        self,
        run_filter: Filter,
        after: str | None = None,
        size: int = PAGE_SIZE,
        sort: Sort = NEWEST,
    ) -> Page:
        """The runs of the filter in this order, from where the token says. A run whose place
        changes meanwhile (tokens grow while it runs) may be met twice or not; every other one is
        met once.

        Raises:
            InvalidPageToken: the token is none, or of a list with another filter or order.
        """
        size = max(1, min(size, MAX_PAGE_SIZE))
        cursor = parse_token(after, run_filter, sort) if after else None
        rows: list[RunRecord] = []
        if sort == NEWEST and (words := word_conditions(run_filter.search)):
            # A word that many runs have is found among the newest ones; only a rare one is worth
            # asking the word index for.
            where = [
                *conditions(replace(run_filter, search=""), self.dialect),
                *([after_cursor(cursor)] if cursor else []),
            ]
            rows = await self._rows(
                rows_by_id(first_ids(where, LIST_INDEX, RECENT_RUNS)).where(*words).limit(size + 1)
            )
            if len(rows) <= size:
                rows = []
        for ids in page_ids(run_filter, sort, cursor, self.dialect, size + 1):
            if len(rows) <= size:
                rows += await self._rows(rows_by_id(ids, order(sort)))
        page = tuple(rows[:size])
        return Page(page, token_after(page[-1], run_filter, sort) if len(rows) > size else None)

    async def counts(self, run_filter: Filter) -> dict[str, int]:
        """Count the runs of the filter by status; a status that has none is absent."""
        if others := inverted_filter(run_filter):
            of_all = await self.counts(replace(run_filter, labels=()))
            of_others = await self.counts(others)
            return {
                status: n
                for status in of_all
                if (n := of_all[status] - of_others.get(status, 0)) > 0
            }
        return {
            row[0]: row[1] for row in await self._all(count_by_status(run_filter, self.dialect))
        }

    async def open_logs(self) -> list[RunRecord]:
        """Return the runs that have started and ended, but of whose log nobody has said whether it
        is complete."""
        open_still = (
            runs.c.status.in_(TERMINAL_STATUSES)
            & runs.c.started_at.is_not(None)
            & runs.c.log_complete.is_(None)
        )
        return await self._rows(sa.select(*LISTED_COLUMNS).where(open_still))

    async def events(self, run_id: str) -> list[RunEvent]:
        """Return the run's transitions in the order in which they were recorded."""
        c = run_events.c
        query = sa.select(*EVENT_COLUMNS).where(c.run_id == run_id).order_by(c.seq)
        return [RunEvent(**row._mapping) for row in await self._all(query)]
