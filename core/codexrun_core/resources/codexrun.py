"""CodexRun: one unattended execution of the Codex CLI, from the wish to the verdict."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from codexrun_core.resources.fields import (
    DAY,
    NAME_IS_A_LABEL,
    AnyJson,
    Conditions,
    Effort,
    JsonDict,
    ModelName,
    Moment,
    Name,
    ObjectMeta,
    Part,
    PromptVersion,
    Sha256,
    cel,
    one_of,
)
from codexrun_core.resources.git_urls import URL_RULE
from codexrun_core.resources.limits import Limits
from codexrun_core.resources.phases import FailureClass, Phase

WHEN_FULL = ("Queue", "Reject")
MAX_USER_CHARACTERS = 253  # of who asked for a run or its end
ANOTHER_RUN = "create another CodexRun instead (spec.retryOf links it to this one)"


def immutable(field: str) -> JsonDict:
    """Return rules by which the field may be neither set, changed nor removed after creation.

    The rule stands on the parent, because one on an optional field does not run when the field
    comes or goes (KEP-2876).
    """
    advice = "create another CodexRun instead" if field == "retryOf" else ANOTHER_RUN
    return cel(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} =="
        f" oldSelf.{field})",
        f"spec.{field} cannot change after creation; {advice}",
    )


class GitWorkspace(Part):
    """A Git repository, cloned into /workspace before the agent starts."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            description="URL to clone from; the job type's git.allowedURLs must allow it.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    cel(
                        "self.matches('^https?://[^/@]+/.+')",
                        f"spec.workspace.git.url {URL_RULE}",
                    )
                ]
            },
        ),
    ]
    ref: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=255,
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/@+-]*$",
            description=(
                "Branch, tag, full commit ID, or full ref such as refs/pull/7/head; the"
                " repository's default branch if absent."
            ),
        ),
    ] = None


class Workspace(Part):
    """The contents of /workspace when the agent starts; empty if absent."""

    git: GitWorkspace


class Cancel(Part):
    """Request to stop the run. It can be set once, and cannot be withdrawn or changed."""

    requested_by: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_USER_CHARACTERS,
            description="Who requested the cancellation; recorded with the run.",
        ),
    ]
    reason: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1024,
            description="Reason for the cancellation; recorded with the run.",
        ),
    ] = None


class RetryOf(Part):
    """The earlier run that this run retries."""

    name: Annotated[
        str, Field(min_length=1, max_length=63, description="The earlier run's metadata.name.")
    ]
    uid: Annotated[
        str | None,
        Field(
            max_length=36,
            pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            description="The earlier run's metadata.uid; required with resume.",
        ),
    ] = None
    resume: Annotated[
        bool | None,
        Field(
            description=(
                "Continue the earlier run's Codex thread instead of starting a new thread, using"
                " the session file that the REST API stored. Both runs must have the same job"
                " type, prompt, model and workspace."
            )
        ),
    ] = None


class RunSpec(Part):
    """What to run. Only cancel, priority and ttlSecondsAfterFinished can change
    after creation."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                *(
                    immutable(field)
                    for field in (
                        "jobType",
                        "inputs",
                        "promptVersion",
                        "model",
                        "effort",
                        "limits",
                        "workspace",
                        "whenFull",
                        "retryOf",
                    )
                ),
                cel(
                    "!has(oldSelf.cancel) || (has(self.cancel) && self.cancel == oldSelf.cancel)",
                    "spec.cancel cannot be withdrawn or changed once it is set; to run again,"
                    " create a CodexRun with spec.retryOf",
                ),
            ]
        }
    )

    job_type: Annotated[Name, Field(description="Name of a CodexJobType in the same namespace.")]
    inputs: Annotated[
        AnyJson | None,
        Field(
            description=(
                "Values for the prompt's placeholders; they must match the job type's"
                " inputsSchema. At most 64 KiB."
            )
        ),
    ] = None
    prompt_version: Annotated[
        PromptVersion | None,
        Field(
            description=(
                "Another version of the job type's prompt (v1, v2, ...), if the job type allows it."
            )
        ),
    ] = None
    model: Annotated[
        ModelName | None,
        Field(description="One of the job type's allowedModels; the job type's model if absent."),
    ] = None
    effort: Annotated[
        Effort | None,
        Field(
            description=(
                "Reasoning effort: one of the job type's allowedEfforts; the job type's effort if"
                " absent."
            )
        ),
    ] = None
    limits: Annotated[
        Limits | None,
        Field(description="Limits for this run, which cannot be higher than the job type's."),
    ] = None
    workspace: Workspace | None = None
    when_full: Annotated[
        str,
        one_of(*WHEN_FULL),
        Field(
            description=(
                "What to do when the run cannot start yet, for example because all slots of the"
                " job type are taken: Queue makes the run wait; Reject ends it at once."
            )
        ),
    ] = "Queue"
    priority: Annotated[
        int,
        Field(
            ge=-1000,
            le=1000,
            description=(
                "Runs with a higher priority start first; among runs of equal priority, the oldest"
                " starts first."
            ),
        ),
    ] = 0
    cancel: Cancel | None = None
    retry_of: RetryOf | None = None
    ttl_seconds_after_finished: Annotated[
        int,
        Field(
            ge=0,
            le=365 * DAY,
            description="Seconds from the end of the run until this object is deleted.",
        ),
    ] = 7 * DAY


class PromptUsed(Part):
    """The prompt version that the run uses."""

    name: str
    version: str
    sha256: Sha256


class Usage(Part):
    """Tokens and cost of the run, metered by the gate. inputTokens includes cachedInputTokens and
    cacheWriteTokens; outputTokens includes reasoningTokens."""

    input_tokens: Annotated[int, Field(ge=0)] = 0
    cached_input_tokens: Annotated[int, Field(ge=0)] = 0
    cache_write_tokens: Annotated[
        int | None,
        Field(
            ge=0,
            description=(
                "Input tokens written to the model's cache; for some models, they cost more."
            ),
        ),
    ] = None
    output_tokens: Annotated[int, Field(ge=0)] = 0
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    total_tokens: Annotated[int, Field(ge=0)] = 0
    at_most_tokens: Annotated[
        int | None,
        Field(
            ge=0,
            description=(
                "Upper bound of totalTokens if part of it is an estimate; absent if totalTokens is"
                " exact."
            ),
        ),
    ] = None
    requests: Annotated[
        int, Field(ge=0, description="Number of requests that reached the model.")
    ] = 0
    dropped_keys: Annotated[
        int | None,
        Field(
            ge=0,
            description=(
                "Number of keys that the gate removed from requests because no supported version"
                " of Codex sends them. Either Codex in the agent's image is newer than the gate,"
                " or something else in the run sends requests to the model."
            ),
        ),
    ] = None
    cost_micro_usd: Annotated[
        int | None,
        Field(
            alias="costMicroUSD",
            ge=0,
            description=(
                "Cost in millionths of a US dollar; absent if the model, its service tier or a web"
                " search has no known price."
            ),
        ),
    ] = None
    cost_cents: Annotated[
        int | None, Field(ge=0, description="costMicroUSD in cents, rounded up.")
    ] = None
    cost: Annotated[
        str | None, Field(max_length=32, description="costMicroUSD as text, such as $0.0042.")
    ] = None
    price_table: Annotated[
        str | None, Field(max_length=64, description="Version of the price table used.")
    ] = None
    complete: Annotated[
        bool,
        Field(
            description=(
                "False if the usage of a response was never reported; an estimate or an upper"
                " bound was charged instead."
            )
        ),
    ] = True


class Failure(Part):
    """Why the run failed: a class and a message."""

    class_: Annotated[FailureClass, Field(alias="class")]
    message: Annotated[str, Field(max_length=2048)]
    exit_code: Annotated[
        int | None, Field(description="Exit code of the process that failed, if known.")
    ] = None
    retryable: Annotated[
        bool,
        Field(description="Whether the same run may succeed if it is started again unchanged."),
    ] = False


class Result(Part):
    """What the agent returned."""

    message: Annotated[str, Field(max_length=4096, description="The final message, up to 2 KiB.")]
    truncated: bool = False
    output: Annotated[
        AnyJson | None,
        Field(
            description=(
                "The message as JSON that matches the job type's outputSchema; absent if the"
                " job type has no outputSchema, or if the message is longer than 2 KiB (the"
                " artifact output.json contains all of it)."
            ),
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = None


class RunStatus(Part):
    """Written only by the operator."""

    phase: Annotated[
        Phase,
        Field(
            description="Summary of where the run is in its life cycle; derived from"
            " the conditions."
        ),
    ] = Phase.PENDING
    reason: Annotated[
        str | None,
        Field(max_length=128, description="Why the run is in this phase, as one CamelCase word."),
    ] = None
    message: Annotated[
        str | None, Field(max_length=2048, description="Human-readable explanation of the reason.")
    ] = None
    observed_generation: Annotated[
        int | None,
        Field(
            description=(
                "The metadata.generation that this status describes; -1 until the operator has"
                " seen the object."
            )
        ),
    ] = None
    conditions: Conditions = Field(default_factory=list)
    attempt: Annotated[
        int | None,
        Field(ge=1, description="Number of the current attempt; each attempt has its own Job."),
    ] = None
    prompt: PromptUsed | None = None
    model: Annotated[str | None, Field(description="The model that the run uses.")] = None
    sandbox: Annotated[
        Annotated[str, one_of("pod", "codex")] | None,
        Field(
            description=(
                "The boundary around the agent's commands: only the pod, or also Codex's own"
                " sandbox inside it."
            )
        ),
    ] = None
    job_name: Annotated[
        str | None, Field(description="Name of the attempt's Job, in the same namespace.")
    ] = None
    pod_name: Annotated[str | None, Field(description="Name of the attempt's pod.")] = None
    thread_id: Annotated[
        str | None, Field(max_length=128, description="ID of the Codex thread of this run.")
    ] = None
    commit_id: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern=r"^[0-9a-f]{40,64}$",
            description="The commit that was checked out, for a Git workspace.",
        ),
    ] = None
    started_at: Annotated[Moment | None, Field(description="When the agent started.")] = None
    finished_at: Annotated[Moment | None, Field(description="When the run ended.")] = None
    duration: Annotated[
        str | None,
        Field(max_length=16, description=("Time from startedAt to finishedAt, such as 1m30s.")),
    ] = None
    turns: Annotated[
        int | None,
        Field(ge=0, description="Number of turns that Codex started, as reported by the runner."),
    ] = None
    commands: Annotated[
        int | None,
        Field(ge=0, description="Number of commands that Codex ran, as reported by the runner."),
    ] = None
    warnings: Annotated[
        list[Annotated[str, Field(max_length=512)]] | None,
        Field(
            max_length=16,
            description="Problems that did not make the run fail.",
        ),
    ] = None
    usage: Usage | None = None
    failure: Failure | None = None
    result: Result | None = None


class CodexRun(Part):
    """One unattended execution of the Codex CLI."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                NAME_IS_A_LABEL,
            ]
        }
    )

    api_version: Literal["codexrun.dev/v1alpha1"] = "codexrun.dev/v1alpha1"
    kind: Literal["CodexRun"] = "CodexRun"
    metadata: ObjectMeta
    spec: RunSpec
    status: RunStatus = RunStatus()
