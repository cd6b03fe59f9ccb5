"""/console/cost: tokens and dollars of any time, by day, job type, model, prompt version, person,
failure class and label; the same as CSV. Sums are those of GET /stats."""

import asyncio
import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.templating import Page, page
from codexrun_api.services import CurrentServices, Services
from codexrun_core.registry import Group
from codexrun_core.registry.groups import GROUPINGS, LABEL_PREFIX, check_grouping
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import Sort

router = APIRouter(route_class=Page, include_in_schema=False)

PERIOD_DAYS = (1, 7, 14, 30)
DEFAULT_DAYS = 7
MAX_DAYS = 366
TOP_RUNS = 10
TABLES = ("job_type", "model", "prompt", "user")
TITLES = {
    "job_type": "Job type",
    "model": "Model",
    "prompt": "Prompt version",
    "user": "Person",
    "status": "Status",
    "failure_class": "Failure class",
    "day": "Day",
}


@dataclass(frozen=True)
class CostQuery:
    """What the page's URL asks for: whole days in UTC, both included, and one more grouping."""

    first: date
    last: date
    by: str = ""  # of check_grouping; empty: none
    problem: str = ""  # what of the URL is not valid, in words

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def label(self) -> str:
        return self.by.removeprefix(LABEL_PREFIX) if self.by.startswith(LABEL_PREFIX) else ""

    @property
    def filter(self) -> Filter:
        return Filter(since=_midnight(self.first), until=_midnight(self.last + timedelta(days=1)))

    def url(self, path: str = "/console/cost") -> str:
        pairs = {"since": self.first.isoformat(), "until": self.last.isoformat(), "by": self.by}
        return f"{path}?{urlencode({name: value for name, value in pairs.items() if value})}"


def read_cost_query(params: Mapping[str, str], today: date) -> CostQuery:
    """Return what is asked for; what is not valid is left out, and said. Pure."""
    days = params.get("days", "")
    length = int(days) if days in map(str, PERIOD_DAYS) else DEFAULT_DAYS
    problems = []
    dates = {"since": today - timedelta(days=length - 1), "until": today}
    for name in dates:
        if text := params.get(name, ""):
            try:
                dates[name] = date.fromisoformat(text)
            except ValueError:
                problems.append(
                    f'"{text[:40]}" is not a valid date; enter a date such as 2026-01-31'
                )
    first, last = sorted(dates.values())
    if (last - first).days >= MAX_DAYS:
        first = last - timedelta(days=MAX_DAYS - 1)
        problems.append(f"at most {MAX_DAYS} days can be shown; choose a shorter period")
    by = params.get("by", "")
    label = params.get("label", "").strip()
    if by in ("", LABEL_PREFIX.rstrip(":")):  # a label's key alone says enough
        by = f"{LABEL_PREFIX}{label}" if label else ""
    if by:
        try:
            check_grouping(by)
        except ValueError as error:
            problems.append(str(error))
            by = ""
    return CostQuery(first, last, by, "; ".join(problems))


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
    """Return what the runs of some days came to."""
    today = datetime.now(UTC).date()
    query = read_cost_query(request.query_params, today)
    run_filter = query.filter
    chosen = [query.by] if query.by not in ("", "day") else []
    groupings = list(dict.fromkeys([*chosen, *TABLES]))  # what was asked for comes first
    total, top, (by_day, *groups) = await asyncio.gather(
        services.registry.stats(run_filter),
        _most_expensive_runs(services, run_filter),
        asyncio.gather(*(services.registry.grouped(run_filter, by) for by in ("day", *groupings))),
    )
    tables = {
        title_of(grouping): [_sum(group, _runs_url(query, grouping, group.key)) for group in of]
        for grouping, of in zip(groupings, groups, strict=True)
    }
    context: dict[str, Any] = {
        "query": query,
        "periods": PERIOD_DAYS,
        "groupings": {grouping: TITLES[grouping] for grouping in GROUPINGS},
        "total": total,
        "per_day": _every_day(query, by_day),
        "tables": {title: with_bars(sums) for title, sums in tables.items()},
        "prices": services.prices,
        "top": top,
        "today": today,
        "yesterday": today - timedelta(days=1),
    }
    return page(request, "cost.html", **context)


@router.get("/console/cost.csv")
async def cost_csv(request: Request, services: CurrentServices, _: CurrentVisitor) -> Response:
    """The same by one grouping, for a spreadsheet."""
    query = read_cost_query(request.query_params, datetime.now(UTC).date())
    grouping = query.by or "day"
    groups = await services.registry.grouped(query.filter, grouping)
    name = f"cost-{query.first}-{query.last}.csv"
    return Response(
        as_csv(grouping, groups),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def title_of(grouping: str) -> str:
    return TITLES.get(grouping) or f"Label {grouping.removeprefix(LABEL_PREFIX)}"


def as_csv(grouping: str, groups: Iterable[Group]) -> str:
    """Return a line for each group. A spreadsheet would compute a key that begins like a formula,
    so that an apostrophe stands before it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([grouping, "runs", "succeeded", "failed", "tokens", "cost_micro_usd"])
    for group in groups:
        formula = group.key.startswith(("=", "+", "-", "@", "\t", "\r"))
        key = f"'{group.key}" if formula else group.key
        good, bad = group.statuses.get("succeeded", 0), group.statuses.get("failed", 0)
        writer.writerow([key, group.runs, good, bad, group.cost_tokens, group.cost_micro_usd])
    return text.getvalue()


def _runs_url(query: CostQuery, grouping: str, key: str) -> str:
    """Return the list of a group's runs; empty where no filter selects them."""
    if not key:
        return ""
    name, value = grouping, key
    if grouping.startswith(LABEL_PREFIX):
        name, value = "label", f"{query.label}={key}"
    until = query.last + timedelta(days=1)
    return "/console/runs?" + urlencode(
        {name: value, "since": query.first.isoformat(), "until": until.isoformat()}
    )


def _every_day(query: CostQuery, groups: Iterable[Group]) -> list[Sum]:
    """Return a row for each day, those without a run too."""
    by_day = {group.key: group for group in groups}
    days = [query.first + timedelta(days=n) for n in range(query.days)]
    return with_bars(
        [
            replace(_sum(group, _day_url(day)), name=day.isoformat())
            if (group := by_day.get(day.isoformat()))
            else Sum(day.isoformat(), 0, 0, 0, 0, _day_url(day))
            for day in days
        ]
    )


async def _most_expensive_runs(services: Services, run_filter: Filter) -> list[RunRecord]:
    page_of_runs = await services.registry.page(run_filter, size=TOP_RUNS, sort=Sort("cost"))
    return [run for run in page_of_runs.runs if run.cost_micro_usd]


def _sum(group: Group, url: str) -> Sum:
    return Sum(
        group.key or "none",
        group.runs,
        group.cost_tokens,
        group.cost_micro_usd,
        group.statuses.get("succeeded", 0),
        url,
    )


def with_bars(sums: list[Sum]) -> list[Sum]:
    """Return sums with their bars: of dollars, or of tokens where no sum has a price."""
    amounts = [s.micro_usd for s in sums]
    if not any(amounts):
        amounts = [s.tokens for s in sums]
    largest = max(amounts, default=0) or 1
    return [replace(s, part=amount / largest) for s, amount in zip(sums, amounts, strict=True)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _day_url(day: date) -> str:
    return f"/console/runs?since={day.isoformat()}&until={(day + timedelta(days=1)).isoformat()}"
