"""POST /runs (and /runs/start), GET /runs, GET /runs/{id}, GET /runs/{id}/details and GET /stats.

Cancel and retry are in action_routes.py.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from codexrun_api.http.auth import Caller
from codexrun_api.runs import start
from codexrun_api.schemas import query_params, requests, responses
from codexrun_api.schemas.problems import FieldError, Problem, answers
from codexrun_api.services import CurrentServices, Run
from codexrun_core.errors import Unavailable
from codexrun_core.runs.paging import InvalidPageToken
from codexrun_core.runs.sorting import parse_sort
from codexrun_core.runs.stored_spec import read_spec

router = APIRouter(tags=["runs"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "The same key from the same caller returns the same run; a 202 for a repeated request"
            " has the header `Idempotent-Replayed: true`."
        ),
    ),
]
OriginHeader = Annotated[
    query_params.Origin,
    Header(
        alias="X-Codexrun-Origin", description="Name of the calling program; recorded with the run."
    ),
]
WaitSeconds = Annotated[
    float,
    Query(
        ge=0,
        le=300,
        description="Wait for the end of the run, for at most this many seconds, before answering.",
    ),
]


class RunList(BaseModel):
    runs: list[responses.RunView]
    next_page_token: str | None = None


class ConditionView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    type: Annotated[str, Field(examples=["Admitted"])]
    status: Annotated[str, Field(examples=["True"], description="True, False or Unknown.")]
    reason: str
    message: str
    last_transition_time: datetime


class TransitionView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    at: datetime
    attempt: int
    status: Annotated[str, Field(examples=["running"])]
    reason: str | None = None


class RunDetails(BaseModel):
    limits: Annotated[
        dict[str, int],
        Field(
            examples=[{"max_tokens": 200000}],
            description="The limits of the run; where it sets none, those of its job type.",
        ),
    ]
    conditions: Annotated[
        list[ConditionView] | None,
        Field(description="The run's conditions; absent when the object is gone."),
    ] = None
    transitions: Annotated[
        list[TransitionView] | None,
        Field(
            description="All transitions of all attempts, oldest first; absent while they"
            " cannot be read."
        ),
    ] = None


class Stats(BaseModel):
    """Totals over the matching runs. Durations, from the agent's start to its end, are
    those of the last successful runs."""

    model_config = ConfigDict(from_attributes=True)

    runs: int
    statuses: Annotated[dict[str, int], Field(examples=[{"succeeded": 12, "failed": 1}])]
    success_rate: Annotated[
        float | None, Field(description="Succeeded runs divided by succeeded and failed runs.")
    ]
    cost_tokens: int
    cost_micro_usd: int
    median_seconds: float | None
    p95_seconds: float | None
    job_types: list["JobTypeStats"]
    groups: Annotated[
        list["GroupStats"] | None,
        Field(
            description="With `group_by`: groups, most expensive first; days in chronological"
            " order."
        ),
    ] = None


class GroupStats(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    key: Annotated[str, Field(description="Empty for runs that have none.", examples=["payments"])]
    runs: int
    statuses: dict[str, int]
    success_rate: float | None
    cost_tokens: int
    cost_micro_usd: int


class JobTypeStats(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    job_type: str
    runs: int
    statuses: dict[str, int]
    success_rate: float | None
    cost_tokens: int
    cost_micro_usd: int


@router.post(
    "/runs",
    operation_id="createRun",
    status_code=202,
    response_model_exclude_none=True,
    responses=responses.ENDED | answers(401, 403, 404, 409, 413, 422, 429, 500, 503),
)
@router.post(
    "/runs/start",
    operation_id="startRun",
    deprecated=True,  # http/middleware.py names its successor
    status_code=202,
    response_model_exclude_none=True,
    responses=responses.ENDED | answers(401, 403, 404, 409, 413, 422, 429, 500, 503),
)
async def start_run(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    response: Response,
    services: CurrentServices,
    user: Caller,
    body: requests.StartRunRequest,
    key: IdempotencyKey = None,
    origin: OriginHeader = "api",
    wait: WaitSeconds = 0,
) -> responses.RunView:
    """Start a run. The operator decides: 202 with its place in the queue, or 429 if the run cannot
    start yet and `when_full` is `Reject`."""
    new = await start.build_run(
        services, body, user=user, origin=origin, request_id=request.state.request_id, key=key
    )
    return await start.respond(services, response, await start.start(services, new), wait)


@router.get(
    "/runs",
    operation_id="listRuns",
    response_model=RunList,
    responses=answers(401, 422, 500, 503),
)
async def list_runs(
    services: CurrentServices, _: Caller, query: Annotated[query_params.RunListQuery, Query()]
) -> Response:
    """Newest first unless `sort` says otherwise, in pages that neither repeat nor skip a run while
    new runs are added."""
    # Whoever heard of a change on the event stream finds it in the list.
    await services.mirror.writer.caught_up()
    try:
        page = await services.registry.page(
            query.filter(), query.page_token, query.page_size, parse_sort(query.sort)
        )
    except InvalidPageToken as error:
        detail = (
            str(error)
            or "this page token belongs to a list with other filters, or was not issued by this"
            " server; leave it out to start from the first page"
        )
        raise Problem(
            400,
            "bad-page-token",
            detail,
            errors=[FieldError(parameter="page_token", detail=detail)],
        ) from error
    views = [
        responses.of_record(record, services.settings.external_url, title=services.title(record))
        for record in page.runs
    ]
    return json_response(RunList(runs=views, next_page_token=page.next_token))


@router.get(
    "/runs/{id}",
    operation_id="getRun",
    response_model=responses.RunView,
    responses=answers(401, 404, 422, 500, 503),
)
async def get_run(services: CurrentServices, _: Caller, record: Run) -> Response:
    """One run, even after its object is gone."""
    return json_response(services.view(record))


@router.get(
    "/runs/{id}/details",
    operation_id="getRunDetails",
    response_model_exclude_none=True,
    responses=answers(401, 404, 422, 500, 503),
)
async def get_run_details(services: CurrentServices, _: Caller, record: Run) -> RunDetails:
    """Effective limits, conditions, and every transition of one run; transitions are kept
    after its object is gone."""
    try:
        run = await services.object_of(record.run_id)
    except Unavailable:
        run = None
    job_type = services.catalog.job_types.get(record.job_type)
    limits = read_spec(record.spec).limits.within(job_type.spec.limits if job_type else None)
    return RunDetails(
        limits=limits.model_dump(exclude_none=True),
        conditions=[ConditionView.model_validate(condition) for condition in run.status.conditions]
        if run
        else None,
        transitions=await _transitions(services, record.run_id),
    )


async def _transitions(services: CurrentServices, run_id: str) -> list[TransitionView] | None:
    await services.mirror.writer.caught_up()
    try:
        return [
            TransitionView.model_validate(event) for event in await services.registry.events(run_id)
        ]
    except Unavailable:
        return None


@router.get(
    "/stats",
    operation_id="getStats",
    response_model_exclude_unset=True,
    responses=answers(401, 422, 500, 503),
)
async def get_stats(
    services: CurrentServices, _: Caller, query: Annotated[query_params.StatsQuery, Query()]
) -> Stats:
    """Counts by status, tokens and cost of the matching runs; with `group_by`, also for each
    group."""
    run_filter = query.filter()
    stats = Stats.model_validate(await services.registry.stats(run_filter))
    if query.group_by:
        groups = await services.registry.grouped(run_filter, query.group_by)
        stats.groups = [GroupStats.model_validate(group) for group in groups]
    return stats


def json_response(view: BaseModel) -> Response:
    """Return the view as it is: what this server has made need not be validated again, in the two
    routes that are called most."""
    return Response(
        view.model_dump_json(by_alias=True, exclude_none=True), media_type="application/json"
    )
