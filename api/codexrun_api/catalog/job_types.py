"""GET /jobtypes: what can be started, and how full it is."""

from collections import defaultdict
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from codexrun_api.http.auth import Caller
from codexrun_api.mirror import queue_view
from codexrun_api.schemas.problems import answers
from codexrun_api.services import CurrentServices
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.schemas.nesting import cut

router = APIRouter(tags=["catalog"])


class JobTypeView(BaseModel):
    name: str
    description: str | None = None
    prompt_name: str
    prompt_version: str
    model: str
    allowed_models: list[str]
    allowed_efforts: list[str]
    inputs_schema: Annotated[
        dict[str, Any] | None,
        Field(
            description="JSON Schema of the inputs; if absent, each placeholder of the prompt"
            " is a string."
        ),
    ] = None
    limits: dict[str, int]
    concurrency_limit: int
    max_queued: Annotated[
        int | None, Field(description="Maximum number of waiting runs; unlimited if absent.")
    ] = None
    require_known_price: bool
    output_schema: Annotated[
        dict[str, Any] | None,
        Field(description="JSON Schema of the final message, if it must be JSON."),
    ] = None
    running: Annotated[
        int, Field(description="Slots taken by runs that are starting, running or stopping.")
    ]
    queued: int
    suspended: bool
    ready: Annotated[
        bool | None, Field(description="Absent until the operator has checked the job type.")
    ] = None
    message: str | None = None


class JobTypeList(BaseModel):
    job_types: list[JobTypeView]


@router.get(
    "/jobtypes",
    operation_id="listJobTypes",
    response_model_exclude_none=True,
    responses=answers(401, 500, 503),
)
async def list_job_types(services: CurrentServices, _: Caller) -> JobTypeList:
    """The job types that can be started, and how many of their slots are taken."""
    runs: defaultdict[str, list[CodexRun]] = defaultdict(list)
    for run in services.mirror.runs.values():
        runs[run.spec.job_type].append(run)
    return JobTypeList(
        job_types=[
            view_of(job_type, runs[name])
            for name, job_type in sorted(services.catalog.job_types.items())
        ]
    )


def view_of(job_type: CodexJobType, runs: Collection[CodexRun]) -> JobTypeView:
    """Return a job type as it is shown; `runs` are its own, of every phase."""
    spec = job_type.spec
    condition = next((c for c in job_type.status.conditions if c.type == "Ready"), None)
    return JobTypeView(
        name=job_type.metadata.name,
        description=spec.description,
        prompt_name=spec.prompt.name,
        prompt_version=spec.prompt.version,
        model=spec.model,
        allowed_models=spec.allowed_models or [spec.model],
        allowed_efforts=spec.allowed_efforts or ([spec.effort] if spec.effort else []),
        inputs_schema=cut(spec.inputs_schema),
        limits=spec.limits.model_dump(exclude_none=True),
        concurrency_limit=spec.concurrency_limit,
        max_queued=spec.max_queued,
        require_known_price=spec.require_known_price,
        output_schema=cut(spec.output_schema),
        running=sum(map(queue_view.holds_slot, runs)),
        queued=sum(run.status.phase is Phase.QUEUED for run in runs),
        suspended=spec.suspended,
        ready=condition.status == "True" if condition else None,
        message=condition.message if condition else None,
    )
