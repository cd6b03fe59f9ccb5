"""/healthz, /readyz and /metrics, which need no token unless the installation is closed; /version,
which does. The kubelet asks the first two on a port of their own."""

import importlib.metadata
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route

from codexrun_api import metrics
from codexrun_api.http.auth import Caller, check_closed
from codexrun_api.http.head_bounds import BoundedHeads
from codexrun_api.schemas.problems import answers
from codexrun_api.services import CurrentServices, Services
from codexrun_core.errors import Unavailable
from codexrun_core.registry import schema
from codexrun_core.resources import GROUP, VERSION
from codexrun_core.resources.phases import STATUSES
from codexrun_core.runs.filters import Filter

router = APIRouter(tags=["health"])


@router.get(
    "/healthz",
    operation_id="getHealth",
    responses={
        503: {
            "description": ("The REST API process needs a restart."),
            "content": {"application/json": {}},
        },
        **answers(500),
    },
)
async def get_health(services: CurrentServices) -> JSONResponse:
    """The process answers and its mirror is working. An unavailable API server or registry is
    no reason to restart it."""
    return JSONResponse(
        {"ok": services.broken is None, "ended": services.broken}, 503 if services.broken else 200
    )


@router.get(
    "/readyz",
    operation_id="getReadiness",
    responses={
        503: {
            "description": "The runs, job types and prompts have not all been read yet.",
            "content": {"application/json": {}},
        },
        **answers(500),
    },
)
async def get_readiness(services: CurrentServices) -> JSONResponse:
    """Every run, job type and prompt was listed once. The registry may be unavailable, because most
    calls do not need it."""
    ready = services.ready
    return JSONResponse(
        {"ready": ready, "registry_lag_seconds": round(services.mirror.writer.lag, 3)},
        200 if ready else 503,
    )


class Whoami(BaseModel):
    user: Annotated[
        str, Field(description="The name of the token; `shared` for a token without a name.")
    ]


@router.get("/whoami", operation_id="whoAmI", responses=answers(401, 500))
async def who_am_i(user: Caller) -> Whoami:
    """The name of the caller, as recorded with the runs that it starts."""
    return Whoami(user=user)


class Versions(BaseModel):
    version: Annotated[str, Field(description="Version of this server.")]
    resources: Annotated[
        str, Field(description="API group and version of the resources that it uses.")
    ]
    namespace: str
    registry_schema: Annotated[str, Field(description="Schema revision of the registry.")]


@router.get("/version", operation_id="getVersion", responses=answers(401, 500, 503))
async def get_version(services: CurrentServices, _: Caller) -> Versions:
    """Versions of this installation, for clients to compare with their own."""
    return Versions(
        version=importlib.metadata.version("codexrun"),
        resources=f"{GROUP}/{VERSION}",
        namespace=services.settings.namespace,
        registry_schema=schema.head(),
    )


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus exposition.", "content": {"text/plain": {}}},
        **answers(401, 500),
    },
    dependencies=[Depends(check_closed)],
)
async def get_metrics(services: CurrentServices) -> Response:
    """Metrics for Prometheus: HTTP, streams, registry. A restart resets counters to zero. Needs
    a token if the chart's `api.closed` is set."""
    metrics.LAG.set(services.mirror.writer.lag)
    try:
        counts = await services.registry.counts(Filter())
        for status in STATUSES:
            metrics.REGISTRY_RUNS.labels(status.capitalize()).set(counts.get(status, 0))
    except Unavailable:
        metrics.REGISTRY_RUNS.clear()  # not known is absent
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def create_probe_app(services: Services) -> Starlette:
    """Return the application of the kubelet's port: what fills the others' connections keeps no
    probe waiting."""

    async def healthz(_: Request) -> Response:
        return await get_health(services)

    async def readyz(_: Request) -> Response:
        return await get_readiness(services)

    routes = [Route("/healthz", healthz), Route("/readyz", readyz)]
    return Starlette(routes=routes, middleware=[Middleware(BoundedHeads)])
