"""What did the runs come to: how many, how long, at what cost?"""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from codexrun_core.registry.database import Database
from codexrun_core.registry.groups import check_grouping, key_of
from codexrun_core.registry.queries import LIST_INDEX, NEWEST_FIRST, conditions, with_index
from codexrun_core.registry.tables import runs
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.queue_position import usual_of

MAX_DURATIONS = 1000  # of the last runs, for median and percentile
USUAL_RUNS = 50  # good runs that say how long the next one will take

SUCCEEDED = Phase.SUCCEEDED.lower()
# How many rows, their tokens and their cost: what `_sums` adds up.
SUMS = (
    sa.func.count(),
    sa.func.sum(runs.c.cost_tokens),
    sa.func.coalesce(sa.func.sum(runs.c.cost_micro_usd), 0),
)


class StatusCounts:
    """What follows from how many runs there are of each status."""

    statuses: dict[str, int]

    @property
    def runs(self) -> int:
        return sum(self.statuses.values())

    @property
    def success_rate(self) -> float | None:
        """Return the share of runs that succeeded among those that succeeded or failed; what people
        cancelled or the guardrails refused says nothing."""
        return success_rate(self.statuses)


@dataclass(frozen=True)
class JobTypeStats(StatusCounts):
    """What the runs of one job type came to."""

    job_type: str
    statuses: dict[str, int]
    cost_tokens: int
    cost_micro_usd: int


@dataclass(frozen=True)
class Stats(StatusCounts):
    """What the runs of a filter came to. Durations, from the agent's start to its end, are
    those of the last successful runs."""

    statuses: dict[str, int]
    cost_tokens: int
    cost_micro_usd: int
    median_seconds: float | None
    p95_seconds: float | None
    job_types: tuple[JobTypeStats, ...]


@dataclass(frozen=True)
class Group(StatusCounts):
    """What the runs of one group came to; `key` is empty for those that have none."""

    key: str
    statuses: dict[str, int]
    cost_tokens: int
    cost_micro_usd: int


@dataclass(frozen=True)
class PromptStats(StatusCounts):
    """How one prompt version does."""

    name: str
    version: str
    statuses: dict[str, int]
    cost_tokens: int
    cost_micro_usd: int
    last_used_at: datetime


@dataclass(frozen=True)
class UsualRun:
    """Medians of a version's last good runs; None where there is none, or none has a known
    price."""

    tokens: int | None
    cost_micro_usd: int | None
    seconds: float | None


def success_rate(statuses: dict[str, int]) -> float | None:
    """Return the share of succeeded runs among succeeded and failed; None where there is
    neither."""
    good = statuses.get(SUCCEEDED, 0)
    bad = statuses.get(Phase.FAILED.lower(), 0)
    return good / (good + bad) if good + bad else None


class Totals(Database):
    """Sums over `runs`."""

    async def usual(self, job_type: str) -> timedelta | None:
        """Return the median duration of the job type's last good runs; None where there are too few
        to learn from."""
        return usual_of(await self._durations([runs.c.job_type == job_type], USUAL_RUNS))

    async def stats(self, run_filter: Filter) -> Stats:
        """Return what the runs of the filter came to."""
        where = conditions(run_filter, self.dialect)
        by = (runs.c.job_type, runs.c.status)
        query = sa.select(*by, *SUMS).where(*where).group_by(*by)
        by_type: dict[str, list[Any]] = defaultdict(list)
        for job_type, *rest in await self._all(with_index(query, LIST_INDEX)):
            by_type[job_type].append(rest)
        statuses, tokens, cost = _sums(row for of in by_type.values() for row in of)
        durations = sorted(await self._durations(where, MAX_DURATIONS))
        return Stats(
            statuses=statuses,
            cost_tokens=tokens,
            cost_micro_usd=cost,
            median_seconds=statistics.median(durations) if durations else None,
            p95_seconds=durations[(len(durations) * 95 - 1) // 100] if durations else None,
            job_types=tuple(JobTypeStats(name, *_sums(of)) for name, of in sorted(by_type.items())),
        )

    async def grouped(self, run_filter: Filter, grouping: str) -> list[Group]:
        """Return what the runs of the filter came to, by groups: the most expensive first, days in
        their order. grouping: one of `groups.GROUPINGS`, or `label:KEY`.

        Raises:
            ValueError: it is none of these.
        """
        key = key_of(check_grouping(grouping), self.dialect).label("key")
        query = (
            sa.select(key, runs.c.status, *SUMS)
            .where(*conditions(run_filter, self.dialect))
            .group_by(key, runs.c.status)
        )
        rows: dict[str, list[Any]] = defaultdict(list)
        for name, *rest in await self._all(query):
            rows[name or ""].append(rest)
        groups = [Group(name, *_sums(of)) for name, of in rows.items()]
        if grouping == "day":
            return sorted(groups, key=lambda group: group.key)
        return sorted(groups, key=lambda g: (-g.cost_micro_usd, -g.cost_tokens, g.key))

    async def prompt_stats(self) -> list[PromptStats]:
        """Return how every prompt version does, by name and version."""
        c = runs.c
        by = (c.prompt_name, c.prompt_version, c.status)
        query = sa.select(*by, *SUMS, sa.func.max(c.created_at))
        query = query.where(c.prompt_name.is_not(None), c.prompt_version.is_not(None)).group_by(*by)
        versions: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for name, version, *rest in await self._all(query):
            versions[name, version].append(rest)
        return [
            PromptStats(name, version, *_sums(of), max(row[-1] for row in of))
            for (name, version), of in sorted(
                versions.items(), key=lambda item: (item[0][0], _version_order(item[0][1]))
            )
        ]

    async def prompt_usual(self, name: str, version: str) -> UsualRun:
        """Return what a run of this version usually takes: of the last good runs, found by the
        index of the prompt's versions: no scan, however many runs there are."""
        c = runs.c
        query = sa.select(c.cost_tokens, c.cost_micro_usd, c.started_at, c.finished_at)
        query = query.where(
            c.prompt_name == name, c.prompt_version == version, c.status == SUCCEEDED
        )
        rows = await self._all(query.order_by(*NEWEST_FIRST).limit(MAX_DURATIONS))
        costs = [row.cost_micro_usd for row in rows if row.cost_micro_usd is not None]
        times = [
            (r.finished_at - r.started_at).total_seconds()
            for r in rows
            if r.started_at and r.finished_at
        ]
        return UsualRun(
            # A median that occurred: of two in the middle the lower one, as a whole number.
            tokens=statistics.median_low([row.cost_tokens for row in rows]) if rows else None,
            cost_micro_usd=statistics.median_low(costs) if costs else None,
            seconds=max(0.0, statistics.median(times)) if times else None,
        )

    async def _durations(self, where: list[sa.ColumnElement[bool]], limit: int) -> list[float]:
        good = (
            runs.c.status == SUCCEEDED,
            runs.c.started_at.is_not(None),
            runs.c.finished_at.is_not(None),
        )
        query = (
            sa.select(runs.c.started_at, runs.c.finished_at)
            .where(*where, *good)
            .order_by(*NEWEST_FIRST)
            .limit(limit)
        )
        return [
            max(0.0, (finished - started).total_seconds())
            for started, finished in await self._all(query)
        ]


def _sums(rows: Iterable[Any]) -> tuple[dict[str, int], int, int]:
    """Return the runs by status, tokens and cost in millionths of a US dollar. rows: a status and
    its SUMS; what follows them is not looked at."""
    statuses: dict[str, int] = defaultdict(int)
    tokens = 0
    cost = 0
    for status, count, row_tokens, row_cost, *_ in rows:
        statuses[status] += count
        tokens += int(row_tokens)
        cost += int(row_cost)
    return dict(statuses), tokens, cost


def _version_order(version: str) -> tuple[int, str]:
    """Return the sort key of a version: v10 comes after v9."""
    digits = version.removeprefix("v")
    return (int(digits) if digits.isdecimal() else 0, version)
