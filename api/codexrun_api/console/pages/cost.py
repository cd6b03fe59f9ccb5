"""/console/cost: tokens and dollars by day, job type, model and prompt version. Sums are those of
GET /stats."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.pages.run_list import models
from codexrun_api.console.templating import Page, page
from codexrun_api.services import CurrentServices, Services
from codexrun_core.registry import JobTypeStats, Stats
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import Sort

router = APIRouter(route_class=Page, include_in_schema=False)

PERIOD_DAYS = (7, 14, 30)
TOP_RUNS = 10
MAX_CONCURRENT_QUERIES = 4


@dataclass(frozen=True)
class Sum:
    name: str
    runs: int
    tokens: int
    micro_usd: int
    succeeded: int = 0
    url: str = ""
    part: float = 0.0  # of the largest, for its bar

    @property
    def cost(self) -> int | None:
        """None where tokens were used, and none of them has a price."""
        return self.micro_usd if self.micro_usd or not self.tokens else None

    @property
    def each(self) -> int | None:
        return round(self.cost / self.runs) if self.runs and self.cost is not None else None


@router.get("/console/cost")
async def cost(request: Request, services: CurrentServices, _: CurrentVisitor) -> Response:
    """Return the cost; None where tokens were used, and none of them has a price."""
    period = request.query_params.get("days", "")
    days = int(period) if period in map(str, PERIOD_DAYS) else PERIOD_DAYS[0]
    today = datetime.now(UTC).date()
    begin = _midnight(today - timedelta(days=days - 1))
    limiter = asyncio.Semaphore(MAX_CONCURRENT_QUERIES)

    async def stats_of(**chosen: object) -> Stats:
        async with limiter:
            chosen = {"since": begin, **chosen}
            return await services.registry.stats(Filter(**chosen))  # type: ignore[arg-type]

    dates = [today - timedelta(days=n) for n in reversed(range(days))]
    prompts = sorted({(p.name, p.number, p.version) for p in services.catalog.prompts.values()})
    names = models(services)
    total, by_day, by_model, by_prompt = await asyncio.gather(
        stats_of(),
        asyncio.gather(
            *(
                stats_of(since=_midnight(day), until=_midnight(day + timedelta(days=1)))
                for day in dates
            )
        ),
        asyncio.gather(*(stats_of(model=(name,)) for name in names)),
        asyncio.gather(*(stats_of(prompt=(f"{name}@{version}",)) for name, _, version in prompts)),
    )
    since = begin.strftime("%Y-%m-%d")
    tables = {
        "Job type": _table(
            total,
            [
                _sum(t.job_type, t, f"/console/runs?job_type={t.job_type}&since={since}")
                for t in total.job_types
            ],
        ),
        "Model": _table(
            total,
            [
                _sum(n, s, f"/console/runs?model={n}&since={since}")
                for n, s in zip(names, by_model, strict=True)
            ],
        ),
        "Prompt version": _table(
            total,
            [
                _sum(f"{name} {version}", s, f"/console/runs?prompt={name}@{version}&since={since}")
                for (name, _, version), s in zip(prompts, by_prompt, strict=True)
            ],
        ),
    }
    per_day = _scale(
        [_sum(day.isoformat(), s, _day_url(day)) for day, s in zip(dates, by_day, strict=True)]
    )
    top = await _most_expensive_runs(services, begin)
    context: dict[str, Any] = {
        "days": days,
        "periods": PERIOD_DAYS,
        "total": total,
        "per_day": per_day,
        "tables": tables,
        "prices": services.prices,
        "top": top,
    }
    return page(request, "cost.html", **context)


async def _most_expensive_runs(services: Services, since: datetime) -> list[RunRecord]:
    page_of_runs = await services.registry.page(
        Filter(since=since), size=TOP_RUNS, sort=Sort("cost")
    )
    return [run for run in page_of_runs.runs if run.cost_micro_usd]


def _sum(name: str, stats: Stats | JobTypeStats, url: str) -> Sum:
    return Sum(
        name,
        stats.runs,
        stats.cost_tokens,
        stats.cost_micro_usd,
        stats.statuses.get("succeeded", 0),
        url,
    )


def _table(total: Stats, sums: Iterable[Sum]) -> list[Sum]:
    """Return the rows, the dearest first. What none of them has stands in a row of its own, so
    that every table adds up to the total."""
    rows = sorted((s for s in sums if s.runs), key=lambda s: (-s.micro_usd, -s.tokens, s.name))
    other = Sum(
        "other",
        total.runs - sum(s.runs for s in rows),
        total.cost_tokens - sum(s.tokens for s in rows),
        total.cost_micro_usd - sum(s.micro_usd for s in rows),
        total.statuses.get("succeeded", 0) - sum(s.succeeded for s in rows),
    )
    return _scale([*rows, other] if other.runs else rows)


def _scale(sums: list[Sum]) -> list[Sum]:
    largest = max((s.micro_usd or s.tokens for s in sums), default=0) or 1
    return [
        Sum(
            s.name,
            s.runs,
            s.tokens,
            s.micro_usd,
            s.succeeded,
            s.url,
            (s.micro_usd or s.tokens) / largest,
        )
        for s in sums
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _day_url(day: date) -> str:
    return f"/console/runs?since={day.isoformat()}&until={(day + timedelta(days=1)).isoformat()}"
