"""/console/runs: every run; filters, pages and what is shown are all in the URL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.templating import Page, page
from codexrun_api.console.view.list_query import (
    NAMES,
    PRESETS,
    SEVERAL,
    SIZES,
    ListQuery,
    read_list_query,
)
from codexrun_api.console.view.run_rows import Row, key_of, newer, row
from codexrun_api.mirror import queue_view
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices, Services
from codexrun_core.resources.field_problems import explain
from codexrun_core.resources.phases import FailureClass, Phase
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.paging import InvalidPageToken, token_after
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import NEWEST, Sort, parse_sort

router = APIRouter(route_class=Page, include_in_schema=False)

MAX_BARS = 40  # of the runs shown, in the card of successes


@router.get("/console/runs")
async def runs(
    request: Request,
    services: CurrentServices,
    _: CurrentVisitor,
    part: str = "",
    above: Annotated[str, Query(max_length=128)] = "",
) -> Response:
    """`part=rows` is the list alone, for a page that is open; `above` its first row: what came
    since is only counted."""
    query = read_list_query(request.query_params.multi_items())
    await services.mirror.writer.caught_up()
    query, problems = valid_part(query)
    run_filter = filter_of(query)
    sort = sort_of(query)
    if sort != NEWEST:
        above = ""  # new runs have no place of their own then: they are shown where they stand
    records, next_token, new = await _list_page(services, query, run_filter, sort, above)
    if sort == NEWEST and records and not query.token:
        above = above or key_of(records[0])
    counts = await services.registry.counts(replace(run_filter, status=()))
    now = datetime.now(UTC)
    rows = [_row(services, record, now) for record in records]
    context = {
        "asked": query,
        "problems": problems,
        "rows": rows,
        "older": _with_token(query, next_token) if next_token else "",
        "new": new,
        "above": above,
        "counts": counts,
        "matching": sum(
            n
            for status, n in counts.items()
            if not query.fields.get("status") or status in query.fields["status"]
        ),
        "presets": PRESETS,
        "sizes": SIZES,
        "job_types": sorted(services.catalog.job_types),
        "prompts": _prompts(services),
        "models": models(services),
        "failure_classes": [kind.value for kind in FailureClass],
        "refresh_url": query.url(part="rows", above=above),
        "live_url": "/console/live",
        "bars": _bars(rows),
        **await cards(services, run_filter, now),
    }
    return page(request, "runs.html", block="live" if part == "rows" else "", **context)


def valid_part(query: ListQuery) -> tuple[ListQuery, list[str]]:
    """Return the query without the filters that are not valid, and what is wrong with those. The
    others hold."""
    problems = []
    try:
        query.filter_query()
    except ValidationError as error:
        for detail in error.errors():
            name = str(detail["loc"][0]) if detail["loc"] else ""
            problems.append(f"{NAMES.get(name, name)}: {explain(detail)}")
            query = query.with_(name, ()) if name in SEVERAL else query.without(name)
    try:
        sort_of(query)
    except Problem as problem:
        problems.append(problem.detail)
        query = query.without("sort")
    return query, problems


def filter_of(query: ListQuery) -> Filter:
    """Return the registry's filter.

    Raises:
        Problem: 422, a value that is none.
    """
    try:
        return query.filter_query().filter()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "filter"
        raise Problem(
            422,
            "invalid-filter",
            f"{NAMES.get(name, name)}: {explain(first)}",
        ) from error


def sort_of(query: ListQuery) -> Sort:
    """Return the registry's order.

    Raises:
        Problem: 422, it has none of that name.
    """
    try:
        return parse_sort(query.sort) if query.sort else NEWEST
    except ValueError as error:
        raise Problem(422, "invalid-filter", f"Sort: {error}") from error


async def _list_page(
    services: Services, query: ListQuery, run_filter: Filter, sort: Sort, above: str
) -> tuple[tuple[RunRecord, ...], str | None, int]:
    """Return the page's runs, the next page's token, and how many new runs there are above it."""
    try:
        if not above or query.token:
            page_of_runs = await services.registry.page(
                run_filter, query.token or None, query.size, sort
            )
            return page_of_runs.runs, page_of_runs.next_token, 0
        page_of_runs = await services.registry.page(run_filter, None, min(500, query.size + 200))
    except InvalidPageToken as error:
        raise Problem(
            400,
            "bad-page-token",
            "this link to a page of the list is not valid, or no longer matches the list's filters"
            " and order; start from the first page",
        ) from error
    new = sum(newer(record, above) for record in page_of_runs.runs)
    visible = page_of_runs.runs[new : new + query.size]
    if not visible:  # more new ones than were read: the page would be empty
        return page_of_runs.runs[: query.size], None, 0
    more = new + query.size < len(page_of_runs.runs) or page_of_runs.next_token is not None
    return visible, token_after(visible[-1], run_filter) if more else None, new


def _with_token(query: ListQuery, token: str) -> str:
    return replace(query, token=token).url()


def _row(services: Services, record: RunRecord, now: datetime) -> Row:
    busy = services.busy_slots(record.job_type) if record.status == "queued" else 0
    position = services.queue_position(record.run_id) if record.status == "queued" else None
    run = services.mirror.runs.get(record.run_id)
    job_type = services.catalog.job_types.get(record.job_type)
    return row(record, now, run=run, job_type=job_type, position=position, busy=busy)


def models(services: Services) -> list[str]:
    """Return the models that job types name, sorted."""
    names = {
        model
        for job_type in services.catalog.job_types.values()
        for model in (job_type.spec.model, *(job_type.spec.allowed_models or ()))
    }
    return sorted(names)


def _prompts(services: Services) -> list[str]:
    versions = sorted(services.catalog.prompts.values(), key=lambda p: (p.name, p.number))
    names = sorted({p.name for p in versions})
    return [
        option
        for name in names
        for option in (name, *(f"{name}@{p.version}" for p in versions if p.name == name))
    ]


async def cards(services: Services, run_filter: Filter, now: datetime) -> dict[str, Any]:
    """Return what the top of the list says: slots and queue of all runs, success and cost of those
    that match the filter."""
    live = list(services.mirror.runs.values())
    queued = [run for run in live if run.status.phase in (Phase.QUEUED, Phase.PENDING)]
    oldest = min(
        (run.metadata.creation_timestamp for run in queued if run.metadata.creation_timestamp),
        default=None,
    )
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    day, today = await asyncio.gather(
        services.registry.counts(_within(run_filter, now - timedelta(hours=24))),
        services.registry.stats(_within(run_filter, midnight)),
    )
    good = day.get("succeeded", 0)
    bad = day.get("failed", 0)
    return {
        "busy": sum(map(queue_view.holds_slot, live)),
        "slots": sum(
            0 if job_type.spec.suspended else job_type.spec.concurrency_limit
            for job_type in services.catalog.job_types.values()
        ),
        "waiting": len(queued),
        "oldest": (now - oldest).total_seconds() if oldest else None,
        "day_rate": good / (good + bad) if good + bad else None,
        "day_good": good,
        "day_known": good + bad,
        "today_cost": today.cost_micro_usd,
        "today_tokens": today.cost_tokens,
        "today_runs": today.runs,
    }


def _within(run_filter: Filter, since: datetime) -> Filter:
    """Return the filter for runs since then, of any status."""
    begin = max(since, run_filter.since) if run_filter.since else since
    return replace(run_filter, since=begin, status=())


def _bars(rows: list[Row]) -> list[tuple[Row, int]]:
    """Return finished runs of this page, the oldest first, with their height in percent by how
    long they took."""
    finished = [r for r in rows if r.seconds is not None and not r.state.active][:MAX_BARS]
    longest = max((r.seconds or 0 for r in finished), default=0) or 1
    return [(r, max(8, round(100 * (r.seconds or 0) / longest))) for r in reversed(finished)]
