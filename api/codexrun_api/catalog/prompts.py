"""GET /prompts, /prompts/{name} and /prompts/{name}/{version}: what there is, is it right, and how
does it do?"""

import logging
from typing import Annotated, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from codexrun_api.http.auth import Caller
from codexrun_api.schemas.problems import Problem, answers
from codexrun_api.services import CurrentServices
from codexrun_core.errors import Unavailable
from codexrun_core.logs import fields
from codexrun_core.prompts.stored import StoredPrompt
from codexrun_core.registry import PromptStats

log = logging.getLogger(__name__)
router = APIRouter(tags=["catalog"])

Name = Annotated[
    str,
    Path(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        examples=["code-review"],
    ),
]
Version = Annotated[str, Path(max_length=8, pattern=r"^v[1-9][0-9]{0,6}$", examples=["v1"])]


class PromptRuns(BaseModel):
    """Results of the runs of one version."""

    model_config = ConfigDict(from_attributes=True)

    runs: int = 0
    success_rate: Annotated[
        float | None, Field(description="Succeeded runs divided by succeeded and failed runs.")
    ] = None
    cost_tokens: int = 0
    cost_micro_usd: int = 0


class PromptUse(PromptRuns):
    """The same, with medians over the last 1,000 successful runs."""

    median_tokens: int | None = None
    median_cost_micro_usd: int | None = None
    median_seconds: float | None = None


class PromptVersionView(BaseModel):
    version: str
    sha256: str
    checksum_ok: Annotated[
        bool, Field(description="Whether the text matches the recorded checksum.")
    ]
    owner: str
    updated_at: str
    used_by: Annotated[list[str], Field(description="Job types that use this version.")] = []
    stats: Annotated[
        PromptRuns | None, Field(description="Absent while the registry is unavailable.")
    ] = None

    @classmethod
    def of(cls, prompt: StoredPrompt, used_by: list[str], stats: PromptRuns | None) -> Self:
        names = ("version", "sha256", "checksum_ok", "owner", "updated_at")
        return cls(**{name: getattr(prompt, name) for name in names}, used_by=used_by, stats=stats)


class PromptView(BaseModel):
    name: str
    versions: Annotated[list[PromptVersionView], Field(description="Oldest first.")]
    used_by: Annotated[list[str], Field(description="Job types.")]


class PromptList(BaseModel):
    prompts: list[PromptView]


class PromptText(PromptVersionView):
    name: str
    text: str
    stats: PromptUse | None = None


@router.get("/prompts", operation_id="listPrompts", responses=answers(401, 500, 503))
async def list_prompts(services: CurrentServices, _: Caller) -> PromptList:
    """Every prompt version in the cluster, whether its text matches its checksum, and the results
    of its runs."""
    return PromptList(prompts=await _views(services))


@router.get("/prompts/{name}", operation_id="getPrompt", responses=answers(401, 404, 422, 500, 503))
async def get_prompt(services: CurrentServices, _: Caller, name: Name) -> PromptView:
    """One prompt with all its versions."""
    prompt_view = next((view for view in await _views(services) if view.name == name), None)
    if prompt_view is None:
        raise Problem(
            404, "prompt-not-found", f'there is no prompt "{name}"; GET /prompts lists the prompts'
        )
    return prompt_view


@router.get(
    "/prompts/{name}/{version}",
    operation_id="getPromptVersion",
    responses=answers(401, 404, 422, 500, 503),
)
async def get_prompt_version(
    services: CurrentServices, _: Caller, name: Name, version: Version
) -> PromptText:
    """One version: its text, and the usual duration, tokens and cost of its runs."""
    prompt = services.catalog.prompts.get((name, version))
    if prompt is None:
        raise Problem(
            404,
            "prompt-not-found",
            f'there is no prompt "{name}" {version}; GET /prompts lists the prompts',
        )
    try:
        sums = (await _sums(services)).get((name, version))
        usual = await services.registry.prompt_usual(name, version)
        stats = PromptUse(
            **PromptRuns.model_validate(sums).model_dump() if sums else {},
            median_tokens=usual.tokens,
            median_cost_micro_usd=usual.cost_micro_usd,
            median_seconds=usual.seconds,
        )
    except Unavailable:
        stats = None
    used_by = _users(services).get((name, version), [])
    view = PromptVersionView.of(prompt, used_by, None).model_dump(exclude={"stats"})
    return PromptText(**view, name=name, text=prompt.text, stats=stats)


async def _views(services: CurrentServices) -> list[PromptView]:
    try:
        sums: dict[tuple[str, str], PromptStats] | None = await _sums(services)
    except Unavailable as away:
        log.warning("prompts.without_stats", extra=fields(error=str(away)))
        sums = None
    users = _users(services)
    versions: dict[str, list[PromptVersionView]] = {}
    for prompt in sorted(services.catalog.prompts.values(), key=lambda p: (p.name, p.number)):
        row = sums.get((prompt.name, prompt.version)) if sums else None
        stats = None
        if sums is not None:
            stats = PromptRuns.model_validate(row) if row else PromptRuns()
        used_by = users.get((prompt.name, prompt.version), [])
        view = PromptVersionView.of(prompt, used_by, stats)
        versions.setdefault(prompt.name, []).append(view)
    of_any_version: dict[str, list[str]] = {}
    for (name, _), job_types in users.items():
        of_any_version.setdefault(name, []).extend(job_types)
    return [
        PromptView(
            name=name, versions=prompt_versions, used_by=sorted(of_any_version.get(name, []))
        )
        for name, prompt_versions in versions.items()
    ]


def _users(services: CurrentServices) -> dict[tuple[str, str], list[str]]:
    """Return the job types that name a prompt version, sorted, by prompt and version."""
    users: dict[tuple[str, str], list[str]] = {}
    for name, job_type in sorted(services.catalog.job_types.items()):
        prompt = job_type.spec.prompt
        users.setdefault((prompt.name, prompt.version), []).append(name)
    return users


async def _sums(services: CurrentServices) -> dict[tuple[str, str], PromptStats]:
    return {(row.name, row.version): row for row in await services.registry.prompt_stats()}
