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
    return cel(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} =="
        f" oldSelf.{field})",
        f"spec.{field} cannot change after creation; {ANOTHER_RUN}",
    )


class GitWorkspace(Part):
    """A Git repository, cloned into /workspace before the agent starts."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            description="Where to clone from; the job type's git.allowedURLs must cover it.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    cel(
                        "self.matches('^https?://[^/@]+/.+')",
                        "spec.workspace.git.url must be an http(s) URL with a path and without user"
                        " or password; credentials come from the job type's"
                        " git.credentialsSecretRef",
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
                "Branch, tag, full commit, or full ref such as refs/pull/7/head; the repository's"
                " default branch if absent."
            ),
        ),
    ] = None


class Workspace(Part):
    """What lies in /workspace when the agent starts; an empty directory if absent."""

    git: GitWorkspace


class Cancel(Part):
    """The wish to stop the run. It can be set once and never be taken back or changed."""

    requested_by: Annotated[
        str,
        Field(
            min_length=1, max_length=MAX_USER_CHARACTERS, description="Who asks, for the record."
        ),
    ]
    reason: Annotated[
        str | None, Field(min_length=1, max_length=1024, description="Why, for the record.")
    ] = None


class RetryOf(Part):
    """The run that this one repeats."""

    name: Annotated[str, Field(min_length=1, max_length=63, description="Its metadata.name.")]
    uid: Annotated[
        str | None,
        Field(
            max_length=36,
            pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            description="Its metadata.uid; needed with resume.",
        ),
    ] = None
    resume: Annotated[
        bool | None,
        Field(
            description=(
                "Go on with its Codex thread, from the rollout that the api has stored, instead of"
                " a new one. It must have run with the same job type, prompt, model and workspace."
            )
        ),
    ] = None


class RunSpec(Part):
    """What to run. It cannot change after creation, but for cancel, priority and
    ttlSecondsAfterFinished."""

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
                    "spec.cancel cannot be taken back or changed once it is set; to run again,"
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
                "Values for the prompt's placeholders; the job type's inputsSchema judges them. 64"
                " KiB at most."
            )
        ),
    ] = None
    prompt_version: Annotated[
        PromptVersion | None,
        Field(
            description=(
                "Another version of the job type's prompt (v1, v2, ...), where the job type"
                " allows it."
            )
        ),
    ] = None
    model: Annotated[
        ModelName | None, Field(description="One of the job type's allowedModels.")
    ] = None
    effort: Annotated[
        Effort | None, Field(description="Reasoning effort, one of the job type's allowedEfforts.")
    ] = None
    limits: Annotated[
        Limits | None, Field(description="Lower limits than the job type's; never higher ones.")
    ] = None
    workspace: Workspace | None = None
    when_full: Annotated[
        str,
        one_of(*WHEN_FULL),
        Field(
            description=(
                "What to do when all slots of the job type are taken: wait, or be Rejected at once."
            )
        ),
    ] = "Queue"
    priority: Annotated[
        int,
        Field(
            ge=-1000, le=1000, description="Higher runs start first; among equals the older one."
        ),
    ] = 0
    cancel: Cancel | None = None
    retry_of: RetryOf | None = None
    ttl_seconds_after_finished: Annotated[
        int,
        Field(
            ge=0, le=365 * DAY, description="Seconds after its end until this object is deleted."
        ),
    ] = 7 * DAY


class PromptUsed(Part):
    """The prompt version that the run uses, as resolved: never 'latest'."""

    name: str
    version: str
    sha256: Sha256


class Usage(Part):
    """What the run cost, metered by the gate. Cached and written input are parts of input,
    reasoning is part of output."""

    input_tokens: Annotated[int, Field(ge=0)] = 0
    cached_input_tokens: Annotated[int, Field(ge=0)] = 0
    cache_write_tokens: Annotated[
        int | None,
        Field(
            ge=0,
            description="Input that the model's cache took up, which some models price higher.",
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
                "totalTokens if every estimate in it were at its bound; absent where all is exact."
            ),
        ),
    ] = None
    requests: Annotated[int, Field(ge=0, description="Requests that reached the model.")] = 0
    dropped_keys: Annotated[
        int | None,
        Field(
            ge=0,
            description=(
                "Keys that the gate took out of requests because no supported Codex sends them."
                " Either the Codex of the agent's image is newer than the gate, or something else"
                " in the run asks the model."
            ),
        ),
    ] = None
    cost_micro_usd: Annotated[
        int | None,
        Field(
            alias="costMicroUSD",
            ge=0,
            description=(
                "Millionths of a US dollar; absent if the model, its service tier or a search has"
                " no known price."
            ),
        ),
    ] = None
    cost_cents: Annotated[
        int | None, Field(ge=0, description="costMicroUSD in cents, rounded up.")
    ] = None
    cost: Annotated[
        str | None, Field(max_length=32, description="costMicroUSD for people, such as $0.0042.")
    ] = None
    price_table: Annotated[
        str | None, Field(max_length=64, description="Version of the price table used.")
    ] = None
    complete: Annotated[
        bool,
        Field(
            description=(
                "False if a response's usage was never seen: then an estimate was charged, or the"
                " most that it can have been."
            )
        ),
    ] = True


class Failure(Part):
    """Why the run failed, for people and for programs."""

    class_: Annotated[FailureClass, Field(alias="class")]
    message: Annotated[str, Field(max_length=2048)]
    exit_code: Annotated[
        int | None, Field(description="Exit code of the process that failed, where one is known.")
    ] = None
    retryable: Annotated[
        bool,
        Field(description="The same run, started again unchanged, has a fair chance."),
    ] = False


class Result(Part):
    """What the agent said at the end."""

    message: Annotated[str, Field(max_length=4096, description="The final message, cut at 2 KiB.")]
    truncated: bool = False
    output: Annotated[
        AnyJson | None,
        Field(
            description=(
                "The message as JSON, which fits the job type's outputSchema; absent without one,"
                " or if it is longer than 2 KiB (the artifact output.json has all of it)."
            ),
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ] = None


class RunStatus(Part):
    """Written by the operator alone."""

    phase: Annotated[
        Phase, Field(description="Where the run is, for people; derived from the conditions.")
    ] = Phase.PENDING
    reason: Annotated[
        str | None, Field(max_length=128, description="Why it is there, one CamelCase word.")
    ] = None
    message: Annotated[str | None, Field(max_length=2048, description="The same for people.")] = (
        None
    )
    observed_generation: Annotated[
        int | None,
        Field(
            description=(
                "The metadata.generation that this status speaks of; -1 before the operator saw it."
            )
        ),
    ] = None
    conditions: Conditions = Field(default_factory=list)
    attempt: Annotated[
        int | None, Field(ge=1, description="Which attempt this is; one Job each.")
    ] = None
    prompt: PromptUsed | None = None
    model: Annotated[str | None, Field(description="The model the run uses, as resolved.")] = None
    sandbox: Annotated[
        Annotated[str, one_of("pod", "codex")] | None,
        Field(
            description=(
                "The boundary around the agent's commands: the pod alone, or Codex's own sandbox in"
                " it too."
            )
        ),
    ] = None
    job_name: Annotated[
        str | None, Field(description="The attempt's Job, in the same namespace.")
    ] = None
    pod_name: Annotated[str | None, Field(description="The attempt's pod.")] = None
    thread_id: Annotated[
        str | None, Field(max_length=128, description="The Codex thread of this run.")
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
        str | None, Field(max_length=16, description="From start to end, such as 1m30s.")
    ] = None
    turns: Annotated[
        int | None, Field(ge=0, description="Turns that Codex began, as reported by the runner.")
    ] = None
    commands: Annotated[
        int | None, Field(ge=0, description="Commands that Codex ran, as reported by the runner.")
    ] = None
    warnings: Annotated[
        list[Annotated[str, Field(max_length=512)]] | None,
        Field(
            max_length=16,
            description="What people should know of the run although it did not fail for it.",
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
