"""Is this job type usable? Builds its Ready condition, for people who write one. Pure."""

from datetime import datetime

from codexrun_core import reasons
from codexrun_core.prices.table import Prices
from codexrun_core.prompts.rendering import placeholders
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, Condition, JobTypeStatus
from codexrun_core.schemas.inputs import (
    inputs_schema,
    inputs_schema_problem,
    output_schema_problem,
    unfilled_placeholders,
)
from codexrun_operator.decide.holds import Hold
from codexrun_operator.decide.validation import (
    Rejected,
    checksum_rejection,
    effective_limits,
    price_rejection,
)


def job_type_status(
    job_type: CodexJobType,
    prompt: Prompt | None,
    prices: Prices,
    now: datetime,
    hold: Hold | None = None,
) -> JobTypeStatus:
    """Return a status with Ready, or with the first cause that keeps its runs from starting; a
    hold, because the API server rejects its Jobs, comes last."""
    status, reason, message = _ready(job_type, prompt, prices)
    if hold and status == "True":
        status = "False"
        reason = hold.cause
        message = f"Runs are waiting because the API server rejects their Jobs: {hold.message}"
    previous = next((c for c in job_type.status.conditions if c.type == "Ready"), None)
    since = previous.last_transition_time if previous and previous.status == status else now
    condition = Condition(
        type="Ready",
        status="True" if status == "True" else "False",
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=job_type.metadata.generation,
    )
    return JobTypeStatus(observed_generation=job_type.metadata.generation, conditions=[condition])


def _ready(job_type: CodexJobType, prompt: Prompt | None, prices: Prices) -> tuple[str, str, str]:
    reference = job_type.spec.prompt
    if prompt is None:
        return (
            "False",
            reasons.PROMPT_NOT_FOUND,
            (
                f'spec.prompt: there is no prompt "{reference.name}" {reference.version} in this'
                " namespace; apply its ConfigMap (`codexrun prompts manifests`)"
            ),
        )
    if rejection := checksum_rejection(reference.sha256, prompt):
        return "False", rejection.reason, rejection.message
    names = placeholders(prompt.text)
    inputs = inputs_schema(job_type.spec.inputs_schema, names)
    if problem := inputs_schema_problem(inputs) or output_schema_problem(
        job_type.spec.output_schema
    ):
        return "False", reasons.INVALID_SCHEMA, problem
    if unfilled := unfilled_placeholders(
        f"{prompt.name} {prompt.version}", names, job_type.spec.inputs_schema
    ):
        return "False", reasons.INVALID_SCHEMA, "; ".join(unfilled)
    limits = effective_limits(None, job_type.spec.limits, job_type.metadata.name)
    if not isinstance(limits, Rejected) and (
        rejection := price_rejection(job_type, job_type.spec.model, limits, prices)
    ):
        return "False", rejection.reason, rejection.message
    if job_type.spec.suspended:
        return (
            "True",
            reasons.SUSPENDED,
            "The job type is valid but suspended; no run starts until it is resumed",
        )
    return (
        "True",
        reasons.VALID,
        "The prompt exists, its checksum is correct, and the schemas are valid",
    )
