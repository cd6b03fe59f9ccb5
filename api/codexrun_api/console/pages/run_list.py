"""/console/runs: every run; filters, pages and what is shown are all in the URL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from codexrun_api.console.templating import Page, page
from codexrun_api.console.view import list_query as urls
from codexrun_api.console.view.run_rows import Row, key_of, newer, row
from codexrun_api.console.visitors import CurrentVisitor
from codexrun_api.mirror import queue
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices, Services
from codexrun_core.registry import NEWEST, BadToken, Filter, RunRecord, Sort, read_sort
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.filters import token_after

router = APIRouter(route_class=Page, include_in_schema=False)

MAX_BARS = 40  # of the runs shown, in the card of successes


@router.get("/console/runs")
async def runs(
    request: Request,
    here: CurrentServices,
    _: CurrentVisitor,
    part: str = "",
    above: Annotated[str, Query(max_length=128)] = "",
) -> Response:
    """`part=rows` is the list alone, for a page that is open; `above` its first row: what came
    since is only counted."""
    asked = urls.read_list_query(request.query_params.multi_items())
    await here.mirror.writer.caught_up()
    wish, sort = filter_of(asked), sort_of(asked)
    if sort != NEWEST:
        above = ""  # new runs have no place of their own then: they are shown where they stand
    records, next_token, new = await _listed(here, asked, wish, sort, above)
    if sort == NEWEST and records and not asked.token:
        above = above or key_of(records[0])
    counts = await here.registry.counts(replace(wish, status=()))
    now = datetime.now(UTC)
    rows = [_row(here, record, now) for record in records]
    context = {
        "asked": asked,
        "rows": rows,
        "older": _with_token(asked, next_token) if next_token else "",
        "new": new,
        "above": above,
        "counts": counts,
        "matching": sum(
            n
            for status, n in counts.items()
            if not asked.fields.get("status") or status in asked.fields["status"]
        ),
        "presets": urls.PRESETS,
        "sizes": urls.SIZES,
        "job_types": sorted(here.catalog.job_types),
        "prompts": _prompts(here),
        "models": models(here),
        "refresh_url": asked.url(part="rows", above=above),
        "live_url": "/console/live",
        "bars": _bars(rows),
        **await cards(here, now),
    }
    return page(request, "runs.html", block="live" if part == "rows" else "", **context)


def filter_of(asked: urls.ListQuery) -> Filter:
    """The registry's filter.

    Raises:
        Problem: 422, a value that is none.
    """
    try:
        return asked.wish().filter()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "filter"
        raise Problem(
            422,
            "invalid-filter",
            f"{urls.NAMES.get(name, name)}: {first['msg'].removeprefix('Value error, ')}",
        ) from error


def sort_of(asked: urls.ListQuery) -> Sort:
    """The registry's order.

    Raises:
        Problem: 422, it has none of that name.
    """
    try:
        return read_sort(asked.sort) if asked.sort else NEWEST
    except ValueError as error:
        raise Problem(422, "invalid-filter", f"Sort: {error}") from error


async def _listed(
    here: Services, asked: urls.ListQuery, wish: Filter, sort: Sort, above: str
) -> tuple[tuple[RunRecord, ...], str | None, int]:
    """The page's runs, the next page's token, and how many new ones there are above it."""
    try:
        if not above or asked.token:
            found = await here.registry.page(wish, asked.token or None, asked.size, sort)
            return found.runs, found.next_token, 0
        found = await here.registry.page(wish, None, min(500, asked.size + 200))
    except BadToken as error:
        raise Problem(400, "bad-page-token", str(error)) from error
    fresh = sum(newer(record, above) for record in found.runs)
    shown = found.runs[fresh : fresh + asked.size]
    if not shown:  # more new ones than were read: the page would be empty
        return found.runs[: asked.size], None, 0
    more = fresh + asked.size < len(found.runs) or found.next_token is not None
    return shown, _token(shown[-1], wish) if more else None, fresh


def _token(record: RunRecord, wish: Filter) -> str:
    return token_after(record, wish)


def _with_token(asked: urls.ListQuery, token: str) -> str:
    return replace(asked, token=token).url()


def _row(here: Services, record: RunRecord, now: datetime) -> Row:
    busy = here.busy_slots(record.job_type) if record.status == "queued" else 0
    place = here.queue(record.run_id) if record.status == "queued" else None
    run, kind = here.mirror.runs.get(record.run_id), here.catalog.job_types.get(record.job_type)
    return row(record, now, run=run, job_type=kind, place=place, busy=busy)


def models(here: Services) -> list[str]:
    """Those that job types name."""
    found = {
        model
        for kind in here.catalog.job_types.values()
        for model in (kind.spec.model, *(kind.spec.allowed_models or ()))
    }
    return sorted(found)


def _prompts(here: Services) -> list[str]:
    versions = sorted(here.catalog.prompts.values(), key=lambda p: (p.name, p.number))
    names = sorted({p.name for p in versions})
    return [
        option
        for name in names
        for option in (name, *(f"{name}@{p.version}" for p in versions if p.name == name))
    ]


async def cards(here: Services, now: datetime) -> dict[str, Any]:
    """What the top of the list says: slots, queue, success and cost."""
    live = list(here.mirror.runs.values())
    queued = [run for run in live if run.status.phase in (Phase.QUEUED, Phase.PENDING)]
    oldest = min(
        (run.metadata.creation_timestamp for run in queued if run.metadata.creation_timestamp),
        default=None,
    )
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    day, today = await asyncio.gather(
        here.registry.counts(Filter(since=now - timedelta(hours=24))),
        here.registry.stats(Filter(since=midnight)),
    )
    good, bad = day.get("succeeded", 0), day.get("failed", 0)
    return {
        "busy": sum(map(queue.holds_slot, live)),
        "slots": sum(
            0 if kind.spec.suspended else kind.spec.concurrency_limit
            for kind in here.catalog.job_types.values()
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


def _bars(rows: list[Row]) -> list[tuple[Row, int]]:
    """Finished runs of this page with their height in percent by how long they took; the oldest
    first."""
    done = [r for r in rows if r.seconds is not None and not r.state.active][:MAX_BARS]
    longest = max((r.seconds or 0 for r in done), default=0) or 1
    return [(r, max(8, round(100 * (r.seconds or 0) / longest))) for r in reversed(done)]
