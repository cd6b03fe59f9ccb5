"""GET /runs/{id}/details: what is asked for when one run is looked at closely, and too much for
every answer about it."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from codexrun_api.http.auth import Caller
from codexrun_api.schemas.problems import answers
from codexrun_api.services import Here, Run
from codexrun_core.registry import Unavailable, read_spec

router = APIRouter(tags=["runs"])


class ConditionView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    type: Annotated[str, Field(examples=["Admitted"])]
    status: Annotated[str, Field(examples=["True"], description="True, False or Unknown.")]
    reason: str
    message: str
    last_transition_time: datetime


class TransitionView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    at: datetime
    attempt: int
    status: Annotated[str, Field(examples=["running"])]
    reason: str | None = None


class RunDetails(BaseModel):
    limits: Annotated[
        dict[str, int],
        Field(
            examples=[{"max_tokens": 200000}],
            description="The run's own, else those of its job type.",
        ),
    ]
    conditions: Annotated[
        list[ConditionView] | None,
        Field(description="The record that the operator keeps; absent when the object is gone."),
    ] = None
    transitions: Annotated[
        list[TransitionView] | None,
        Field(description="Every move of every attempt, oldest first; absent while unreadable."),
    ] = None


@router.get(
    "/runs/{id}/details",
    operation_id="getRunDetails",
    response_model_exclude_none=True,
    responses=answers(401, 404, 422, 500, 503),
)
async def get_run_details(here: Here, _: Caller, record: Run) -> RunDetails:
    """Limits in force, conditions, and every transition of one run; the latter also after its
    object is gone."""
    run, job_type = here.mirror.runs.get(record.run_id), here.catalog.job_types.get(record.job_type)
    limits = read_spec(record.spec).limits.within(job_type.spec.limits if job_type else None)
    return RunDetails(
        limits=limits.model_dump(exclude_none=True),
        conditions=[ConditionView.model_validate(one) for one in run.status.conditions]
        if run
        else None,
        transitions=await _transitions(here, record.run_id),
    )


async def _transitions(here: Here, run_id: str) -> list[TransitionView] | None:
    await here.mirror.writer.caught_up()
    try:
        return [
            TransitionView.model_validate(event) for event in await here.registry.events(run_id)
        ]
    except Unavailable:
        return None
