"""/console/start/{job type}: a form from the job type's schema; also a retry with changes, and the
manifest alone."""

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from codexrun_api.console.templating import Page, off_loop, page, see_other
from codexrun_api.console.view import input_form, limits
from codexrun_api.console.view.yaml_text import as_yaml
from codexrun_api.console.visitors import CurrentVisitor, EditingVisitor, Visitor, log_action
from codexrun_api.runs import actions, orders, routes
from codexrun_api.runs import start as starting
from codexrun_api.runs.verdicts import no_job_type
from codexrun_api.schemas import requests
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices, Run, Services
from codexrun_core.prompts.rendering import placeholders
from codexrun_core.registry import RunRecord, StoredSpec, read_spec
from codexrun_core.resources import CodexJobType

router = APIRouter(route_class=Page, include_in_schema=False)

LIMITS = tuple(limits.WORDS)


@router.get("/console/start")
async def choose(request: Request, here: CurrentServices, _: CurrentVisitor) -> Response:
    """Which job type?"""
    kinds = [kind for _, kind in sorted(here.catalog.job_types.items())]
    return page(request, "choose.html", kinds=kinds)


@router.get("/console/start/{job_type}")
async def form(
    request: Request, here: CurrentServices, _: CurrentVisitor, job_type: str
) -> Response:
    kind = await _kind(here, job_type)
    return _form(request, here, kind, {}, inputs=None, values=dict(request.query_params))


@router.post("/console/start/{job_type}")
async def start(
    request: Request, here: CurrentServices, seen: EditingVisitor, job_type: str
) -> Response:
    kind = await _kind(here, job_type)
    return await _submitted(request, here, seen, kind, None)


@router.get("/console/runs/{id}/rerun")
async def rerun_form(
    request: Request, here: CurrentServices, _: CurrentVisitor, source: Run
) -> Response:
    """The same form, filled with the run's own values."""
    kind = await _kind(here, source.job_type)
    return _form(
        request,
        here,
        kind,
        {},
        inputs=source.params,
        values=_values_of(read_spec(source.spec)),
        source=source,
    )


@router.post("/console/runs/{id}/rerun")
async def rerun(
    request: Request, here: CurrentServices, seen: EditingVisitor, source: Run
) -> Response:
    return await _submitted(request, here, seen, await _kind(here, source.job_type), source)


async def _kind(here: Services, name: str) -> CodexJobType:
    kind = await here.catalog.job_type(name) if len(name) <= 63 else None
    if kind is None:
        raise no_job_type(name[:63])
    return kind


async def _submitted(
    request: Request, here: Services, seen: Visitor, kind: CodexJobType, source: RunRecord | None
) -> Response:
    form = {name: str(value) for name, value in (await request.form()).items()}
    wanted = _fields(here, kind, None, {}, {})
    inputs, errors = input_form.inputs_of(wanted, form)
    again: dict[str, Any] = {"values": form, "texts": form, "source": source}
    if errors:
        return _form(request, here, kind, errors, inputs=None, status=422, **again)
    try:
        wish = _wish(kind, form, inputs, source)
        if form.get("what") == "preview":
            spec = (
                wish.spec() if isinstance(wish, requests.StartRunRequest) else _again(source, wish)
            )
            manifest = await off_loop(partial(_manifest, here, kind, wish, spec))
            return _form(request, here, kind, {}, inputs=None, manifest=manifest, **again)
        started = await _start(request, here, seen, wish, source=source, key=form.get("key", ""))
    except ValidationError as error:
        said = {str(e["loc"][-1] if e["loc"] else "form"): e["msg"] for e in error.errors()}
        return _form(request, here, kind, said, inputs=None, status=422, **again)
    except Problem as problem:
        if problem.status not in (409, 422, 429, 503):
            raise
        said = {(e.pointer or "").rpartition("/")[2] or "form": e.detail for e in problem.errors}
        return _form(
            request,
            here,
            kind,
            said or {"form": problem.detail},
            inputs=None,
            status=problem.status,
            problem=problem,
            **again,
        )
    log_action(
        request,
        seen,
        "run.retried" if source else "run.started",
        run_id=started.record.run_id,
        name=started.record.name,
    )
    return see_other(f"/console/runs/{started.record.run_id}")


async def _start(
    request: Request,
    here: Services,
    seen: Visitor,
    wish: requests.Overrides,
    *,
    source: RunRecord | None,
    key: str,
) -> starting.Started:
    """The form's own key: sent twice it is still one run."""
    request_id = request.state.request_id
    if isinstance(wish, requests.RetryRunRequest):
        assert source is not None
        return await actions.retry(
            here,
            source.run_id,
            wish,
            user=seen.user,
            origin="console",
            request_id=request_id,
            key=f"form-{key}" if key else None,
        )
    assert isinstance(wish, requests.StartRunRequest)
    order = await routes.ordered(
        here,
        wish,
        user=seen.user,
        origin="console",
        request_id=request_id,
        key=f"form-{key}" if key else None,
        when_full="Queue",
    )
    return await starting.start(here, order)


def _wish(
    kind: CodexJobType, form: Mapping[str, str], inputs: dict[str, Any], source: RunRecord | None
) -> requests.Overrides:
    """What the form asks for; what it leaves at the job type's own is not named.

    Raises:
        ValidationError: a value that REST would refuse too.
    """
    given = {
        name: value
        for name in ("prompt_version", "model", "effort", "name")
        if (value := form.get(name, "").strip())
    }
    own = {
        "model": kind.spec.model,
        "prompt_version": kind.spec.prompt.version,
        "effort": kind.spec.effort,
    }
    given = {name: value for name, value in given.items() if own.get(name) != value}
    body: dict[str, Any] = {**given, "inputs": inputs}
    if lower := {name: _whole(value) for name in LIMITS if (value := form.get(name, "").strip())}:
        body["limits"] = lower
    if priority := form.get("priority", "").strip():
        body["priority"] = _whole(priority)
    if source:
        body.pop("name", None)
        return requests.RetryRunRequest(
            when_full="Queue", resume=form.get("resume") == "true", **body
        )
    if url := form.get("git_url", "").strip():
        ref = form.get("git_ref", "").strip()
        body["workspace"] = {"git": {"url": url} | ({"ref": ref} if ref else {})}
    return requests.StartRunRequest(job_type=kind.metadata.name, **body)


def _again(source: RunRecord | None, wish: requests.Overrides) -> dict[str, Any]:
    assert source is not None
    assert isinstance(wish, requests.RetryRunRequest)
    return actions.retry_spec(source.spec, source, wish)


def _whole(text: str) -> int | str:
    return (
        int(text)
        if text.lstrip("-").isascii() and text.lstrip("-").isdecimal() and len(text) < 16
        else text
    )


def _fields(
    here: Services,
    kind: CodexJobType,
    inputs: Mapping[str, Any] | None,
    texts: Mapping[str, str],
    errors: Mapping[str, str],
) -> list[input_form.Field]:
    prompt = here.catalog.prompts.get((kind.spec.prompt.name, kind.spec.prompt.version))
    return input_form.fields(
        kind.spec.inputs_schema, placeholders(prompt.text) if prompt else (), inputs, texts, errors
    )


def _form(
    request: Request,
    here: Services,
    kind: CodexJobType,
    errors: Mapping[str, str],
    *,
    inputs: Mapping[str, Any] | None,
    values: Mapping[str, str],
    texts: Mapping[str, str] | None = None,
    source: RunRecord | None = None,
    manifest: str = "",
    problem: Problem | None = None,
    status: int = 200,
) -> Response:
    spec = kind.spec
    versions = [
        p
        for p in sorted(here.catalog.prompts.values(), key=lambda p: -p.number)
        if p.name == spec.prompt.name
    ]
    wanted = _fields(here, kind, inputs, texts or {}, errors)
    known = {field.name for field in wanted} | {
        *LIMITS,
        "prompt_version",
        "model",
        "effort",
        "name",
        "priority",
    }
    context: dict[str, Any] = {
        "kind": kind,
        "source": source,
        "fields": wanted,
        "errors": errors,
        "general": [text for name, text in errors.items() if name not in known],
        "values": values,
        "key": values.get("key") or secrets.token_hex(12),
        "versions": versions if spec.prompt.allow_override else [],
        "models": spec.allowed_models or [],
        "efforts": spec.allowed_efforts or [],
        "limits": limits.rows(spec.limits),
        "busy": here.busy_slots(kind.metadata.name),
        "prices": here.prices,
        "manifest": manifest,
        "problem": problem,
    }
    return page(request, "start.html", status, **context)


def _values_of(asked: StoredSpec) -> dict[str, str]:
    """A run's own choices, under the form's names."""
    found = {"prompt_version": asked.prompt_version, "model": asked.model, "effort": asked.effort}
    chosen = {**found, "priority": asked.priority or None, **asked.limits.model_dump()}
    return {name: str(value) for name, value in chosen.items() if value is not None}


def _manifest(
    here: Services, kind: CodexJobType, wish: requests.Overrides, spec: Mapping[str, Any]
) -> str:
    """What `kubectl apply` would be given."""
    name = getattr(wish, "name", None) or orders.fresh_name(kind.metadata.name)
    body = {
        "apiVersion": kind.api_version,
        "kind": "CodexRun",
        "metadata": {"name": name, "namespace": here.settings.namespace},
        "spec": dict(spec),
    }
    return as_yaml(body)
