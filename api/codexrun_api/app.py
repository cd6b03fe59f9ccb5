"""The application: routes, their errors, and the tasks that run beside them."""

import asyncio
import contextlib
import functools
import importlib.metadata
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Lifespan

from codexrun_api import health
from codexrun_api.catalog import job_types, prompts
from codexrun_api.console import routes as console_routes
from codexrun_api.http import head_bounds, middleware
from codexrun_api.http.auth import check_closed
from codexrun_api.logs import artifact_routes
from codexrun_api.logs import routes as log_routes
from codexrun_api.runs import action_routes, event_routes, retention, routes
from codexrun_api.schemas import problems
from codexrun_api.services import Services
from codexrun_core.errors import Refused, Unavailable
from codexrun_core.logs import fields

log = logging.getLogger(__name__)

ROUTERS = (
    *(routes.router, action_routes.router, event_routes.router),
    *(job_types.router, prompts.router, retention.router, health.router),
    *(log_routes.router, artifact_routes.router, console_routes.router),
)
HANDLED_ERRORS = (
    problems.Problem,
    RequestValidationError,
    HTTPException,
    Refused,
    Unavailable,
)


def create_app(services: Services) -> FastAPI:
    """Return the public application, REST and console; its lifespan runs the mirror."""
    app = _with_routes(_lifespan)
    app.state.services = services
    for error in HANDLED_ERRORS:
        app.add_exception_handler(error, problems.handle)
    app.add_route("/openapi.json", _get_openapi, include_in_schema=False)
    app.add_middleware(middleware.RequestMiddleware, body_limit=services.settings.body_limit)
    return app


@functools.cache
def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document, with the error schemas of RFC 9457 instead of FastAPI's own.

    Made once per process, since it takes a tenth of a second of CPU.
    """
    document = _with_routes().openapi()
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (problems.ProblemBody, problems.FieldError):
        own = model.model_json_schema(ref_template="#/components/schemas/{model}")
        own.pop("$defs", None)
        schemas[model.__name__] = own
    return document


def _with_routes(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    app = FastAPI(
        title="codexrun",
        version=importlib.metadata.version("codexrun"),
        description=(
            "Start and follow unattended Codex runs, and read their usage. Every error is RFC 9457"
            " problem+json. Any path returns 414 if the path is longer than"
            f" {head_bounds.MAX_PATH_BYTES} bytes or the query longer than"
            f" {head_bounds.MAX_QUERY_BYTES} bytes, 400 for more than"
            f" {head_bounds.MAX_PARAMETERS} parameters, and 431 for more than"
            f" {head_bounds.MAX_HEADERS} headers or {head_bounds.MAX_HEADER_BYTES} bytes."
        ),
        servers=[
            {"url": "/", "description": "This installation."},
            {
                "url": middleware.VERSION_PREFIX,
                "description": ("This installation, with the API version in the path."),
            },
        ],
        lifespan=lifespan,
        openapi_url=None,  # FastAPI would make the document on the event loop, for each application
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


async def _get_openapi(request: Request) -> Response:
    """Answer with the document, which a thread makes while the event loop goes on."""
    await check_closed(request)
    return JSONResponse(await asyncio.to_thread(openapi_document))


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    services.tasks = tasks = [
        asyncio.create_task(services.mirror.run(), name="mirror"),
        asyncio.create_task(services.catalog.run(), name="catalog"),
    ]
    for task in tasks:
        task.add_done_callback(_log_end)
    try:
        yield
    finally:
        services.stop.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.error("task.ended", extra=fields(task=task.get_name()), exc_info=task.exception())
