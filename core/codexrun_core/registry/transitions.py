"""Which transitions has nobody followed yet? They are recorded with their rows, so that whoever
stops in between finds them again."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from codexrun_core.registry.database import Database, batches
from codexrun_core.registry.queries import LISTED_COLUMNS
from codexrun_core.registry.tables import run_events, runs
from codexrun_core.runs.lifecycle_hooks import Transition
from codexrun_core.runs.record import RunRecord

# Columns of a transition that rows have too.
_MOVED = {"status": "moved_to", "reason": "moved_for", "attempt": "moved_in"}
_earlier = run_events.alias()
_STATUS_BEFORE = (
    sa.select(_earlier.c.status)
    .where(_earlier.c.run_id == run_events.c.run_id, _earlier.c.seq < run_events.c.seq)
    .order_by(_earlier.c.seq.desc())
    .limit(1)
    .scalar_subquery()
)
_PENDING = (
    sa.select(
        run_events.c.event_id,
        run_events.c.at,
        *(run_events.c[column].label(name) for column, name in _MOVED.items()),
        _STATUS_BEFORE.label("before"),
        *LISTED_COLUMNS,
    )
    .join(runs, runs.c.run_id == run_events.c.run_id)
    .where(run_events.c.pending)
    .order_by(run_events.c.seq)
    .limit(sa.bindparam("size"))
)


class Transitions(Database):
    """Transitions that are recorded and still to be followed."""

    async def pending_transitions(self, size: int) -> list[Transition]:
        """Return the first of them in the order in which they were recorded.

        A transition's run is its row as lists show it now, with status, reason and attempt of the
        transition.
        """
        return [_transition(row) for row in await self._all(_PENDING, size=size)]

    async def settle_transitions(self, event_ids: Collection[str]) -> None:
        """Note that what follows these transitions has been done."""

        def settle(connection: sa.Connection) -> None:
            for batch in batches(event_ids):
                chosen = run_events.c.event_id.in_(batch)
                connection.execute(sa.update(run_events).where(chosen).values(pending=False))

        await self._write(settle)


def _transition(row: sa.Row[Any]) -> Transition:
    columns = dict(row._mapping)
    event_id, at, before = (columns.pop(name) for name in ("event_id", "at", "before"))
    moved = {column: columns.pop(name) for column, name in _MOVED.items()}
    return Transition(event_id, before, RunRecord(**{**columns, **moved}), at)
