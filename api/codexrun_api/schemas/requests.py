"""POST bodies: what a caller may ask for. Their names are the API's, the values' forms those of the
resource."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator

from codexrun_api.schemas import query_params
from codexrun_core.resources.fields import DAY, Effort, ModelName, Name, PromptVersion
from codexrun_core.runs.label_rules import check_labels
from codexrun_core.schemas.nesting import nesting_problem

MAX_BULK_RUNS = 1000

WholeNumber = Annotated[int, Strict()]  # "5" and true are no numbers
# Bounds for text's sake too: pydantic takes lone surrogates in text without one.
LabelKey = Annotated[str, Field(max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
Seconds = Annotated[WholeNumber | None, Field(ge=1, le=7 * DAY)]


class RequestBody(BaseModel):
    """Unknown fields are refused: a mistyped limit must not be a missing one."""

    model_config = ConfigDict(extra="forbid")

    def dump(self) -> dict[str, Any]:
        """Return the fields that were given, in the API's names."""
        return self.model_dump(exclude_none=True)


class LimitsRequest(RequestBody):
    """Limits for this run; they can only be lower than the job type's."""

    max_tokens: Annotated[WholeNumber | None, Field(ge=1, le=10_000_000_000)] = None
    max_cost_cents: Annotated[WholeNumber | None, Field(ge=1, le=100_000_000)] = None
    timeout_seconds: Seconds = None
    stall_seconds: Annotated[WholeNumber | None, Field(ge=1, le=DAY)] = None
    start_seconds: Annotated[WholeNumber | None, Field(ge=1, le=DAY)] = None
    max_wait_seconds: Annotated[WholeNumber | None, Field(ge=1, le=DAY)] = None


class GitRequest(RequestBody):
    url: Annotated[
        str,
        Field(
            max_length=1024,
            pattern=r"^https?://[^/@\s]+/\S+$",
            examples=["https://github.com/acme/shop"],
        ),
    ]
    ref: Annotated[
        str | None, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/@+-]*$")
    ] = None


class WorkspaceRequest(RequestBody):
    git: GitRequest


class Overrides(RequestBody):
    """What a run may choose besides its job type, and a retry may change."""

    inputs: Annotated[
        dict[str, Any] | None, Field(description="Values for the prompt's placeholders.")
    ] = None
    prompt_version: PromptVersion | None = None
    model: ModelName | None = None
    effort: Effort | None = None
    limits: LimitsRequest | None = None
    when_full: Annotated[
        Literal["Queue", "Reject"] | None,
        Field(
            description=(
                "Reject (the default when starting a run) returns 429 if the run cannot start yet,"
                " for example because all slots are taken."
            )
        ),
    ] = None
    priority: Annotated[WholeNumber | None, Field(ge=-1000, le=1000)] = None
    ttl_seconds_after_finished: Annotated[WholeNumber | None, Field(ge=0, le=365 * DAY)] = None

    @field_validator("inputs")
    @classmethod
    def _is_json(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if problem := nesting_problem(value):
            raise ValueError(problem)
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            # Python's own, from its reader too: NaN and Infinity
            raise ValueError(
                "contains NaN or Infinity, which JSON cannot represent; use a string instead"
            ) from None
        return value


class StartRunRequest(Overrides):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"job_type": "hello", "inputs": {"name": "world"}, "when_full": "Queue"}
        }
    )

    job_type: Annotated[Name, Field(examples=["hello"])]
    workspace: WorkspaceRequest | None = None
    name: Annotated[Name | None, Field(description="The object's name; generated if absent.")] = (
        None
    )
    namespace: Annotated[
        Name | None,
        Field(description="The namespace; if given, it must be that of this installation."),
    ] = None
    labels: Annotated[
        dict[LabelKey, LabelValue] | None,
        Field(
            description=(
                "Labels of the object, to find the run by; a retry keeps those without a prefix."
            ),
            examples=[{"team": "a"}],
        ),
    ] = None

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        check_labels(value or {})
        return value


class RetryRunRequest(Overrides):
    """Changes to the earlier run's spec; without any, the run is repeated unchanged."""

    model_config = ConfigDict(json_schema_extra={"example": {"inputs": {"name": "world"}}})

    resume: Annotated[
        bool,
        Strict(),
        Field(
            description=(
                "Continue the earlier run's Codex thread instead of starting a new one; requires"
                " the same prompt and model."
            )
        ),
    ] = False


class EditRunRequest(RequestBody):
    """The fields of a run that may change after its start."""

    model_config = ConfigDict(json_schema_extra={"example": {"priority": 10}})

    priority: Annotated[
        WholeNumber,
        Field(ge=-1000, le=1000, description="Runs with a higher priority start first."),
    ]


class CancelRunRequest(RequestBody):
    model_config = ConfigDict(json_schema_extra={"example": {"reason": "superseded"}})

    reason: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1024,
            description=("Reason for the cancellation; recorded with the run."),
        ),
    ] = None


class BulkRequest(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"filter": {"status": "failed", "since": "1d"}, "dry_run": True}
        }
    )

    filter: query_params.RunFilterQuery | None = None
    ids: Annotated[
        list[query_params.Word] | None,
        Field(max_length=MAX_BULK_RUNS, description="Run IDs or names, instead of a filter."),
    ] = None
    dry_run: Annotated[bool, Strict(), Field(description="Only show what would be done.")] = False
    reason: Annotated[str | None, Field(min_length=1, max_length=1024)] = None
