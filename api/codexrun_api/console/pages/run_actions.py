"""POST /console/runs/{id}/cancel, /retry and /delete, and many at once: by selection or by
everything that matches."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from codexrun_api.console.pages.run_list import filter_of
from codexrun_api.console.templating import Page, page, see_other
from codexrun_api.console.view import list_query as urls
from codexrun_api.console.view.status_text import STATES
from codexrun_api.console.visitors import CurrentVisitor, EditingVisitor, log_action
from codexrun_api.runs import actions
from codexrun_api.runs.action_routes import cancel_many, retry_many
from codexrun_api.runs.bulk_actions import BulkAction, Verb
from codexrun_api.schemas import params, requests
from codexrun_api.schemas.problems import Problem, problem_of
from codexrun_api.schemas.requests import MAX_BULK_RUNS, BulkRequest
from codexrun_api.schemas.responses import BulkAnswer
from codexrun_api.services import CurrentServices, Services

router = APIRouter(route_class=Page, include_in_schema=False)

MAX_UNTYPED_RUNS = 20  # above so many runs the number is typed
MAX_SHOWN_ITEMS = 200
WAIT_SECONDS = 1.0  # seconds: a few runs are done by then, and their page shows it


@router.post("/console/runs/{id}/cancel")
async def cancel(
    request: Request, here: CurrentServices, seen: EditingVisitor, run_id: params.RunId
) -> Response:
    reason = str((await request.form()).get("reason", "")).strip()[:1024] or None
    record = await actions.cancel(here, run_id, seen.user, reason)
    log_action(request, seen, "run.cancel_requested", run_id=record.run_id, name=record.name)
    return see_other(f"/console/runs/{record.run_id}")


@router.post("/console/runs/{id}/retry")
async def retry(
    request: Request, here: CurrentServices, seen: EditingVisitor, run_id: params.RunId
) -> Response:
    """A new run with the same spec; with `resume` it goes on with the earlier one's thread."""
    resume = (await request.form()).get("resume") == "true"
    wish = requests.RetryRunRequest(when_full="Queue", resume=resume)
    started = await actions.retry(
        here, run_id, wish, user=seen.user, origin="console", request_id=request.state.request_id
    )
    log_action(request, seen, "run.retried", run_id=started.record.run_id, name=started.record.name)
    return see_other(f"/console/runs/{started.record.run_id}")


@router.post("/console/runs/{id}/delete")
async def delete(
    request: Request, here: CurrentServices, seen: EditingVisitor, run_id: params.RunId
) -> Response:
    """Only the object: what is recorded of the run stays until it is cleaned up."""
    record = await actions.delete(here, run_id)
    log_action(request, seen, "run.deleted", run_id=record.run_id, name=record.name)
    return see_other(f"/console/runs/{record.run_id}")


@router.post("/console/bulk")
async def bulk(request: Request, here: CurrentServices, seen: EditingVisitor) -> Response:
    """First it says what would be done; sent again with `confirmed` it is done, in the
    background."""
    form = await request.form()
    pairs = [(name, str(value)) for name, value in form.multi_items()]
    asked = urls.read_list_query(pairs)
    verb: Verb = "retry" if form.get("verb") == "retry" else "cancel"
    matching = form.get("scope") == "matching"
    ids = [str(value) for value in form.getlist("run")]
    if not matching and not ids:
        raise Problem(
            422,
            "nothing-selected",
            "no run is selected; select some, or choose all that match the filter",
        )
    if len(ids) > MAX_BULK_RUNS:
        raise Problem(
            422, "too-many", f"{len(ids)} runs are selected; {MAX_BULK_RUNS} are possible at once"
        )
    reason = str(form.get("reason", "")).strip()[:1024] or None
    wish = _wish(asked, ids, verb if matching else None, reason)
    preview = await _run(
        here,
        verb,
        wish.model_copy(update={"dry_run": True}),
        user=seen.user,
        request_id=request.state.request_id,
    )
    count = sum(item.outcome == "would_do" for item in preview.results)
    typed = str(form.get("typed", "")).strip()
    wrong = form.get("confirmed") == "1" and count > MAX_UNTYPED_RUNS and typed != str(count)
    if form.get("confirmed") != "1" or wrong or not count:
        context: dict[str, Any] = {
            "verb": verb,
            "asked": asked,
            "ids": ids,
            "matching": matching,
            "reason": reason or "",
            "preview": preview,
            "count": count,
            "typed_above": MAX_UNTYPED_RUNS,
            "wrong": typed if wrong else None,
            "shown": MAX_SHOWN_ITEMS,
        }
        return page(request, "bulk.html", 422 if wrong else 200, **context)
    started = BulkAction(verb, seen.user, datetime.now(UTC), count)
    number = here.bulk_actions.add(started)
    log_action(request, seen, "runs.bulk_requested", verb=verb, runs=count)
    task = asyncio.create_task(_do(here, started, wish, request.state.request_id))
    here.bulk_actions.tasks.add(task)
    task.add_done_callback(here.bulk_actions.tasks.discard)
    await asyncio.wait({task}, timeout=WAIT_SECONDS)
    return see_other(f"/console/bulk/{number}")


@router.get("/console/bulk/{number}")
async def bulk_result(
    request: Request, here: CurrentServices, _: CurrentVisitor, number: str, part: str = ""
) -> Response:
    found = here.bulk_actions.get(number)
    if found is None:
        detail = "this result is no longer kept; the list shows what became of the runs"
        raise Problem(404, "bulk-not-found", detail)
    return page(
        request,
        "bulk_result.html",
        block="progress" if part else "",
        bulk=found,
        number=number,
        shown=MAX_SHOWN_ITEMS,
    )


def _wish(
    asked: urls.ListQuery, ids: list[str], matching: Verb | None, reason: str | None
) -> BulkRequest:
    """By ids, or by the list's filter; of all that match, those that the verb can be done to at
    all."""
    if matching is None:
        return BulkRequest(ids=ids, reason=reason)
    filter_of(asked)  # says what is wrong with it
    if not asked.fields.get("status"):
        asked = asked.with_(
            "status",
            [name for name, state in STATES.items() if state.active == (matching == "cancel")],
        )
    return BulkRequest(filter=asked.wish(), reason=reason)


async def _run(
    here: Services,
    verb: Verb,
    wish: BulkRequest,
    *,
    user: str,
    request_id: str,
    bulk: BulkAction | None = None,
) -> BulkAnswer:
    told = bulk.items.append if bulk else lambda _: None
    if verb == "cancel":
        return await cancel_many(here, wish, user, request_id, told=told)
    return await retry_many(here, wish, user, request_id, origin="console", told=told)


async def _do(here: Services, bulk: BulkAction, wish: BulkRequest, request_id: str) -> None:
    try:
        bulk.answer = await _run(
            here, bulk.verb, wish, user=bulk.user, request_id=request_id, bulk=bulk
        )
        bulk.items = bulk.answer.results
    except Exception as error:
        bulk.problem = problem_of(error)
