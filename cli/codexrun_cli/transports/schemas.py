"""What the api answers with. Generated from api/openapi.json by `make generate`: do not edit.

A field that is not known may be absent.
"""

from typing import Any, NotRequired, TypedDict

Failure = TypedDict(
    "Failure",
    {
        "class": str,
        "message": NotRequired[str | None],
        "retryable": bool,
    },
)


class Usage(TypedDict):
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    at_most_tokens: NotRequired[int | None]
    requests: int
    cost_cents: int
    cost_micro_usd: NotRequired[int | None]
    complete: bool


class Queue(TypedDict):
    position: int
    eta_seconds: NotRequired[int | None]


class Links(TypedDict):
    self: str
    cancel: str
    retry: str
    logs: str
    artifacts: str


class Run(TypedDict):
    run_id: str
    name: str
    namespace: str
    job_type: str
    status: str
    reason: NotRequired[str | None]
    created_at: NotRequired[str | None]
    updated_at: NotRequired[str | None]
    started_at: NotRequired[str | None]
    finished_at: NotRequired[str | None]
    deleted_at: NotRequired[str | None]
    prompt_name: NotRequired[str | None]
    prompt_version: NotRequired[str | None]
    prompt_sha256: NotRequired[str | None]
    model: NotRequired[str | None]
    effort: NotRequired[str | None]
    params: NotRequired[dict[str, Any]]
    title: NotRequired[str | None]
    labels: NotRequired[dict[str, str]]
    priority: NotRequired[int]
    result: NotRequired[str | None]
    result_truncated: NotRequired[bool | None]
    output: NotRequired[Any]
    error: NotRequired[str | None]
    failure_class: NotRequired[str | None]
    failure: NotRequired[Failure | None]
    usage: Usage
    usage_complete: NotRequired[bool]
    cost_tokens: NotRequired[int]
    cost_cents: NotRequired[int]
    attempt: NotRequired[int | None]
    turns: NotRequired[int | None]
    thread_id: NotRequired[str | None]
    waiting_until: NotRequired[str | None]
    commit_id: NotRequired[str | None]
    warnings: NotRequired[list[str]]
    retry_of: NotRequired[str | None]
    retry_of_name: NotRequired[str | None]
    requested_by: NotRequired[str | None]
    origin: NotRequired[str | None]
    log_path: NotRequired[str | None]
    log_bytes: NotRequired[int | None]
    log_complete: NotRequired[bool | None]
    log_note: NotRequired[str | None]
    queue: NotRequired[Queue | None]
    links: Links


class Condition(TypedDict):
    type: str
    status: str
    reason: str
    message: str
    last_transition_time: str


class Transition(TypedDict):
    at: str
    attempt: int
    status: str
    reason: NotRequired[str | None]


class RunDetails(TypedDict):
    limits: dict[str, int]
    conditions: NotRequired[list[Condition] | None]
    transitions: NotRequired[list[Transition] | None]


class JobType(TypedDict):
    name: str
    description: NotRequired[str | None]
    prompt_name: str
    prompt_version: str
    model: str
    allowed_models: list[str]
    allowed_efforts: list[str]
    inputs_schema: NotRequired[dict[str, Any] | None]
    limits: dict[str, int]
    concurrency_limit: int
    max_queued: NotRequired[int | None]
    require_known_price: bool
    output_schema: NotRequired[dict[str, Any] | None]
    running: int
    queued: int
    suspended: bool
    ready: NotRequired[bool | None]
    message: NotRequired[str | None]


class JobTypeList(TypedDict):
    job_types: list[JobType]


class PromptRuns(TypedDict):
    runs: NotRequired[int]
    success_rate: NotRequired[float | None]
    cost_tokens: NotRequired[int]
    cost_micro_usd: NotRequired[int]


class PromptVersion(TypedDict):
    version: str
    sha256: str
    checksum_ok: bool
    owner: str
    updated_at: str
    used_by: NotRequired[list[str]]
    stats: NotRequired[PromptRuns | None]


class Prompt(TypedDict):
    name: str
    versions: list[PromptVersion]
    used_by: list[str]


class PromptList(TypedDict):
    prompts: list[Prompt]


class JobTypeStats(TypedDict):
    job_type: str
    runs: int
    statuses: dict[str, int]
    success_rate: float | None
    cost_tokens: int
    cost_micro_usd: int


class GroupStats(TypedDict):
    key: str
    runs: int
    statuses: dict[str, int]
    success_rate: float | None
    cost_tokens: int
    cost_micro_usd: int


class Stats(TypedDict):
    runs: int
    statuses: dict[str, int]
    success_rate: float | None
    cost_tokens: int
    cost_micro_usd: int
    median_seconds: float | None
    p95_seconds: float | None
    job_types: list[JobTypeStats]
    groups: NotRequired[list[GroupStats] | None]
