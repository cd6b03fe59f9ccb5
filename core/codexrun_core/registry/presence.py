"""Which runs does the registry hold to be in the cluster? For holding the two against each other,
piece by piece."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from codexrun_core.registry.database import IDS_PER_STATEMENT, Database, batches
from codexrun_core.registry.tables import removed_runs, runs

REMOVED_RUN = sa.select(removed_runs.c.run_id).where(
    removed_runs.c.run_id == sa.bindparam("run_id")
)


@dataclass(frozen=True)
class PresentRow:
    """A row whose object was not found to be gone. seq: its position among all rows."""

    seq: int
    run_id: str
    name: str
    resource_version: int


class Presence(Database):
    """Read access to what the registry knows of objects."""

    async def present(
        self, namespace: str, after: int = 0, size: int = IDS_PER_STATEMENT
    ) -> list[PresentRow]:
        """Return rows of this namespace whose objects were not found to be gone, ended or not, in
        the order of `seq` from behind `after`."""
        c = runs.c
        query = sa.select(c.seq, c.run_id, c.name, c.resource_version)
        query = query.where(c.namespace == namespace, c.deleted_at.is_(None), c.seq > after)
        return [PresentRow(*row) for row in await self._all(query.order_by(c.seq).limit(size))]

    async def removed(
        self, namespace: str, after: str = "", size: int = IDS_PER_STATEMENT
    ) -> list[str]:
        """Return ids of runs whose rows were removed while their objects were there, in their
        order from behind `after`."""
        c = removed_runs.c
        query = sa.select(c.run_id).where(c.namespace == namespace, c.run_id > after)
        return [run_id for (run_id,) in await self._all(query.order_by(c.run_id).limit(size))]

    async def is_removed(self, run_id: str) -> bool:
        """Return whether the run's row was removed while its object was there."""
        return bool(await self._all(REMOVED_RUN, run_id=run_id))

    async def revisions(self, run_ids: Collection[str]) -> dict[str, tuple[int, int, int] | None]:
        """Return `RunRecord.revision` of those runs that have a row; None for those whose row was
        removed."""
        c = runs.c
        known: dict[str, tuple[int, int, int] | None] = {}
        for batch in batches(run_ids):
            gone = sa.select(removed_runs.c.run_id).where(removed_runs.c.run_id.in_(batch))
            known |= {run_id: None for (run_id,) in await self._all(gone)}
            query = sa.select(c.run_id, c.attempt, c.rank, c.resource_version)
            rows = await self._all(query.where(c.run_id.in_(batch)))
            known |= {row[0]: (row[1], row[2], row[3]) for row in rows}
        return known
