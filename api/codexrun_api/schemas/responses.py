"""What callers see: a run as JSON is the registry's columns in snake_case, with usage, failure and
links grouped."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from codexrun_api.schemas.problems import ProblemBody
from codexrun_api.schemas.requests import MAX_BULK_RUNS
from codexrun_core import reasons
from codexrun_core.resources.phases import STATUSES, FailureClass
from codexrun_core.runs.record import RunRecord

RUN_ID = "3f0c5a52-6d0e-4f5e-9f1b-0d6c1c1c7a11"


class UsageView(BaseModel):
    """0 with `complete: false` means that the value is unknown."""

    input_tokens: Annotated[
        int, Field(description="Tokens sent to the model, including cached ones.")
    ]
    cached_input_tokens: Annotated[
        int, Field(description="Input tokens that were read from the model's cache.")
    ]
    output_tokens: Annotated[
        int, Field(description="Tokens in the model's responses, including reasoning.")
    ]
    reasoning_tokens: Annotated[int, Field(description="Output tokens used for reasoning.")]
    total_tokens: Annotated[int, Field(description="Input and output tokens together.")]
    at_most_tokens: Annotated[
        int | None,
        Field(
            description=(
                "Upper bound of total_tokens if part of it is an estimate; absent if total_tokens"
                " is exact."
            )
        ),
    ] = None
    requests: Annotated[int, Field(description="Number of requests that reached the model.")]
    cost_cents: Annotated[int, Field(description="cost_micro_usd in cents, rounded up.")]
    cost_micro_usd: Annotated[
        int | None,
        Field(description="Cost in millionths of a US dollar; absent if a price is unknown."),
    ] = None
    complete: Annotated[
        bool, Field(description="False until the run has ended, or if some usage was never seen.")
    ]


class FailureView(BaseModel):
    class_: Annotated[
        str,
        Field(
            alias="class",
            serialization_alias="class",
            description=(f"One of {', '.join(FailureClass)}; a newer operator may add others."),
            examples=["timeout"],
        ),
    ]
    message: Annotated[
        str | None, Field(description="Human-readable description of what happened.")
    ] = None
    retryable: Annotated[
        bool, Field(description="Whether the same run may succeed if it is started again.")
    ]

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class LinksView(BaseModel):
    self: str
    cancel: str
    retry: str
    logs: str
    artifacts: str


class QueueView(BaseModel):
    """Position of a queued run and an estimate of when it starts, computed for each read."""

    position: Annotated[int, Field(ge=1, description="1 is next.")]
    eta_seconds: Annotated[
        int | None,
        Field(ge=0, description="Absent if there are not enough earlier runs for an estimate."),
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
    name: Annotated[str, Field(description="The object's metadata.name.")]
    namespace: Annotated[str, Field(description="The object's namespace.")]
    job_type: Annotated[str, Field(description="Name of its job type.")]
    status: Annotated[
        str,
        Field(
            description=(f"One of {', '.join(STATUSES)}; a newer operator may add others."),
            examples=["running"],
        ),
    ]
    reason: Annotated[
        str | None, Field(description="Why it has this status, as one CamelCase word.")
    ] = None
    created_at: Annotated[datetime | None, Field(description="When its object was created.")] = None
    updated_at: Annotated[datetime | None, Field(description="When it last changed.")] = None
    started_at: Annotated[datetime | None, Field(description="When the agent started.")] = None
    finished_at: Annotated[datetime | None, Field(description="When the run ended.")] = None
    deleted_at: Annotated[
        datetime | None, Field(description="When its object was found to be deleted.")
    ] = None
    prompt_name: Annotated[str | None, Field(description="Name of its prompt.")] = None
    prompt_version: Annotated[str | None, Field(description="Version of its prompt.")] = None
    prompt_sha256: Annotated[
        str | None, Field(description="SHA-256 checksum of the prompt's text.")
    ] = None
    model: Annotated[str | None, Field(description="The model it uses.")] = None
    effort: Annotated[str | None, Field(description="The requested reasoning effort.")] = None
    params: Annotated[
        dict[str, Any], Field(description="Its inputs; left out in lists if larger than 64 KiB.")
    ] = {}
    title: Annotated[
        str | None,
        Field(
            description=(
                "Title of the run: the job type's titleTemplate with its inputs, or its main"
                " input. Not included in the events of a stream."
            )
        ),
    ] = None
    labels: Annotated[dict[str, str], Field(description="The object's metadata.labels.")] = {}
    priority: Annotated[int, Field(description="Runs with a higher priority start first.")] = 0
    result: Annotated[str | None, Field(description="The final message, up to 2 KiB.")] = None
    result_truncated: Annotated[
        bool | None,
        Field(
            description=(
                "Whether `result` is only the beginning; the artifact final-message.md has all of"
                " it."
            )
        ),
    ] = None
    output: Annotated[
        Any,
        Field(
            description=(
                "The final message as JSON, which matches the job type's outputSchema; absent"
                " if the job type has none, or if the message is longer than 2 KiB (the"
                " artifact output.json has all of it)."
            )
        ),
    ] = None
    error: Annotated[
        str | None,
        Field(description="Human-readable reason for a failure, rejection or cancellation."),
    ] = None
    failure_class: Annotated[str | None, Field(description="The same as failure.class.")] = None
    failure: Annotated[FailureView | None, Field(description="Why it failed.")] = None
    usage: Annotated[UsageView, Field(description="Its usage, as counted by the gate.")]
    usage_complete: Annotated[bool, Field(description="The same as usage.complete.")] = True
    cost_tokens: Annotated[int, Field(description="The same as usage.total_tokens.")] = 0
    cost_cents: Annotated[int, Field(description="The same as usage.cost_cents.")] = 0
    attempt: Annotated[
        int | None,
        Field(description="Number of the current attempt; each attempt has its own Job."),
    ] = None
    turns: Annotated[int | None, Field(description="Number of turns that Codex started.")] = None
    thread_id: Annotated[
        str | None, Field(description="ID of its Codex thread, which a retry can resume.")
    ] = None
    waiting_until: Annotated[
        datetime | None,
        Field(
            description=(
                "Time until which the run waits because the model's provider limits requests;"
                " absent while the run does not wait."
            )
        ),
    ] = None
    commit_id: Annotated[
        str | None, Field(description="The commit that was checked out, for a Git workspace.")
    ] = None
    warnings: Annotated[
        list[str],
        Field(description="Problems that did not make the run fail."),
    ] = []
    retry_of: Annotated[str | None, Field(description="Run ID of the run that it retries.")] = None
    retry_of_name: Annotated[str | None, Field(description="The name of that run.")] = None
    requested_by: Annotated[str | None, Field(description="Who started it.")] = None
    origin: Annotated[
        str | None, Field(description="Where it was started: api, cli, console or kubectl.")
    ] = None
    log_path: Annotated[str | None, Field(description="Path of its log in the archive.")] = None
    log_bytes: Annotated[int | None, Field(description="Size of its log so far, in bytes.")] = None
    log_complete: Annotated[
        bool | None,
        Field(description="Whether the whole log was archived; absent while it is being written."),
    ] = None
    log_note: Annotated[str | None, Field(description="Why and where the log ends early.")] = None
    queue: Annotated[
        QueueView | None, Field(description="Its place in the queue, while it waits.")
    ] = None
    links: Annotated[LinksView, Field(description="Links to related resources.")]


# of a route whose `wait` may outlast the run, for OpenAPI
ENDED: dict[int | str, dict[str, Any]] = {
    200: {"model": RunView, "description": "The run ended within the time that `wait` sets."}
}


class BulkItem(BaseModel):
    run_id: str
    name: str
    outcome: Literal["done", "would_do", "skipped", "failed"]
    new_run_id: Annotated[str | None, Field(description="The run ID of the retry.")] = None
    problem: ProblemBody | None = None


class BulkAnswer(BaseModel):
    dry_run: bool
    matched: int
    more: Annotated[
        bool, Field(description=f"True if more than the first {MAX_BULK_RUNS} runs match.")
    ] = False
    results: list[BulkItem]


def of_record(
    record: RunRecord,
    external_url: str = "",
    queue: QueueView | None = None,
    *,
    title: str | None = None,
) -> RunView:
    """Return a run as callers see it. title: where its job type was looked at."""
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
        **{
            **columns,
            "failure": failure,
            "usage": usage,
            "links": links,
            "queue": queue,
            "title": title,
        }
    )
