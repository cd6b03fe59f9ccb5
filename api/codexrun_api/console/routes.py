"""All routes of the console."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.pages import (
    catalog,
    compare,
    cost,
    live,
    login,
    run,
    run_actions,
    run_list,
    run_log,
    start,
)
from codexrun_api.console.templating import MEDIA_TYPES, STATIC, Page, page, see_other, static_files
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices
from codexrun_core.runs.filters import Filter

router = APIRouter(route_class=Page, include_in_schema=False)

IMMUTABLE = "public, max-age=31536000, immutable"


@router.get("/")
@router.get("/console")
@router.get("/console/")
async def home() -> Response:
    return see_other("/console/runs")


@router.get("/console/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    """Serve one of the console's files by its very name; by the URL with its digest it never
    changes."""
    url = static_files().get(name)
    if url is None:
        raise Problem(404, "not-found", f"there is no file {name[:100]}")
    file = STATIC / name
    cache_control = IMMUTABLE if url.endswith(f"?v={request.query_params.get('v')}") else "no-cache"
    return FileResponse(
        file, media_type=MEDIA_TYPES[file.suffix], headers={"Cache-Control": cache_control}
    )


@router.get("/console/health")
async def health(request: Request, services: CurrentServices, _: CurrentVisitor) -> Response:
    rows = sum((await services.registry.counts(Filter())).values())
    return page(
        request,
        "health.html",
        here=services,
        rows=rows,
        lag=services.mirror.writer.lag,
        **await run_list.cards(services, Filter(), datetime.now(UTC)),
    )


for module in (login, run_list, start, run_actions, catalog, cost, compare, live, run_log, run):
    router.include_router(module.router)


@router.get("/console/{rest:path}")
async def nothing(_: CurrentVisitor, rest: str) -> Response:
    raise Problem(404, "not-found", f"there is no page /console/{rest[:100]}")
