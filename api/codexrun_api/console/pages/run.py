"""/console/runs/{id}: one run. The state and why, what Codex did, its log, prompt, artifacts and
manifest."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from codexrun_api.archive.archive import Archive
from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.pages.run_log import NO_WINDOW, window
from codexrun_api.console.templating import Page, off_loop, page
from codexrun_api.console.view import (
    commands,
    limits,
    safe_html,
    status_text,
    timeline,
    transcript,
)
from codexrun_api.console.view.run_rows import ORIGINS, limits_of, workspace
from codexrun_api.console.view.status_text import state_of
from codexrun_api.console.view.yaml_text import as_yaml
from codexrun_api.logs import artifact_routes
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices, Run, Services
from codexrun_core.errors import Unavailable
from codexrun_core.prompts.rendering import UnknownPlaceholderError, render
from codexrun_core.resources import GROUP, VERSION, CodexRun
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.stored_spec import read_spec

router = APIRouter(route_class=Page, include_in_schema=False)

TABS = {
    "codex": "Codex",
    "log": "Log",
    "prompt": "Prompt",
    "artifacts": "Artifacts",
    "yaml": "YAML",
}
WINDOW_BYTES = 256 * 1024  # bytes of the log that the Codex view reads at once
TAIL_BYTES = 64 * 1024
MAX_LINES = 2_000  # of the log in a page, however short they are
TIME_LIMITS = ("timeout_seconds", "stall_seconds")  # that a run which has started can reach
MESSAGE_ARTIFACT = "final-message.md"
PATCH_ARTIFACT = "workspace.patch"


@router.get("/console/runs/{id}")
async def run(
    request: Request, services: CurrentServices, _: CurrentVisitor, record: Run, part: str = ""
) -> Response:
    tab = tab_of(request.query_params)
    now = datetime.now(UTC)
    head = await _head(services, record, now)
    context = {"tab": tab, "tabs": TABS, **head}
    if part == "run" and tab == "log":  # the page keeps its own lines
        context |= NO_WINDOW
    else:
        context |= await _tab(services, record, head["object"], request.query_params)
    return page(request, "run.html", block="run" if part == "run" else "", **context)


@router.get("/console/runs/{id}/artifacts/{name}")
async def artifact(
    services: CurrentServices, _: CurrentVisitor, record: Run, name: artifact_routes.Name
) -> FileResponse:
    """The same file as REST's, for a browser that has a session and no token."""
    path = await asyncio.to_thread(services.archive.artifact, record.run_id, name)
    if path is None:
        raise Problem(404, "artifact-not-found", f'this run has no artifact "{name}"')
    return FileResponse(
        path, media_type="application/octet-stream", filename=f"{record.name}-{name}"
    )


def tab_of(query: Mapping[str, str]) -> str:
    tab = query.get("tab", "")
    return tab if tab in TABS else "codex"


async def _head(services: Services, record: RunRecord, now: datetime) -> dict[str, Any]:
    """Return what stands above the tabs and beside them."""
    run = await _unless_unavailable(services.object_of(record.run_id), None)
    job_type = services.catalog.job_types.get(record.job_type)
    limit = job_type.spec.concurrency_limit if job_type else 0
    state = state_of(record.status)
    spec = read_spec(record.spec)
    live = state.active
    size = await asyncio.to_thread(services.archive.size, record.run_id)
    doing = ""
    if record.status == "running":
        _, tail = await off_loop(
            partial(_entries, services.archive, record.run_id, max(0, size - TAIL_BYTES), size)
        )
        doing = tail.doing
    events, usual, retries = await asyncio.gather(
        _unless_unavailable(services.registry.events(record.run_id), []),
        _unless_unavailable(services.registry.usual(record.job_type), None)
        if live
        else _no_duration(),
        _unless_unavailable(_retries(services, record), ()),
    )
    run_limits = limits_of(record, job_type)
    prompt = services.catalog.prompts.get((record.prompt_name or "", record.prompt_version or ""))
    position = services.queue_position(record.run_id)
    busy = services.busy_slots(record.job_type) if record.status == "queued" else 0
    return {
        "run": record,
        "object": run,
        "present": services.mirror.name_of(record.run_id) is not None,
        "state": state,
        "sentence": status_text.sentence(
            record,
            now,
            run=run,
            position=position,
            busy=busy,
            limit=limit,
            usual=usual if live else None,
            doing=doing,
        ),
        "way_out": status_text.way_out(record),
        "seconds": status_text.run_seconds(record, now),
        "stretches": timeline.stretches(record, events, now),
        "limits": run_limits,
        "time_limits": [
            limit
            for limit in limits.rows(run_limits)
            if limit.value is not None and limit.name in TIME_LIMITS
        ],
        "prices": services.prices.version,
        "price_known": (record.model or "") in services.prices.models,
        "prompt": prompt,
        "checksum": checksum(record, prompt),
        "workspace": workspace(spec.git),
        "git": spec.git,
        "origins": ORIGINS,
        "origin": ORIGINS.get(record.origin, record.origin),
        "conditions": run.status.conditions if run else (),
        "events": events,
        "cancel": spec.cancel or (run.spec.cancel if run else None),
        "commands": commands.commands(record, run),
        "links": _links(services, record, now),
        "retries": retries,
        "log_size": size,
        "resumable": bool(record.thread_id),
        "live_url": f"/console/runs/{record.run_id}/live",
        "streams": live
        or (
            record.terminal
            and record.log_complete is None
            and size > 0
            and _may_still_close(record, now)
        ),
    }


def _links(services: Services, record: RunRecord, now: datetime) -> list[tuple[str, str]]:
    """Return names and URLs of what else knows of the run."""
    words = {
        "name": record.name,
        "namespace": record.namespace,
        "run_id": record.run_id,
        "job_type": record.job_type,
    }
    end = record.finished_at or now
    return [
        (link.name, link.to(start=record.created_at, end=end, **words))
        for link in services.settings.console_links
    ]


def _may_still_close(record: RunRecord, now: datetime) -> bool:
    """Return whether its log may still be closed."""
    return record.finished_at is not None and (now - record.finished_at).total_seconds() < 60


async def _unless_unavailable(call: Any, otherwise: Any) -> Any:
    """Return the call's result, or `otherwise` while registry or apiserver are away: the page is
    there without what it would add."""
    try:
        return await call
    except Unavailable:
        return otherwise


async def _no_duration() -> timedelta | None:
    return None


async def _retries(services: Services, record: RunRecord) -> tuple[RunRecord, ...]:
    return (await services.registry.page(Filter(retry_of=(record.run_id,)), None, 5)).runs


def checksum(record: RunRecord, prompt: Any) -> tuple[str, str]:
    """Return tone and words for the checksum of the run's prompt."""
    if prompt is None:
        return "off", "prompt no longer in the cluster"
    if not prompt.checksum_ok or (record.prompt_sha256 and record.prompt_sha256 != prompt.sha256):
        return "bad", "mismatch"
    return ("ok", "valid") if record.prompt_sha256 else ("off", "not checked yet")


async def _tab(
    services: Services, record: RunRecord, run: CodexRun | None, query: Mapping[str, str]
) -> dict[str, Any]:
    run_id = record.run_id
    tab = tab_of(query)
    match tab:
        case "codex":
            return await off_loop(
                partial(_codex, services.archive, record, query.get("before", ""))
            )
        case "log":
            return await window(services, run_id, query)
        case "prompt":
            return await off_loop(partial(_prompt, services, record))
        case "artifacts":
            return await off_loop(partial(_artifacts, services.archive, run_id))
        case _:
            return {"manifest": await off_loop(partial(manifest, run, record))}


def _codex(archive: Archive, record: RunRecord, before: str) -> dict[str, Any]:
    size = archive.size(record.run_id)
    end = (
        min(size, int(before))
        if before.isascii() and before.isdecimal() and len(before) < 16
        else size
    )
    start, codex_transcript = _entries(archive, record.run_id, max(0, end - WINDOW_BYTES), end)
    path = archive.artifact(record.run_id, MESSAGE_ARTIFACT)
    message = _text(path, safe_html.MAX_MESSAGE_BYTES) if path else (record.result or "")
    budget = safe_html.Budget()
    return {
        "transcript": codex_transcript,
        "earlier": start,
        "later": end < size,
        "message": message,
        "final": transcript.final_message(message),
        "patch_bytes": patch.stat().st_size
        if (patch := archive.artifact(record.run_id, PATCH_ARTIFACT))
        else 0,
        "markdown": budget.markdown,
        "output": budget.output,
        "diff_of": budget.patch,
    }


def _entries(
    archive: Archive, run_id: str, start: int, end: int
) -> tuple[int, transcript.Transcript]:
    """Return where the first line at or after `start` begins, and what Codex did from there to
    `end`, in MAX_LINES lines at most."""
    data = archive.read(run_id, start, end)
    if start:  # not from the middle of a line
        skipped = data.find(b"\n") + 1
        start = start + skipped
        data = data[skipped:]
    lines = []
    at = start
    for raw in data.split(b"\n"):
        lines.append((at, raw))
        at += len(raw) + 1
    lines = lines[-MAX_LINES:]
    return lines[0][0], transcript.read(lines)


def _prompt(services: Services, record: RunRecord) -> dict[str, Any]:
    prompt = services.catalog.prompts.get((record.prompt_name or "", record.prompt_version or ""))
    if prompt is None:
        return {"source": None, "rendered": None, "unrendered": ""}
    try:
        return {
            "source": prompt.text,
            "rendered": render(prompt.text, record.params),
            "unrendered": "",
        }
    except (UnknownPlaceholderError, ValueError) as error:
        return {"source": prompt.text, "rendered": None, "unrendered": str(error)}


def _artifacts(archive: Archive, run_id: str) -> dict[str, Any]:
    path = archive.artifact(run_id, PATCH_ARTIFACT)
    text = _text(path, safe_html.MAX_PATCH_BYTES) if path else ""
    return {
        "artifacts": archive.list_artifacts(run_id),
        "patch": safe_html.patch(text) if text else None,
        "patch_cut": bool(path and path.stat().st_size > safe_html.MAX_PATCH_BYTES),
    }


def _text(path: Path, max_bytes: int) -> str:
    with path.open("rb") as file:
        return file.read(max_bytes).decode("utf-8", "replace")


def manifest(run: CodexRun | None, record: RunRecord) -> str:
    """Return the object as it is, or, without one, the one that would make the same run."""
    if run:
        manifest_body = run.dump()
        if "inputs" in record.spec:  # the mirror keeps no large ones
            manifest_body["spec"]["inputs"] = record.spec["inputs"]
        manifest_body["metadata"] = {
            k: v for k, v in manifest_body["metadata"].items() if v not in ({}, "", None)
        }
    else:
        manifest_body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "CodexRun",
            "metadata": {"name": record.name, "namespace": record.namespace},
            "spec": record.spec,
        }
    return as_yaml(manifest_body)
