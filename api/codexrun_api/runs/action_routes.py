"""POST /runs/{id}/cancel and /retry, both in bulk by the list's filter, and PATCH and DELETE of a
run."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from codexrun_api.http.auth import Caller
from codexrun_api.runs import actions
from codexrun_api.runs.routes import IdempotencyKey, OriginHeader, WaitSeconds
from codexrun_api.runs.start import respond, status_after_wait, wait_until_terminal
from codexrun_api.schemas import query_params, requests, responses
from codexrun_api.schemas.problems import (
    Problem,
    ProblemBody,
    answers,
    invalid,
    not_found,
    problem_of,
)
from codexrun_api.schemas.requests import MAX_BULK_RUNS, BulkRequest
from codexrun_api.schemas.responses import BulkAnswer, BulkItem
from codexrun_api.services import CurrentServices, Services
from codexrun_core.errors import Refused, Unavailable
from codexrun_core.logs import fields
from codexrun_core.resources.phases import ENDED_STATUSES
from codexrun_core.runs.record import RunRecord

log = logging.getLogger(__name__)
router = APIRouter(tags=["actions"])

MAX_CONCURRENT_ACTIONS = 16
PAGE_SIZE = 200


Action = Callable[[RunRecord], Awaitable[str | None]]
OnResult = Callable[[BulkItem], None]

BULK_PROBLEMS = answers(401, 413, 422, 500, 503)


@router.post(
    "/runs/cancel",
    operation_id="cancelRuns",
    response_model_exclude_none=True,
    responses=BULK_PROBLEMS,
)
async def cancel_runs(
    request: Request, services: CurrentServices, user: Caller, body: BulkRequest
) -> BulkAnswer:
    """Cancel every matching run that has not ended; each run has its own result."""
    return await cancel_many(services, body, user, request.state.request_id)


async def cancel_many(
    services: Services,
    body: BulkRequest,
    user: str,
    request_id: str,
    *,
    on_result: OnResult = lambda _: None,
) -> BulkAnswer:
    """Cancel runs in bulk, for REST and console; `on_result` hears of each result as it comes."""

    async def action(record: RunRecord) -> None:
        await actions.cancel(services, record.run_id, user, body.reason)

    return await _bulk(
        request_id,
        services,
        body,
        action,
        applies_to=lambda status: status not in ENDED_STATUSES,
        on_result=on_result,
    )


@router.post(
    "/runs/retry",
    operation_id="retryRuns",
    response_model_exclude_none=True,
    responses=BULK_PROBLEMS,
)
async def retry_runs(
    request: Request,
    services: CurrentServices,
    user: Caller,
    body: BulkRequest,
    origin: OriginHeader = "api",
) -> BulkAnswer:
    """Retry every matching run that has ended; the new runs wait in the queue."""
    return await retry_many(services, body, user, request.state.request_id, origin=origin)


async def retry_many(
    services: Services,
    body: BulkRequest,
    user: str,
    request_id: str,
    *,
    origin: str,
    on_result: OnResult = lambda _: None,
) -> BulkAnswer:
    """Retry runs in bulk, for REST and console; `on_result` hears of each result as it comes."""
    changes = requests.RetryRunRequest(when_full="Queue")

    async def action(record: RunRecord) -> str:
        started = await actions.retry(
            services, record.run_id, changes, user=user, origin=origin, request_id=request_id
        )
        return started.record.run_id

    return await _bulk(
        request_id,
        services,
        body,
        action,
        applies_to=lambda status: status in ENDED_STATUSES,
        on_result=on_result,
    )


@router.patch(
    "/runs/{id}",
    operation_id="editRun",
    response_model_exclude_none=True,
    responses=answers(401, 403, 404, 409, 413, 422, 500, 503),
)
async def edit_run(
    services: CurrentServices,
    _: Caller,
    run_id: query_params.RunId,
    body: requests.EditRunRequest,
) -> responses.RunView:
    """Change the priority of a run that has not ended; while it waits, this changes its place
    in the queue."""
    return services.view(await actions.set_priority(services, run_id, body.priority))


@router.delete(
    "/runs/{id}",
    operation_id="deleteRun",
    response_model_exclude_none=True,
    responses=answers(401, 403, 404, 409, 422, 500, 503),
)
async def delete_run(
    services: CurrentServices, user: Caller, run_id: query_params.RunId
) -> responses.RunView:
    """Delete the object of a run that has ended, with its Job and pod. Its record, log and
    artifacts are kept until a cleanup removes them."""
    record = await actions.delete(services, run_id)
    log.info("run.deleted", extra=fields(run_id=record.run_id, name=record.name, user=user))
    return services.view(record)


@router.post(
    "/runs/{id}/cancel",
    operation_id="cancelRun",
    status_code=202,
    response_model_exclude_none=True,
    responses=responses.ENDED | answers(401, 403, 404, 409, 413, 422, 500, 503),
)
async def cancel_run(  # noqa: PLR0917 - FastAPI passes them by name
    response: Response,
    services: CurrentServices,
    user: Caller,
    run_id: query_params.RunId,
    body: requests.CancelRunRequest | None = None,
    wait: WaitSeconds = 0,
) -> responses.RunView:
    """Request that a run be stopped. Repeating the request has no effect; the response is 409
    if the run ended in another way."""
    record = await actions.cancel(services, run_id, user, body.reason if body else None)
    if wait:
        record = await wait_until_terminal(services, record, wait)
        response.status_code = status_after_wait(record)
    return services.view(record)


@router.post(
    "/runs/{id}/retry",
    operation_id="retryRun",
    status_code=202,
    response_model_exclude_none=True,
    responses=responses.ENDED | answers(401, 403, 404, 409, 413, 422, 429, 500, 503),
)
async def retry_run(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    response: Response,
    services: CurrentServices,
    user: Caller,
    run_id: query_params.RunId,
    body: requests.RetryRunRequest | None = None,
    key: IdempotencyKey = None,
    origin: OriginHeader = "api",
    wait: Annotated[float, Query(ge=0, le=300)] = 0,
) -> responses.RunView:
    """Start a new run with the same spec, even after the object is gone. While that retry has
    not ended, repeating the request returns it."""
    body = body or requests.RetryRunRequest()
    request_id = request.state.request_id
    started = await actions.retry(
        services, run_id, body, user=user, origin=origin, request_id=request_id, key=key
    )
    return await respond(services, response, started, wait)


async def _bulk(
    request_id: str,
    services: Services,
    body: BulkRequest,
    action: Action,
    *,
    applies_to: Callable[[str], bool],
    on_result: OnResult,
) -> BulkAnswer:
    if (body.filter is None or body.filter.empty) == (body.ids is None):
        raise invalid("give either `filter` with at least one field, or `ids`")
    records, unknown, more = await _matching_runs(services, body)
    limiter = asyncio.Semaphore(MAX_CONCURRENT_ACTIONS)

    async def act_on(record: RunRecord) -> BulkItem:
        item = BulkItem(
            run_id=record.run_id, name=record.name, outcome="would_do" if body.dry_run else "done"
        )
        if not applies_to(record.status):
            item.outcome = "skipped"
        elif not body.dry_run:
            async with limiter:
                try:
                    item.new_run_id = await action(record)
                except (Refused, Unavailable, Problem) as error:
                    item.outcome = "failed"
                    item.problem = ProblemBody(**problem_of(error).body(request_id))
        on_result(item)
        return item

    results = await asyncio.gather(*(act_on(record) for record in records))
    for id_or_name in unknown:
        problem = ProblemBody(**not_found(id_or_name).body(request_id))
        results.append(
            BulkItem(run_id=id_or_name, name=id_or_name, outcome="failed", problem=problem)
        )
    return BulkAnswer(dry_run=body.dry_run, matched=len(records), more=more, results=results)


async def _matching_runs(
    services: Services, body: BulkRequest
) -> tuple[list[RunRecord], list[str], bool]:
    """Return the runs that match, ids that match none, and whether there are more."""
    if body.ids is not None:
        records_by_name = {id_or_name: await services.find(id_or_name) for id_or_name in body.ids}
        records = {record.run_id: record for record in records_by_name.values() if record}
        return (
            list(records.values()),
            [id_or_name for id_or_name, record in records_by_name.items() if record is None],
            False,
        )
    assert body.filter is not None
    run_filter = body.filter.filter()
    matching = list[RunRecord]()
    token = None
    while len(matching) < MAX_BULK_RUNS:
        page = await services.registry.page(run_filter, token, PAGE_SIZE)
        matching += page.runs
        if (token := page.next_token) is None:
            return matching[:MAX_BULK_RUNS], [], len(matching) > MAX_BULK_RUNS
    return matching[:MAX_BULK_RUNS], [], True
