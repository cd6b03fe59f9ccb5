"""What does a row become? Whatever was written may be written again, by any process and in any
order."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from codexrun_core.errors import Unavailable
from codexrun_core.registry.database import Database, insert_once, record_from
from codexrun_core.registry.presence import REMOVED_RUN
from codexrun_core.registry.queries import RUN_COLUMNS
from codexrun_core.registry.tables import run_events, runs
from codexrun_core.resources import Usage
from codexrun_core.resources.phases import DELETED
from codexrun_core.runs.lifecycle_hooks import Transition, transition_between
from codexrun_core.runs.record import RunRecord, merge, search_text, usage_columns, usage_order

# Made once: putting 45 columns together takes longer than the database does.
LOCKED_ROW = (
    sa.select(*RUN_COLUMNS).where(runs.c.run_id == sa.bindparam("run_id")).with_for_update()
)
UPDATE_ROW = sa.update(runs).where(runs.c.run_id == sa.bindparam("changed"))


class Writes(Database):
    """Rows and their moves, as the mirror and the gates report them."""

    async def record(self, run: RunRecord) -> Transition | None:
        """Insert or patch the row of this run, and return the transition if it is new.

        What is older than the row changes nothing, a row that has ended keeps its outcome, and a
        run that retention has removed gets no row again. A new transition is recorded with the
        row, and pending until `settle_transitions` is told of it.
        """

        def write(connection: sa.Connection) -> Transition | None:
            row = self._locked(connection, run.run_id)
            if row is None and connection.execute(REMOVED_RUN, {"run_id": run.run_id}).first():
                return None
            if row is None and self._insert(connection, run):
                return self._move(connection, None, run)
            row = row or self._locked(connection, run.run_id)
            if row is None:
                raise Unavailable(
                    f"registry: the row of run {run.run_id} was removed while it was being written"
                )
            after = merge(row, run)
            if after != row:
                self._update(connection, after)
            return self._move(connection, row, after)

        return await self._write(write)

    async def set_usage(
        self, run_id: str, usage: Usage, waiting_until: datetime | None = None
    ) -> bool:
        """Note what a live run has used so far, and until when it waits for the model's provider;
        less than is known already changes nothing. True if the row changed."""

        def write(connection: sa.Connection) -> bool:
            row = self._locked(connection, run_id)
            if row is None or row.terminal or row.status == DELETED:
                return False
            after = replace(row, **usage_columns(usage), waiting_until=waiting_until)
            if after == row or usage_order(after) < usage_order(row):
                return False
            self._update(connection, replace(after, updated_at=_later(row)))
            return True

        return await self._write(write)

    async def set_log(
        self,
        run_id: str,
        log_path: str,
        log_bytes: int,
        complete: bool | None = None,
        note: str | None = None,
    ) -> bool:
        """Note where the log lies and how far it has come, also after the run's end. False if there
        is no such row (yet)."""

        def write(connection: sa.Connection) -> bool:
            row = self._locked(connection, run_id)
            if row is None:
                return False
            after = replace(
                row, log_path=log_path, log_bytes=log_bytes, log_complete=complete, log_note=note
            )
            if after != row:
                self._update(connection, replace(after, updated_at=_later(row)))
            return True

        return await self._write(write)

    def _locked(self, connection: sa.Connection, run_id: str) -> RunRecord | None:
        """Return the row, held until the end of the transaction (SQLite: the transaction holds
        everything already)."""
        result = connection.execute(LOCKED_ROW, {"run_id": run_id})
        row = result.first()
        return record_from(row) if row else None

    def _insert(self, connection: sa.Connection, run: RunRecord) -> bool:
        """Insert the row; False if another process was faster."""
        inserted = connection.execute(insert_once(self.dialect, runs), values_of(run))
        return inserted.first() is not None

    def _update(self, connection: sa.Connection, run: RunRecord) -> None:
        connection.execute(UPDATE_ROW, {**values_of(run), "changed": run.run_id})

    def _move(
        self, connection: sa.Connection, before: RunRecord | None, after: RunRecord
    ) -> Transition | None:
        move = transition_between(before, after)
        if move is None:
            return None
        event = {
            "event_id": move.event_id,
            "run_id": after.run_id,
            "attempt": after.attempt,
            "status": after.status,
            "reason": after.reason,
            "at": move.at,
            "pending": True,
        }
        recorded = connection.execute(insert_once(self.dialect, run_events), event)
        return move if recorded.first() is not None else None


def values_of(run: RunRecord) -> dict[str, Any]:
    return {column.name: getattr(run, column.name) for column in RUN_COLUMNS} | {
        "words": search_text(run),
        "lasted_ms": run.lasted_ms,
    }


def _later(row: RunRecord) -> datetime:
    return max(row.updated_at, datetime.now(UTC))
