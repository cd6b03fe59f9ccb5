"""What happens to rows whose objects are gone, and when do they go themselves?

A row may go before its object. That is noted, so that whatever comes of the object later makes no
row again; the note goes with the object.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from codexrun_core import reasons
from codexrun_core.registry.database import (
    IDS_PER_STATEMENT,
    Database,
    batches,
    insert_once,
)
from codexrun_core.registry.tables import removed_runs, run_events, runs
from codexrun_core.resources.phases import DELETED, ENDED_STATUSES, TERMINAL_STATUSES, Phase


class Retention(Database):
    """Marks and removes rows."""

    async def mark_deleted(self, run_ids: Collection[str]) -> int:
        """Note that the objects of these runs are gone; return how many rows that changed.

        A row that has not ended becomes `deleted`: how its run ended was not seen, and is not made
        up. Whoever saw a live run being deleted records its cancellation first.
        """
        now = datetime.now(UTC)
        changed = 0
        is_terminal = runs.c.status.in_(sorted(TERMINAL_STATUSES))
        unseen = (
            "the CodexRun was deleted while the REST API was not watching; how the run ended is"
            " unknown (last known status: "
        )
        values = {
            "deleted_at": now,
            "updated_at": now,
            "reason": sa.case((is_terminal, runs.c.reason), else_=reasons.DELETED_UNSEEN),
            "error": sa.case(
                (is_terminal, runs.c.error), else_=sa.literal(unseen) + runs.c.status + ")"
            ),
            "rank": sa.case((is_terminal, runs.c.rank), else_=Phase.SUCCEEDED.rank),
            "status": sa.case((is_terminal, runs.c.status), else_=DELETED),
        }
        for batch in batches(run_ids):
            changed += await self._write(partial(_mark_deleted, batch, values))
        return changed

    async def expired(self, before: datetime, limit: int = IDS_PER_STATEMENT) -> list[str]:
        """Return the ids of runs that ended before this moment, oldest first: what retention
        removes. None that may still run."""
        ended_at = sa.func.coalesce(runs.c.finished_at, runs.c.deleted_at, runs.c.updated_at)
        removable = (
            runs.c.status.in_(sorted(ENDED_STATUSES))
            & (runs.c.created_at < before)
            & (ended_at < before)
        )
        query = (
            sa.select(runs.c.run_id)
            .where(removable)
            .order_by(runs.c.created_at, runs.c.run_id)
            .limit(limit)
        )
        return [run_id for (run_id,) in await self._all(query)]

    async def remove(self, run_ids: Collection[str]) -> int:
        """Remove rows and their events for good; return how many rows there were."""
        return sum([await self._write(partial(_remove, batch)) for batch in batches(run_ids)])


def _mark_deleted(run_ids: list[str], values: dict[str, Any], connection: sa.Connection) -> int:
    connection.execute(sa.delete(removed_runs).where(removed_runs.c.run_id.in_(run_ids)))
    gone = runs.c.run_id.in_(run_ids) & runs.c.deleted_at.is_(None)
    return connection.execute(sa.update(runs).where(gone).values(values)).rowcount


def _remove(run_ids: list[str], connection: sa.Connection) -> int:
    chosen = runs.c.run_id.in_(run_ids)
    present = sa.select(runs.c.run_id, runs.c.namespace).where(chosen, runs.c.deleted_at.is_(None))
    entries = insert_once(connection.dialect.name, removed_runs)
    connection.execute(entries.from_select(["run_id", "namespace"], present))
    connection.execute(sa.delete(run_events).where(run_events.c.run_id.in_(run_ids)))
    return connection.execute(sa.delete(runs).where(chosen)).rowcount
