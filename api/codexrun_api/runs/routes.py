"""POST /runs/start, GET /runs, GET /runs/{id}."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel

from codexrun_api.http.auth import Caller
from codexrun_api.runs import start
from codexrun_api.schemas import params, requests, responses
from codexrun_api.schemas.problems import FieldError, Problem, answers, not_found
from codexrun_api.services import Here
from codexrun_core.runs.filters import InvalidPageToken
from codexrun_core.runs.sorting import parse_sort

router = APIRouter(tags=["runs"])

LONGEST_PAGE = 500

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "The same key by the same caller is the same run; a repeated 202 says"
            " `Idempotent-Replayed: true`."
        ),
    ),
]
From = Annotated[
    params.Origin,
    Header(alias="X-Codexrun-Origin", description="Which program is calling, for the record."),
]
Wait = Annotated[
    float,
    Query(ge=0, le=300, description="Answer when the run has ended, or after so many seconds."),
]


class RunList(BaseModel):
    runs: list[responses.RunView]
    next_page_token: str | None = None


@router.post(
    "/runs/start",
    operation_id="startRun",
    status_code=202,
    response_model_exclude_none=True,
    responses=answers(400, 401, 403, 404, 409, 413, 422, 429, 500, 503),
)
async def start_run(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    response: Response,
    here: Here,
    user: Caller,
    wish: requests.StartWish,
    key: Key = None,
    origin: From = "api",
    wait: Wait = 0,
) -> responses.RunView:
    """Start a run. The operator's admission decides: 202 with its place in the queue, or 429 when
    full and `Reject`."""
    new = await start.build_run(
        here, wish, user=user, origin=origin, request_id=request.state.request_id, key=key
    )
    return await start.respond(here, response, await start.start(here, new), wait)


@router.get(
    "/runs",
    operation_id="listRuns",
    response_model=RunList,
    responses=answers(400, 401, 422, 500, 503),
)
async def list_runs(here: Here, _: Caller, wish: Annotated[params.ListWish, Query()]) -> Response:
    """Newest first unless `sort` says otherwise, in pages that neither repeat nor miss a run while
    runs are added."""
    # Whoever heard of a change on the event stream finds it in the list.
    await here.mirror.writer.caught_up()
    try:
        size = min(wish.page_size, LONGEST_PAGE)
        page = await here.registry.page(wish.filter(), wish.page_token, size, parse_sort(wish.sort))
    except InvalidPageToken as error:
        detail = str(error) or "it belongs to another filter, or is none of ours"
        raise Problem(
            400,
            "bad-page-token",
            detail,
            errors=[FieldError(parameter="page_token", detail=detail)],
        ) from error
    shown = [responses.of_record(record, here.settings.external_url) for record in page.runs]
    return plain(RunList(runs=shown, next_page_token=page.next_token))


@router.get(
    "/runs/{id}",
    operation_id="getRun",
    response_model=responses.RunView,
    responses=answers(401, 404, 422, 500, 503),
)
async def get_run(here: Here, _: Caller, id: params.RunId) -> Response:  # noqa: A002
    """One run, also after its object is gone."""
    if record := await here.find(id):
        return plain(here.view(record))
    raise not_found(id)


def plain(view: BaseModel) -> Response:
    """What is ours already need not be validated again: the two routes that are called most."""
    return Response(
        view.model_dump_json(by_alias=True, exclude_none=True), media_type="application/json"
    )
