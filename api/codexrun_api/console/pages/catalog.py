"""/console/jobtypes and /console/prompts: what can be started, how full it is, and how each prompt
version does."""

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from codexrun_api.catalog.job_types import list_job_types, view_of
from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.templating import Page, off_loop, page
from codexrun_api.console.view import limits, run_rows, safe_html
from codexrun_api.console.view.yaml_text import as_yaml
from codexrun_api.runs.start import job_type_not_found
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices, Services
from codexrun_core.errors import Unavailable
from codexrun_core.prompts.stored import StoredPrompt
from codexrun_core.registry import Group, PromptStats, UsualRun
from codexrun_core.runs.filters import Filter

router = APIRouter(route_class=Page, include_in_schema=False)

MAX_VERSIONS_BESIDE = 6  # that one can compare at a glance


@router.get("/console/jobtypes")
async def job_types(
    request: Request, services: CurrentServices, visitor: CurrentVisitor
) -> Response:
    kinds = (await list_job_types(services, visitor.user)).job_types
    return page(request, "jobtypes.html", kinds=kinds)


@router.get("/console/jobtypes/{name}")
async def job_type(
    request: Request, services: CurrentServices, _: CurrentVisitor, name: str
) -> Response:
    kind = services.catalog.job_types.get(name)
    if kind is None:
        raise job_type_not_found(name[:63])
    stats = await services.registry.stats(Filter(job_type=(name,)))
    manifest_of = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name},
        "spec": kind.spec.dump(),
    }
    manifest = await off_loop(partial(as_yaml, manifest_of))
    live = [run for run in services.mirror.runs.values() if run.spec.job_type == name]
    context: dict[str, Any] = {
        "kind": view_of(kind, live),
        "spec": kind.spec,
        "limits": limits.rows(kind.spec.limits),
        "holders": run_rows.holders(live, kind.spec.title_template),
        "queue": run_rows.queue(live, kind.spec.title_template),
        "max_rows": run_rows.MAX_QUEUE_ROWS,
    }
    return page(request, "jobtype.html", **context, stats=stats, manifest=manifest)


@router.get("/console/prompts")
async def prompts(request: Request, services: CurrentServices, _: CurrentVisitor) -> Response:
    stats = await _stats(services)
    prompts_by_name: dict[str, list[StoredPrompt]] = {}
    for prompt in sorted(services.catalog.prompts.values(), key=lambda p: (p.name, -p.number)):
        prompts_by_name.setdefault(prompt.name, []).append(prompt)
    return page(
        request, "prompts.html", prompts=prompts_by_name, stats=stats, used_by=_users(services)
    )


@router.get("/console/prompts/{name}")
async def prompt(
    request: Request, services: CurrentServices, _: CurrentVisitor, name: str
) -> Response:
    """One version's text; with `against`, what another one changes in it."""
    versions = sorted(
        (p for p in services.catalog.prompts.values() if p.name == name), key=lambda p: -p.number
    )
    if not versions:
        raise Problem(
            404,
            "prompt-not-found",
            f'there is no prompt "{name[:63]}" in the cluster',
        )
    by_version = {p.version: p for p in versions}
    version = by_version.get(request.query_params.get("version", ""), versions[0])
    against = by_version.get(request.query_params.get("against", ""))
    context: dict[str, Any] = {
        "name": name,
        "versions": versions,
        "shown": version,
        "against": against,
        "diff": await off_loop(partial(difference, against, version)) if against else None,
        "stats": await _stats(services),
        "versions_beside": await _beside(services, versions[:MAX_VERSIONS_BESIDE]),
        "used_by": _users(services).get(name, []),
    }
    return page(request, "prompt.html", **context)


async def _beside(
    services: Services, versions: list[StoredPrompt]
) -> list[tuple[StoredPrompt, UsualRun, list[Group]]]:
    """Return versions with what a good run of each usually takes, and why the others failed; none
    while the registry is away, or where there is nothing to compare."""
    if len(versions) < 2:
        return []

    async def of(version: StoredPrompt) -> tuple[StoredPrompt, UsualRun, list[Group]]:
        usual = await services.registry.prompt_usual(version.name, version.version)
        failed = Filter(prompt=(f"{version.name}@{version.version}",), status=("failed",))
        groups = await services.registry.grouped(failed, "failure_class")
        return version, usual, sorted(groups, key=lambda group: (-group.runs, group.key))

    try:
        return list(await asyncio.gather(*map(of, versions)))
    except Unavailable:
        return []


def difference(old: StoredPrompt, new: StoredPrompt) -> Markup:
    """Return what changes from one version to the other, as a marked diff; empty where they are
    the same."""
    return safe_html.diff(old.text, new.text, old.version, new.version)


async def _stats(services: Services) -> dict[tuple[str, str], PromptStats]:
    try:
        return {(s.name, s.version): s for s in await services.registry.prompt_stats()}
    except Unavailable:
        return {}


def _users(services: Services) -> dict[str, list[tuple[str, str]]]:
    """Return the job types by the prompt that they use, with its version."""
    users: dict[str, list[tuple[str, str]]] = {}
    for name, job_type in sorted(services.catalog.job_types.items()):
        users.setdefault(job_type.spec.prompt.name, []).append((name, job_type.spec.prompt.version))
    return users
