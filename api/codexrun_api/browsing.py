"""GET /jobtypes, /prompts and /stats."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from codexrun_api import params
from codexrun_api.auth import Caller
from codexrun_api.problems import Problem, answers
from codexrun_api.services import Here
from codexrun_core.lifecycle import Phase
from codexrun_core.resources import fields

router = APIRouter(tags=["catalog"])

_SLOT = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)


class JobTypeView(BaseModel):
    name: str
    description: str | None = None
    prompt_name: str
    prompt_version: str
    model: str
    allowed_models: list[str]
    allowed_efforts: list[str]
    inputs_schema: Annotated[dict[str, Any] | None, Field(description="Absent: each placeholder of the prompt is a text.")] = (
        None
    )
    limits: dict[str, int]
    concurrency_limit: int
    running: Annotated[int, Field(description="Slots held: starting, running and stopping.")]
    queued: int
    suspended: bool
    ready: Annotated[bool | None, Field(description="Absent before the operator has looked.")] = None
    message: str | None = None


class JobTypeList(BaseModel):
    job_types: list[JobTypeView]


class PromptVersionView(BaseModel):
    version: str
    sha256: str
    checksum_ok: Annotated[bool, Field(description="Whether text and recorded digest agree.")]
    owner: str
    updated_at: str


class PromptText(PromptVersionView):
    name: str
    text: Annotated[str, Field(description="As Codex is given it, but for the placeholders.")]


class PromptView(BaseModel):
    name: str
    versions: Annotated[list[PromptVersionView], Field(description="Oldest first.")]
    used_by: Annotated[list[str], Field(description="Job types.")]


class PromptList(BaseModel):
    prompts: list[PromptView]


class Stats(BaseModel):
    """Over the runs that match the filter. Durations (agent's start to end) are those of the last good ones."""

    model_config = ConfigDict(from_attributes=True)

    runs: int
    statuses: Annotated[dict[str, int], Field(examples=[{"succeeded": 12, "failed": 1}])]
    success_rate: Annotated[float | None, Field(description="Succeeded among succeeded and failed.")]
    cost_tokens: int
    cost_micro_usd: int
    median_seconds: float | None
    p95_seconds: float | None
    job_types: list["JobTypeStats"]


class JobTypeStats(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    job_type: str
    runs: int
    statuses: dict[str, int]
    success_rate: float | None
    cost_tokens: int
    cost_micro_usd: int


@router.get("/jobtypes", operation_id="listJobTypes", response_model_exclude_none=True, responses=answers(401, 500, 503))
async def list_job_types(here: Here, _: Caller) -> JobTypeList:
    """What can be started, and how full it is."""
    found = []
    for name, job_type in sorted(here.catalog.job_types.items()):
        spec = job_type.spec
        phases = [run.status.phase for run in here.mirror.runs.values() if run.spec.job_type == name]
        condition = next((c for c in job_type.status.conditions if c.type == "Ready"), None)
        found.append(
            JobTypeView(
                name=name,
                description=spec.description,
                prompt_name=spec.prompt.name,
                prompt_version=spec.prompt.version,
                model=spec.model,
                allowed_models=spec.allowed_models or [spec.model],
                allowed_efforts=spec.allowed_efforts or ([spec.effort] if spec.effort else []),
                inputs_schema=spec.inputs_schema,
                limits=spec.limits.model_dump(exclude_none=True),
                concurrency_limit=spec.concurrency_limit,
                running=sum(phase in _SLOT for phase in phases),
                queued=sum(phase is Phase.QUEUED for phase in phases),
                suspended=spec.suspended,
                ready=condition.status == "True" if condition else None,
                message=condition.message if condition else None,
            )
        )
    return JobTypeList(job_types=found)


@router.get("/prompts", operation_id="listPrompts", responses=answers(401, 500, 503))
async def list_prompts(here: Here, _: Caller) -> PromptList:
    """Every prompt version in the cluster, and whether its text is what its checksum says."""
    versions: dict[str, list[Any]] = {}
    for prompt in sorted(here.catalog.prompts.values(), key=lambda p: (p.name, p.number)):
        versions.setdefault(prompt.name, []).append(prompt)
    users: dict[str, list[str]] = {}
    for name, job_type in sorted(here.catalog.job_types.items()):
        users.setdefault(job_type.spec.prompt.name, []).append(name)
    return PromptList(
        prompts=[
            PromptView(
                name=name,
                versions=[PromptVersionView.model_validate(version, from_attributes=True) for version in found],
                used_by=users.get(name, []),
            )
            for name, found in versions.items()
        ]
    )


@router.get("/prompts/{name}/{version}", operation_id="getPrompt", responses=answers(401, 404, 422, 500, 503))
async def get_prompt(here: Here, _: Caller, name: fields.Name, version: fields.PromptVersion) -> PromptText:
    """One version with its text."""
    found = here.catalog.prompts.get((name, version))
    if found is None:
        raise Problem(
            404, "prompt-not-found", f'there is no prompt "{name}" with a version "{version}"; GET /prompts lists them'
        )
    return PromptText.model_validate(found, from_attributes=True)


@router.get("/stats", operation_id="getStats", responses=answers(401, 422, 500, 503))
async def get_stats(here: Here, _: Caller, wish: Annotated[params.FilterWish, Query()]) -> Stats:
    """Counts by status, tokens and cost of the runs that match."""
    return Stats.model_validate(await here.registry.stats(wish.filter()))
