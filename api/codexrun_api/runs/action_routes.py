"""POST /runs/{id}/cancel and /retry, and both in bulk by the list's filter."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from codexrun_api.http.auth import Caller
from codexrun_api.runs import actions
from codexrun_api.runs.routes import IdempotencyKey, OriginHeader, WaitSeconds, answer, ended
from codexrun_api.schemas import params, requests, responses
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
from codexrun_core.kube.client import Refused, Unavailable
from codexrun_core.registry import RunRecord

router = APIRouter(tags=["actions"])

MAX_CONCURRENT_ACTIONS, PAGE_SIZE = 16, 200


Action = Callable[[RunRecord], Awaitable[str | None]]
OnResult = Callable[[BulkItem], None]

BULK_PROBLEMS = answers(400, 401, 413, 422, 500, 503)


@router.post(
    "/runs/cancel",
    operation_id="cancelRuns",
    response_model_exclude_none=True,
    responses=BULK_PROBLEMS,
)
async def cancel_runs(
    request: Request, here: CurrentServices, user: Caller, wish: BulkRequest
) -> BulkAnswer:
    """Cancel every run that matches and has not ended; each has its own result."""
    return await cancel_many(here, wish, user, request.state.request_id)


async def cancel_many(
    here: Services,
    wish: BulkRequest,
    user: str,
    request_id: str,
    *,
    told: OnResult = lambda _: None,
) -> BulkAnswer:
    """The same for other doors; `told` hears of each result as it comes."""

    async def act(record: RunRecord) -> None:
        await actions.cancel(here, record.run_id, user, wish.reason)

    return await _bulk(
        request_id, here, wish, act, fits=lambda status: status not in actions.TERMINAL, told=told
    )


@router.post(
    "/runs/retry",
    operation_id="retryRuns",
    response_model_exclude_none=True,
    responses=BULK_PROBLEMS,
)
async def retry_runs(
    request: Request,
    here: CurrentServices,
    user: Caller,
    wish: BulkRequest,
    origin: OriginHeader = "api",
) -> BulkAnswer:
    """Retry every run that matches and has ended; the new ones wait in the queue."""
    return await retry_many(here, wish, user, request.state.request_id, origin=origin)


async def retry_many(
    here: Services,
    wish: BulkRequest,
    user: str,
    request_id: str,
    *,
    origin: str,
    told: OnResult = lambda _: None,
) -> BulkAnswer:
    """The same for other doors; `told` hears of each result as it comes."""
    changes = requests.RetryRunRequest(when_full="Queue")

    async def act(record: RunRecord) -> str:
        started = await actions.retry(
            here, record.run_id, changes, user=user, origin=origin, request_id=request_id
        )
        return started.record.run_id

    return await _bulk(
        request_id, here, wish, act, fits=lambda status: status in actions.TERMINAL, told=told
    )


@router.post(
    "/runs/{id}/cancel",
    operation_id="cancelRun",
    status_code=202,
    response_model_exclude_none=True,
    responses=answers(400, 401, 403, 404, 409, 413, 422, 500, 503),
)
async def cancel_run(
    here: CurrentServices,
    user: Caller,
    run_id: params.RunId,
    wish: requests.CancelRunRequest | None = None,
    wait: WaitSeconds = 0,
) -> responses.RunView:
    """Ask for a run to be stopped. Asking twice is asking once; one that has ended otherwise is a
    409."""
    record = await actions.cancel(here, run_id, user, wish.reason if wish else None)
    return here.view(await ended(here, record, wait) if wait else record)


@router.post(
    "/runs/{id}/retry",
    operation_id="retryRun",
    status_code=202,
    response_model_exclude_none=True,
    responses=answers(400, 401, 403, 404, 409, 413, 422, 429, 500, 503),
)
async def retry_run(  # noqa: PLR0917 - FastAPI passes them by name
    request: Request,
    response: Response,
    here: CurrentServices,
    user: Caller,
    run_id: params.RunId,
    wish: requests.RetryRunRequest | None = None,
    key: IdempotencyKey = None,
    origin: OriginHeader = "api",
    wait: Annotated[float, Query(ge=0, le=300)] = 0,
) -> responses.RunView:
    """A new run with the same spec, also when the object is long gone. While a retry goes on,
    asking again gives that one."""
    wish = wish or requests.RetryRunRequest()
    request_id = request.state.request_id
    started = await actions.retry(
        here, run_id, wish, user=user, origin=origin, request_id=request_id, key=key
    )
    return await answer(here, response, started, wait)


async def _bulk(
    request_id: str,
    here: Services,
    wish: BulkRequest,
    act: Action,
    *,
    fits: Callable[[str], bool],
    told: OnResult,
) -> BulkAnswer:
    if (wish.filter is None or wish.filter.empty) == (wish.ids is None):
        raise invalid("give either `filter` with at least one field, or `ids`")
    records, unknown, more = await _chosen(here, wish)
    gate = asyncio.Semaphore(MAX_CONCURRENT_ACTIONS)

    async def one(record: RunRecord) -> BulkItem:
        item = BulkItem(
            run_id=record.run_id, name=record.name, outcome="would_do" if wish.dry_run else "done"
        )
        if not fits(record.status):
            item.outcome = "skipped"
        elif not wish.dry_run:
            async with gate:
                try:
                    item.new_run_id = await act(record)
                except (Refused, Unavailable, Problem) as error:
                    item.outcome = "failed"
                    item.problem = ProblemBody(**problem_of(error).body(request_id))
        told(item)
        return item

    results = await asyncio.gather(*(one(record) for record in records))
    for wanted in unknown:
        problem = ProblemBody(**not_found(wanted).body(request_id))
        results.append(BulkItem(run_id=wanted, name=wanted, outcome="failed", problem=problem))
    return BulkAnswer(dry_run=wish.dry_run, matched=len(records), more=more, results=results)


async def _chosen(here: Services, wish: BulkRequest) -> tuple[list[RunRecord], list[str], bool]:
    """The runs that match, ids that match none, and whether there are more."""
    if wish.ids is not None:
        found = {wanted: await here.find(wanted) for wanted in wish.ids}
        records = {record.run_id: record for record in found.values() if record}
        return (
            list(records.values()),
            [wanted for wanted, record in found.items() if record is None],
            False,
        )
    assert wish.filter is not None
    chosen, listed, token = wish.filter.filter(), list[RunRecord](), None
    while len(listed) < MAX_BULK_RUNS:
        page = await here.registry.page(chosen, token, PAGE_SIZE)
        listed += page.runs
        if (token := page.next_token) is None:
            return listed[:MAX_BULK_RUNS], [], len(listed) > MAX_BULK_RUNS
    return listed[:MAX_BULK_RUNS], [], True
