"""Is this job type usable? Its Ready condition, for people who write one. Pure."""

from datetime import datetime

from codexrun_core import reasons
from codexrun_core.prices.table import Prices
from codexrun_core.prompts.rendering import placeholders
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, Condition, JobTypeStatus
from codexrun_core.schemas.inputs import inputs_schema, inputs_schema_problem, output_schema_problem
from codexrun_operator.decide.holds import Hold
from codexrun_operator.decide.validation import (
    Refused,
    checksum_refusal,
    effective_limits,
    price_refusal,
)


def job_type_status(
    job_type: CodexJobType,
    prompt: Prompt | None,
    prices: Prices,
    now: datetime,
    hold: Hold | None = None,
) -> JobTypeStatus:
    """Ready, or the first thing that keeps its runs from starting; what the apiserver says of its
    Jobs comes last."""
    status, reason, message = _ready(job_type, prompt, prices)
    if hold and status == "True":
        status, reason = "False", hold.cause
        message = f"Its runs wait: the apiserver refuses their Jobs: {hold.words}"
    old = next((c for c in job_type.status.conditions if c.type == "Ready"), None)
    since = old.last_transition_time if old and old.status == status else now
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
    wanted = job_type.spec.prompt
    if prompt is None:
        return (
            "False",
            reasons.PROMPT_NOT_FOUND,
            (
                f'spec.prompt: there is no prompt "{wanted.name}" {wanted.version} in this'
                " namespace; apply its ConfigMap (`codexrun prompts manifests`)"
            ),
        )
    if refused := checksum_refusal(wanted.sha256, prompt):
        return "False", refused.reason, refused.message
    inputs = inputs_schema(job_type.spec.inputs_schema, placeholders(prompt.text))
    if trouble := inputs_schema_problem(inputs) or output_schema_problem(
        job_type.spec.output_schema
    ):
        return "False", reasons.INVALID_SCHEMA, trouble
    limits = effective_limits(None, job_type.spec.limits, job_type.metadata.name)
    if not isinstance(limits, Refused) and (
        refused := price_refusal(job_type, job_type.spec.model, limits, prices)
    ):
        return "False", refused.reason, refused.message
    if job_type.spec.suspended:
        return "True", reasons.SUSPENDED, "Valid, but suspended: its runs wait"
    return "True", reasons.VALID, "Prompt found, checksum right, schemas valid"
