"""Hold the registry and the cluster against each other, a piece at a time: rows whose objects are
gone, and objects whose rows are missing or behind.

What is live is written by the writer's queue as it comes; a comparison finds what nobody was told
of: ends and deletions while no api watched, and rows that a database has lost which was put back.
"""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from codexrun_core.logs import fields
from codexrun_core.registry import Registry
from codexrun_core.registry.database import IDS_PER_STATEMENT
from codexrun_core.registry.presence import PresentRow
from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import is_later

log = logging.getLogger(__name__)

MAX_READ_OBJECTS = 20  # in one step: what comes meanwhile waits for it
Revision = tuple[int, int, int]


class Objects(Protocol):
    """The cluster's side: what the mirror knows after its first list."""

    @property
    def namespace(self) -> str: ...

    @property
    def listed_version(self) -> int:
        """Return the resourceVersion of the last whole list."""
        ...

    def ids(self) -> list[str]:
        """Return the ids of all runs whose objects are there."""
        ...

    def revision(self, run_id: str) -> Revision | None:
        """Return attempt, rank and resourceVersion of a run; None of one that is to have no row."""
        ...

    def is_known(self, run_id: str) -> bool:
        """Return whether the object is there."""
        ...

    async def read(self, run_id: str, name: str = "") -> CodexRun | None:
        """Return the object; None if it is gone.

        Raises:
            Unavailable: that is not known now.
            ValueError: this version cannot read it.
        """
        ...


class Comparison:
    """One pass over all rows and all objects. A step that fails may be repeated."""

    def __init__(
        self,
        objects: Objects,
        registry: Registry,
        write: Callable[[CodexRun], Awaitable[None]],
    ) -> None:
        """Begin a pass. write: records one run."""
        self._objects = objects
        self._registry = registry
        self._write = write
        self._steps = iter((self._compare_rows, self._compare_removed, self._compare_objects))
        self._step = next(self._steps)
        self._row = 0
        self._removed = ""
        self._unchecked: list[str] | None = None
        self._unwritten: list[str] = []
        self.since = time.monotonic()

    async def step(self) -> bool:
        """Compare the next piece; return False when there is none left.

        Raises:
            Unavailable: registry or apiserver is away.
        """
        if await self._step():
            return True
        following = next(self._steps, None)
        if following is None:
            return False
        self._step = following
        return True

    async def _compare_rows(self) -> bool:
        """Mark rows whose objects are gone. Only those that have ended unseen lose something by
        that: how."""
        rows = await self._registry.present(self._objects.namespace, self._row)
        if not rows:
            return False
        gone, doubtful = absent(rows, self._objects.is_known, self._objects.listed_version)
        for row in doubtful:
            with contextlib.suppress(ValueError):  # not readable, but there
                if await self._objects.read(row.run_id, row.name) is None:
                    gone.append(row.run_id)
        if gone:
            await self._registry.mark_deleted(gone)
            log.warning("runs.deleted_unseen", extra=fields(runs=len(gone)))
        self._row = rows[-1].seq
        return True

    async def _compare_removed(self) -> bool:
        """Forget those removed runs whose objects have gone too."""
        run_ids = await self._registry.removed(self._objects.namespace, self._removed)
        if not run_ids:
            return False
        gone = [run_id for run_id in run_ids if not self._objects.is_known(run_id)]
        await self._registry.mark_deleted(gone)
        self._removed = run_ids[-1]
        return True

    async def _compare_objects(self) -> bool:
        """Write runs whose rows are missing or behind; all of them where a migration has changed
        what rows have."""
        if self._unwritten:
            for run_id in self._unwritten[-MAX_READ_OBJECTS:]:
                with contextlib.suppress(ValueError):  # its watch logs that it cannot be read
                    if run := await self._objects.read(run_id):
                        await self._write(run)
            del self._unwritten[-MAX_READ_OBJECTS:]
            return True
        if self._unchecked is None:
            self._unchecked = self._objects.ids()
        piece = self._unchecked[-IDS_PER_STATEMENT:]
        rows = await self._registry.revisions(piece)
        if self._registry.upgraded:
            rows = {run_id: None for run_id, row in rows.items() if row is None}
        objects = {run_id: self._objects.revision(run_id) for run_id in piece}
        self._unwritten = behind(objects, rows)
        del self._unchecked[-IDS_PER_STATEMENT:]
        if piece:
            return True
        self._registry.upgraded = False
        return False


def absent(
    rows: Iterable[PresentRow], is_known: Callable[[str], bool], listed_version: int
) -> tuple[list[str], list[PresentRow]]:
    """Return which rows' objects are gone, and which may be: rows that are younger than the list
    are of another process that sees more, or of a cluster that was put back. Pure."""
    unknown = [row for row in rows if not is_known(row.run_id)]
    gone = [row.run_id for row in unknown if row.resource_version <= listed_version]
    return gone, [row for row in unknown if row.resource_version > listed_version]


def behind(
    objects: Mapping[str, Revision | None], rows: Mapping[str, Revision | None]
) -> list[str]:
    """Return the runs whose row is missing or of an earlier state; none that is to have no row, or
    whose row was removed. Pure."""
    return [
        run_id
        for run_id, revision in objects.items()
        if revision and _is_behind(revision, run_id, rows)
    ]


def _is_behind(revision: Revision, run_id: str, rows: Mapping[str, Revision | None]) -> bool:
    if run_id not in rows:
        return True
    row = rows[run_id]
    return row is not None and is_later(revision, row)
