"""POST /console/runs/{id}/cancel, /priority, /retry and /delete, and many at once: by selection or
by everything that matches."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from codexrun_api.bulk_progress import BulkAction, Verb
from codexrun_api.console.access import CurrentVisitor, EditingVisitor, log_action
from codexrun_api.console.pages.run_list import filter_of
from codexrun_api.console.templating import Page, page, see_other
from codexrun_api.console.view.list_query import ListQuery, read_list_query
from codexrun_api.console.view.status_text import STATES
from codexrun_api.runs import actions
from codexrun_api.runs.action_routes import cancel_many, retry_many
from codexrun_api.schemas import query_params, requests
from codexrun_api.schemas.problems import Problem, problem_of
from codexrun_api.schemas.requests import MAX_BULK_RUNS, BulkRequest
from codexrun_api.schemas.responses import BulkAnswer
from codexrun_api.services import CurrentServices, Services

router = APIRouter(route_class=Page, include_in_schema=False)

MAX_PRIORITY = 1000  # of the CRD
MAX_UNTYPED_RUNS = 20  # above so many runs the number is typed
MAX_SHOWN_ITEMS = 200
WAIT_SECONDS = 1.0  # seconds: a few runs are done by then, and their page shows it


@router.post("/console/runs/{id}/cancel")
async def cancel(
    request: Request, services: CurrentServices, visitor: EditingVisitor, run_id: query_params.RunId
) -> Response:
    reason = str((await request.form()).get("reason", "")).strip()[:1024] or None
    record = await actions.cancel(services, run_id, visitor.user, reason)
    log_action(request, visitor, "run.cancel_requested", run_id=record.run_id, name=record.name)
    return see_other(f"/console/runs/{record.run_id}")


@router.post("/console/runs/{id}/priority")
async def priority(
    request: Request, services: CurrentServices, visitor: EditingVisitor, run_id: query_params.RunId
) -> Response:
    """Change the place of a run in the queue."""
    text = str((await request.form()).get("priority", "")).strip()
    if not re.fullmatch(r"-?\d{1,4}", text) or abs(int(text)) > MAX_PRIORITY:
        raise Problem(
            422,
            "invalid-priority",
            f'Priority: "{text[:20]}" is not valid; enter a whole number from -{MAX_PRIORITY} to'
            f" {MAX_PRIORITY}",
        )
    record = await actions.set_priority(services, run_id, int(text))
    log_action(
        request,
        visitor,
        "run.priority_changed",
        run_id=record.run_id,
        name=record.name,
        priority=record.priority,
    )
    return see_other(f"/console/runs/{record.run_id}")


@router.post("/console/runs/{id}/retry")
async def retry(
    request: Request, services: CurrentServices, visitor: EditingVisitor, run_id: query_params.RunId
) -> Response:
    """A new run with the same spec; with `resume` it goes on with the earlier one's thread."""
    resume = (await request.form()).get("resume") == "true"
    body = requests.RetryRunRequest(when_full="Queue", resume=resume)
    started = await actions.retry(
        services,
        run_id,
        body,
        user=visitor.user,
        origin="console",
        request_id=request.state.request_id,
    )
    log_action(
        request, visitor, "run.retried", run_id=started.record.run_id, name=started.record.name
    )
    return see_other(f"/console/runs/{started.record.run_id}")


@router.post("/console/runs/{id}/delete")
async def delete(
    request: Request, services: CurrentServices, visitor: EditingVisitor, run_id: query_params.RunId
) -> Response:
    """Only the object: what is recorded of the run stays until it is cleaned up."""
    record = await actions.delete(services, run_id)
    log_action(request, visitor, "run.deleted", run_id=record.run_id, name=record.name)
    return see_other(f"/console/runs/{record.run_id}")


@router.post("/console/bulk")
async def bulk(request: Request, services: CurrentServices, visitor: EditingVisitor) -> Response:
    """First it says what would be done; sent again with `confirmed` it is done, in the
    background."""
    form = await request.form()
    pairs = [(name, str(value)) for name, value in form.multi_items()]
    query = read_list_query(pairs)
    verb: Verb = "retry" if form.get("verb") == "retry" else "cancel"
    ids = [str(value) for value in form.getlist("run")]
    # Who has filtered the list to what they want need not select all of it as well.
    matching = form.get("scope") == "matching" or (not ids and query.filtered)
    if not matching and not ids:
        raise Problem(
            422,
            "nothing-selected",
            "no runs are selected; go back and select runs, or filter the list",
        )
    if len(ids) > MAX_BULK_RUNS:
        raise Problem(
            422,
            "too-many",
            f"{len(ids)} runs are selected; go back and select at most {MAX_BULK_RUNS} runs",
        )
    reason = str(form.get("reason", "")).strip()[:1024] or None
    body = _bulk_request(query, ids, verb if matching else None, reason)
    preview = await _run(
        services,
        verb,
        body.model_copy(update={"dry_run": True}),
        user=visitor.user,
        request_id=request.state.request_id,
    )
    count = sum(item.outcome == "would_do" for item in preview.results)
    typed = str(form.get("typed", "")).strip()
    wrong = form.get("confirmed") == "1" and count > MAX_UNTYPED_RUNS and typed != str(count)
    if form.get("confirmed") != "1" or wrong or not count:
        context: dict[str, Any] = {
            "verb": verb,
            "asked": query,
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
    action = BulkAction(verb, visitor.user, datetime.now(UTC), count)
    number = services.bulk_actions.add(action)
    log_action(request, visitor, "runs.bulk_requested", verb=verb, runs=count)
    task = asyncio.create_task(_do(services, action, body, request.state.request_id))
    services.bulk_actions.tasks.add(task)
    task.add_done_callback(services.bulk_actions.tasks.discard)
    await asyncio.wait({task}, timeout=WAIT_SECONDS)
    return see_other(f"/console/bulk/{number}")


@router.get("/console/bulk/{number}")
async def bulk_result(
    request: Request, services: CurrentServices, _: CurrentVisitor, number: str, part: str = ""
) -> Response:
    action = services.bulk_actions.get(number)
    if action is None:
        detail = (
            "the result of this action is no longer stored; see the list of runs for the current"
            " state of each run"
        )
        raise Problem(404, "bulk-not-found", detail)
    return page(
        request,
        "bulk_result.html",
        block="progress" if part else "",
        bulk=action,
        number=number,
        shown=MAX_SHOWN_ITEMS,
    )


def _bulk_request(
    query: ListQuery, ids: list[str], matching: Verb | None, reason: str | None
) -> BulkRequest:
    """Return the request by ids, or by the list's filter; of all that match, it names those that
    the verb can be done to at all."""
    if matching is None:
        return BulkRequest(ids=ids, reason=reason)
    filter_of(query)  # says what is wrong with it
    if not query.fields.get("status"):
        query = query.with_(
            "status",
            [name for name, state in STATES.items() if state.active == (matching == "cancel")],
        )
    return BulkRequest(filter=query.filter_query(), reason=reason)


async def _run(
    services: Services,
    verb: Verb,
    body: BulkRequest,
    *,
    user: str,
    request_id: str,
    action: BulkAction | None = None,
) -> BulkAnswer:
    on_result = action.items.append if action else lambda _: None
    if verb == "cancel":
        return await cancel_many(services, body, user, request_id, on_result=on_result)
    return await retry_many(services, body, user, request_id, origin="console", on_result=on_result)


async def _do(services: Services, action: BulkAction, body: BulkRequest, request_id: str) -> None:
    try:
        action.answer = await _run(
            services, action.verb, body, user=action.user, request_id=request_id, action=action
        )
        action.items = action.answer.results
    except Exception as error:
        action.problem = problem_of(error)
