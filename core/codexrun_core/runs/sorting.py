"""In which order does a list show its runs? Pure: the same for the registry and for objects
straight from the cluster."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from codexrun_core.runs.record import RunRecord

SORT_COLUMNS = {
    "created": "created_at",
    "started": "started_at",
    "finished": "finished_at",
    "duration": "lasted_ms",
    "tokens": "cost_tokens",
    "cost": "cost_micro_usd",
}
NEVER_NULL = ("created", "tokens")


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
        return SORT_COLUMNS[self.key]

    def value(self, run: RunRecord) -> datetime | int | None:
        value: datetime | int | None = getattr(run, self.column)
        return value


NEWEST = Sort()


def parse_sort(text: str) -> Sort:
    """Read an order: `cost` is the lowest first, `-cost` the highest.

    Raises:
        ValueError: no such order; the message says which there are.
    """
    key = text.removeprefix("-")
    if key not in SORT_COLUMNS:
        raise ValueError(
            f'"{text}" is not a valid sort order; use {", ".join(SORT_COLUMNS)}, with a leading "-"'
            " for the highest or latest first"
        )
    return Sort(key, descending=text.startswith("-"))


def sort_runs(runs: Iterable[RunRecord], sort: Sort) -> list[RunRecord]:
    """Sort runs as the registry's pages have them one after another."""
    valued = list[RunRecord]()
    unvalued = list[RunRecord]()
    for run in runs:
        (unvalued if sort.value(run) is None else valued).append(run)
    creation = attrgetter("created_at", "run_id")
    valued.sort(key=lambda run: (sort.value(run), *creation(run)), reverse=sort.descending)
    return valued + sorted(unvalued, key=creation, reverse=sort.descending)
