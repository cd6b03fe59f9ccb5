"""/console/start/{job type}: a form from the job type's schema; also a retry with changes, and the
manifest alone."""

import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from codexrun_api.console.access import CurrentVisitor, EditingVisitor, Visitor, log_action
from codexrun_api.console.templating import Page, off_loop, page, see_other
from codexrun_api.console.view import input_form, limits
from codexrun_api.console.view.yaml_text import as_yaml
from codexrun_api.runs import actions
from codexrun_api.runs import start as starting
from codexrun_api.schemas import requests
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices, Run, Services
from codexrun_core.prompts.rendering import placeholders
from codexrun_core.resources import CodexJobType
from codexrun_core.resources.field_problems import FieldProblem, explain, explain_field
from codexrun_core.runs import names, new_run
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.stored_spec import StoredSpec, read_spec

router = APIRouter(route_class=Page, include_in_schema=False)

LIMIT_NAMES = tuple(limits.LABELS)
# Of the request, each with a field of its own in the form.
OWN_FIELDS = ("prompt_version", "model", "effort", "name", "priority")


@router.get("/console/start")
async def choose(request: Request, services: CurrentServices, _: CurrentVisitor) -> Response:
    """Which job type?"""
    kinds = [job_type for _, job_type in sorted(services.catalog.job_types.items())]
    return page(request, "choose.html", kinds=kinds)


@router.get("/console/start/{job_type}")
async def form(
    request: Request, services: CurrentServices, _: CurrentVisitor, job_type: str
) -> Response:
    kind = await _find_job_type(services, job_type)
    return _form(request, services, kind, {}, inputs=None, values=dict(request.query_params))


@router.post("/console/start/{job_type}")
async def start(
    request: Request, services: CurrentServices, visitor: EditingVisitor, job_type: str
) -> Response:
    kind = await _find_job_type(services, job_type)
    return await _submit(request, services, visitor, kind, None)


@router.get("/console/runs/{id}/rerun")
async def rerun_form(
    request: Request, services: CurrentServices, _: CurrentVisitor, source: Run
) -> Response:
    """The same form, filled with the run's own values."""
    job_type = await _find_job_type(services, source.job_type)
    return _form(
        request,
        services,
        job_type,
        {},
        inputs=source.params,
        values=_values_of(read_spec(source.spec)),
        source=source,
    )


@router.post("/console/runs/{id}/rerun")
async def rerun(
    request: Request, services: CurrentServices, visitor: EditingVisitor, source: Run
) -> Response:
    return await _submit(
        request, services, visitor, await _find_job_type(services, source.job_type), source
    )


async def _find_job_type(services: Services, name: str) -> CodexJobType:
    job_type = await services.catalog.job_type(name) if len(name) <= 63 else None
    if job_type is None:
        raise starting.job_type_not_found(name[:63])
    return job_type


async def _submit(
    request: Request,
    services: Services,
    visitor: Visitor,
    job_type: CodexJobType,
    source: RunRecord | None,
) -> Response:
    form = {name: str(value) for name, value in (await request.form()).items()}
    form_fields = _fields(services, job_type, None, {}, {})
    inputs, errors = input_form.inputs_of(form_fields, form)
    form_values: dict[str, Any] = {"values": form, "texts": form, "source": source}
    if errors:
        return _form(request, services, job_type, errors, inputs=None, status=422, **form_values)
    try:
        body = _request_of(job_type, form, inputs, source)
        if form.get("what") == "preview":
            spec = _spec_of(source, body)
            name = getattr(body, "name", None) or names.fresh_name(job_type.metadata.name)
            manifest_object = new_run.manifest(
                name,
                spec,
                namespace=services.settings.namespace,
                labels=getattr(body, "labels", None),
            )
            manifest = await off_loop(partial(as_yaml, manifest_object))
            return _form(
                request, services, job_type, {}, inputs=None, manifest=manifest, **form_values
            )
        started = await _start(
            request, services, visitor, body, source=source, key=form.get("key", "")
        )
    except ValidationError as error:
        errors_by_field = dict(_form_error(e) for e in error.errors())
        return _form(
            request, services, job_type, errors_by_field, inputs=None, status=422, **form_values
        )
    except Problem as problem:
        if problem.status not in (409, 422, 429, 503):
            raise
        errors_by_field = {
            (e.pointer or "").rpartition("/")[2] or "form": e.detail for e in problem.errors
        }
        return _form(
            request,
            services,
            job_type,
            errors_by_field or {"form": problem.detail},
            inputs=None,
            status=problem.status,
            problem=problem,
            **form_values,
        )
    log_action(
        request,
        visitor,
        "run.retried" if source else "run.started",
        run_id=started.record.run_id,
        name=started.record.name,
    )
    return see_other(f"/console/runs/{started.record.run_id}")


def _form_error(problem: FieldProblem) -> tuple[str, str]:
    """Return the field of the form that has the problem, and what stands beside it. Where there is
    no such field, the text names what is wrong."""
    head, *rest = problem["loc"] or ("form",)
    if head == "limits" and rest:
        return str(rest[-1]), explain(problem)
    if head in OWN_FIELDS:
        return str(head), explain(problem)
    return str(head), explain_field(problem, "form")


async def _start(
    request: Request,
    services: Services,
    visitor: Visitor,
    body: requests.Overrides,
    *,
    source: RunRecord | None,
    key: str,
) -> starting.Started:
    """Start or retry the run. The key is the form's own: sent twice it is still one run."""
    request_id = request.state.request_id
    if isinstance(body, requests.RetryRunRequest):
        assert source is not None
        return await actions.retry(
            services,
            source.run_id,
            body,
            user=visitor.user,
            origin="console",
            request_id=request_id,
            key=f"form-{key}" if key else None,
        )
    assert isinstance(body, requests.StartRunRequest)
    new = await starting.build_run(
        services,
        body,
        user=visitor.user,
        origin="console",
        request_id=request_id,
        key=f"form-{key}" if key else None,
        when_full="Queue",
    )
    return await starting.start(services, new)


def _request_of(
    job_type: CodexJobType,
    form: Mapping[str, str],
    inputs: dict[str, Any],
    source: RunRecord | None,
) -> requests.Overrides:
    """Return the request that the form amounts to; what it leaves at the job type's own value is
    not named.

    Raises:
        ValidationError: a value that REST would refuse too.
    """
    overrides = {
        name: value
        for name in ("prompt_version", "model", "effort", "name")
        if (value := form.get(name, "").strip())
    }
    own = {
        "model": job_type.spec.model,
        "prompt_version": job_type.spec.prompt.version,
        "effort": job_type.spec.effort,
    }
    overrides = {name: value for name, value in overrides.items() if own.get(name) != value}
    body: dict[str, Any] = {**overrides, "inputs": inputs}
    if lower := {
        name: _whole(value) for name in LIMIT_NAMES if (value := form.get(name, "").strip())
    }:
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
    if labels := labels_of(form.get("labels", "")):
        body["labels"] = labels
    return requests.StartRunRequest(job_type=job_type.metadata.name, **body)


def labels_of(text: str) -> dict[str, str]:
    """Return the labels of `team=payments, ticket=4711`. Pure; whether they are labels is checked
    with the rest of the request."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _spec_of(source: RunRecord | None, body: requests.Overrides) -> dict[str, Any]:
    if not isinstance(body, requests.RetryRunRequest):
        return new_run.spec_of(body.dump())
    assert source is not None
    return actions.retry_spec(source, body)


def _whole(text: str) -> int | str:
    return (
        int(text)
        if text.lstrip("-").isascii() and text.lstrip("-").isdecimal() and len(text) < 16
        else text
    )


def _fields(
    services: Services,
    job_type: CodexJobType,
    inputs: Mapping[str, Any] | None,
    texts: Mapping[str, str],
    errors: Mapping[str, str],
) -> list[input_form.Field]:
    prompt = services.catalog.prompts.get((job_type.spec.prompt.name, job_type.spec.prompt.version))
    return input_form.fields(
        job_type.spec.inputs_schema,
        placeholders(prompt.text) if prompt else (),
        inputs,
        texts,
        errors,
    )


def _form(
    request: Request,
    services: Services,
    job_type: CodexJobType,
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
    spec = job_type.spec
    versions = [
        p
        for p in sorted(services.catalog.prompts.values(), key=lambda p: -p.number)
        if p.name == spec.prompt.name
    ]
    form_fields = _fields(services, job_type, inputs, texts or {}, errors)
    field_names = {field.name for field in form_fields} | {
        *LIMIT_NAMES,
        "prompt_version",
        "model",
        "effort",
        "name",
        "priority",
    }
    context: dict[str, Any] = {
        "kind": job_type,
        "source": source,
        "fields": form_fields,
        "errors": errors,
        "general": [text for name, text in errors.items() if name not in field_names],
        "values": values,
        "key": values.get("key") or secrets.token_hex(12),
        "versions": versions if spec.prompt.allow_override else [],
        "models": spec.allowed_models or [],
        "efforts": spec.allowed_efforts or [],
        "limits": limits.rows(spec.limits),
        "busy": services.busy_slots(job_type.metadata.name),
        "prices": services.prices,
        "manifest": manifest,
        "problem": problem,
    }
    return page(request, "start.html", status, **context)


def _values_of(spec: StoredSpec) -> dict[str, str]:
    """Return a run's own choices, under the form's names."""
    names = {"prompt_version": spec.prompt_version, "model": spec.model, "effort": spec.effort}
    chosen = {**names, "priority": spec.priority or None, **spec.limits.model_dump()}
    return {name: str(value) for name, value in chosen.items() if value is not None}
