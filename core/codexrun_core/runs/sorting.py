"""In which order does a list show its runs? Pure: the same for the registry and for objects
straight from the cluster."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from codexrun_core.runs.record import RunRecord

COLUMNS = {
    "created": "created_at",
    "started": "started_at",
    "finished": "finished_at",
    "duration": "lasted_ms",
    "tokens": "cost_tokens",
    "cost": "cost_micro_usd",
}
ALWAYS_KNOWN = ("created", "tokens")


@dataclass(frozen=True)
class Sort:
    """By what, and which way. Runs of which it is not known come last both ways; among equals the
    order of creation decides."""

    key: str = "created"
    descending: bool = True

    def __str__(self) -> str:
        return f"-{self.key}" if self.descending else self.key

    @property
    def column(self) -> str:
        return COLUMNS[self.key]

    def value(self, run: RunRecord) -> datetime | int | None:
        found: datetime | int | None = getattr(run, self.column)
        return found


NEWEST = Sort()


def read_sort(text: str) -> Sort:
    """`cost` is the lowest first, `-cost` the highest.

    Raises:
        ValueError: no such order; the message says which there are.
    """
    key = text.removeprefix("-")
    if key not in COLUMNS:
        raise ValueError(
            f'"{text}" is not a valid sort order; use {", ".join(COLUMNS)}, with - before it for'
            " the highest or latest first"
        )
    return Sort(key, descending=text.startswith("-"))


def ordered(runs: Iterable[RunRecord], sort: Sort) -> list[RunRecord]:
    """All of them, as the registry's pages have them one after another."""
    known, unknown = list[RunRecord](), list[RunRecord]()
    for run in runs:
        (unknown if sort.value(run) is None else known).append(run)
    place = attrgetter("created_at", "run_id")
    known.sort(key=lambda run: (sort.value(run), *place(run)), reverse=sort.descending)
    return known + sorted(unknown, key=place, reverse=sort.descending)
