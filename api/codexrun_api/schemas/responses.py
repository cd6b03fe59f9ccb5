"""What callers see: a run as JSON is the registry's columns in snake_case, with usage, failure and
links grouped."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from codexrun_api.schemas.problems import ProblemBody
from codexrun_api.schemas.requests import MAX_BULK_RUNS
from codexrun_core import reasons
from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import RunRecord, record_of

RUN_ID = "3f0c5a52-6d0e-4f5e-9f1b-0d6c1c1c7a11"


class UsageView(BaseModel):
    """0 beside `complete: false` means not known."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    at_most_tokens: Annotated[
        int | None,
        Field(
            description=(
                "total_tokens if every estimate in it were at its bound; absent where all is exact."
            )
        ),
    ] = None
    requests: int
    cost_cents: int
    cost_micro_usd: int | None = None
    complete: bool


class FailureView(BaseModel):
    class_: Annotated[str, Field(alias="class", serialization_alias="class", examples=["timeout"])]
    message: str | None = None
    retryable: bool

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class LinksView(BaseModel):
    self: str
    cancel: str
    retry: str
    logs: str
    artifacts: str


class QueueView(BaseModel):
    """Computed when read: where a queued run stands, and about when it may start."""

    position: Annotated[int, Field(ge=1, description="1 is next.")]
    eta_seconds: Annotated[
        int | None, Field(ge=0, description="Absent where nothing has run yet to learn from.")
    ] = None


class RunView(BaseModel):
    model_config = ConfigDict(
        serialize_by_alias=True,  # `class` cannot be the name of a field
        json_schema_extra={
            "example": {
                "run_id": RUN_ID,
                "name": "hello-x7k2p",
                "namespace": "codexrun",
                "job_type": "hello",
                "status": "queued",
                "reason": reasons.CONCURRENCY_LIMIT,
                "params": {"name": "world"},
                "queue": {"position": 2, "eta_seconds": 40},
            }
        },
    )

    run_id: Annotated[str, Field(description="The object's metadata.uid.", examples=[RUN_ID])]
    name: str
    namespace: str
    job_type: str
    status: Annotated[str, Field(examples=["running"])]
    reason: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deleted_at: Annotated[
        datetime | None, Field(description="When its object was found to be gone.")
    ] = None
    prompt_name: str | None = None
    prompt_version: str | None = None
    prompt_sha256: str | None = None
    model: str | None = None
    effort: str | None = None
    params: dict[str, Any] = {}
    labels: Annotated[dict[str, str], Field(description="The object's metadata.labels.")] = {}
    priority: int = 0
    result: Annotated[str | None, Field(description="The final message, cut at 2 KiB.")] = None
    error: str | None = None
    failure_class: str | None = None
    failure: FailureView | None = None
    usage: UsageView
    usage_complete: bool = True
    cost_tokens: int = 0
    cost_cents: int = 0
    attempt: int | None = None
    turns: int | None = None
    thread_id: str | None = None
    commit_id: Annotated[
        str | None, Field(description="The commit that was checked out, for a Git workspace.")
    ] = None
    warnings: Annotated[
        list[str],
        Field(description="What people should know of the run although it did not fail for it."),
    ] = []
    retry_of: str | None = None
    retry_of_name: str | None = None
    requested_by: str | None = None
    origin: str | None = None
    log_path: str | None = None
    log_bytes: int | None = None
    log_complete: bool | None = None
    log_note: str | None = None
    queue: QueueView | None = None
    links: LinksView


class BulkItem(BaseModel):
    run_id: str
    name: str
    outcome: Literal["done", "would_do", "skipped", "failed"]
    new_run_id: Annotated[str | None, Field(description="Of the retry.")] = None
    problem: ProblemBody | None = None


class BulkAnswer(BaseModel):
    dry_run: bool
    matched: int
    more: Annotated[
        bool, Field(description=f"There are more than {MAX_BULK_RUNS}: call again.")
    ] = False
    results: list[BulkItem]


def of_record(record: RunRecord, external_url: str = "", queue: QueueView | None = None) -> RunView:
    own = f"{external_url}/runs/{record.run_id}"
    failure = None
    if record.failure_class:
        failure = FailureView(
            class_=record.failure_class, message=record.error, retryable=bool(record.retryable)
        )
    columns = {
        name: getattr(record, name) for name in RunView.model_fields if hasattr(record, name)
    }
    usage = UsageView(
        input_tokens=record.input_tokens,
        cached_input_tokens=record.cached_input_tokens,
        output_tokens=record.output_tokens,
        reasoning_tokens=record.reasoning_tokens,
        total_tokens=record.cost_tokens,
        at_most_tokens=record.at_most_tokens,
        requests=record.requests,
        cost_cents=record.cost_cents,
        cost_micro_usd=record.cost_micro_usd,
        complete=record.usage_complete,
    )
    actions = {name: f"{own}/{name}" for name in ("cancel", "retry", "logs", "artifacts")}
    links = LinksView(self=own, **actions)
    return RunView(
        **{**columns, "failure": failure, "usage": usage, "links": links, "queue": queue}
    )


def of_run(run: CodexRun, external_url: str = "", queue: QueueView | None = None) -> RunView:
    return of_record(record_of(run), external_url, queue)
