"""Is this run valid? Checks it against its job type and its prompt: what it will use, or why it is
rejected. Pure.

The apiserver has checked what the CRD's schema and CEL rules can check; here is what only the job
type knows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from codexrun_core import reasons
from codexrun_core.codex.tools import WEB_SEARCH
from codexrun_core.prices.table import UNKNOWN_PRICES, Prices
from codexrun_core.prompts.rendering import UnknownPlaceholderError, placeholders
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, CodexRun, PromptUsed
from codexrun_core.resources.git_urls import UrlError, allowed_url
from codexrun_core.resources.limits import DEFAULT_LIMITS, Limits
from codexrun_core.runs.label_keys import is_object_name
from codexrun_core.runs.record import record_of
from codexrun_core.runs.resume import ADVICE, UID_REQUIRED, ThreadSetup, resume_problem, setup_of
from codexrun_core.schemas.inputs import (
    InputsError,
    check_inputs,
    inputs_schema,
    output_schema_problem,
)


@dataclass(frozen=True)
class Rejected:
    """The run is invalid and will never start. `reason` is one CamelCase word, `message` names the
    field, the problem and the fix."""

    reason: str
    message: str


@dataclass(frozen=True)
class Missing:
    """Something it names is not there (yet): apply order must not matter, so it is waited for."""

    reason: str
    message: str


@dataclass(frozen=True)
class Accepted:
    """What the run will use, all defaults filled in."""

    prompt: PromptUsed
    model: str
    effort: str | None
    limits: Limits
    inputs: dict[str, Any] = field(default_factory=dict)
    # of its model, as the gate reads them; empty if unknown
    prices: dict[str, Any] = field(default_factory=dict)
    price_table: str | None = None
    # tokens that the model can answer at most; None if nobody says
    max_output_tokens: int | None = None


def prompt_version(run: CodexRun, job_type: CodexJobType) -> str:
    return run.spec.prompt_version or job_type.spec.prompt.version


def validate_run(
    run: CodexRun,
    job_type: CodexJobType,
    prompt: Prompt | None,
    prices: Prices = UNKNOWN_PRICES,
    source: CodexRun | None = None,
) -> Accepted | Rejected | Missing:
    """Return what the run will use, or the first objection.

    A run that waits is validated again each time, by what holds then.

    Args:
        source: the run that this one resumes, if its object is still there. Of one that is gone the
            api judges, from its row, before it hands out the rollout.
    """
    spec = run.spec
    type_spec = job_type.spec
    name = job_type.metadata.name
    version = prompt_version(run, job_type)
    if (
        spec.prompt_version
        and spec.prompt_version != type_spec.prompt.version
        and not type_spec.prompt.allow_override
    ):
        return Rejected(
            reasons.PROMPT_VERSION_NOT_ALLOWED,
            f'spec.promptVersion: job type "{name}" requires version {type_spec.prompt.version};'
            " leave the field out, or set prompt.allowOverride in the job type",
        )
    if prompt is None:
        origin = "spec.promptVersion" if spec.prompt_version else f'job type "{name}"'
        return Missing(
            reasons.PROMPT_NOT_FOUND,
            f'{origin}: there is no prompt "{type_spec.prompt.name}" {version} in this namespace;'
            " apply its ConfigMap (`codexrun prompts manifests`), or use another version",
        )
    if rejection := checksum_rejection(
        type_spec.prompt.sha256 if version == type_spec.prompt.version else None, prompt
    ):
        return rejection
    model = spec.model or type_spec.model
    allowed_models = type_spec.allowed_models or [type_spec.model]
    if model not in allowed_models:
        return Rejected(
            reasons.MODEL_NOT_ALLOWED, _not_allowed("spec.model", model, name, allowed_models)
        )
    effort = spec.effort or type_spec.effort
    allowed_efforts = type_spec.allowed_efforts or ([type_spec.effort] if type_spec.effort else [])
    if spec.effort and spec.effort not in allowed_efforts:
        return Rejected(
            reasons.EFFORT_NOT_ALLOWED,
            _not_allowed("spec.effort", spec.effort, name, allowed_efforts),
        )
    limits = effective_limits(spec.limits, type_spec.limits, name)
    if isinstance(limits, Rejected):
        return limits
    if rejection := price_rejection(job_type, model, limits, prices):
        return rejection
    if problem := output_schema_problem(type_spec.output_schema):
        return Rejected(reasons.JOB_TYPE_INVALID, problem)
    if rejection := _workspace(run, job_type) or _resume(run, prompt, model, source):
        return rejection
    names = placeholders(prompt.text)
    try:
        inputs = check_inputs(
            inputs_schema(type_spec.inputs_schema, names),
            {} if spec.inputs is None else spec.inputs,
        )
    except InputsError as error:
        return Rejected(error.reason, str(error))
    missing = next((name for name in names if name not in inputs), None)
    if missing is not None:
        return Rejected(reasons.INVALID_INPUTS, f"spec.inputs: {UnknownPlaceholderError(missing)}")
    return Accepted(
        prompt=PromptUsed(name=prompt.name, version=prompt.version, sha256=prompt.sha256),
        model=model,
        effort=effort,
        limits=limits,
        inputs=inputs,
        prices=prices.for_gate(model),
        price_table=prices.version if model in prices.models else None,
        max_output_tokens=type_spec.max_output_tokens or prices.max_output_tokens(model),
    )


def _not_allowed(path: str, value: str, job_type: str, allowed: Iterable[str]) -> str:
    choices = ", ".join(allowed)
    return f'{path}: "{value}" is not allowed by job type "{job_type}"; ' + (
        f"use one of: {choices}"
        if choices
        else "leave the field out, or ask the job type's owner to allow this value"
    )


def checksum_rejection(pinned: str | None, prompt: Prompt) -> Rejected | None:
    """Reject a prompt whose text, annotation and the job type's own sha256 do not agree."""
    title = f'prompt "{prompt.name}" {prompt.version}'
    if prompt.declared_sha256 != prompt.sha256:
        return Rejected(
            reasons.PROMPT_CHECKSUM_MISMATCH,
            f"{title}: its text has sha256 {prompt.sha256}, but the annotation of its ConfigMap"
            f" says {prompt.declared_sha256 or 'nothing'}; apply the manifests from Git again",
        )
    if pinned and pinned != prompt.sha256:
        return Rejected(
            reasons.PROMPT_CHECKSUM_MISMATCH,
            f"{title}: its text has sha256 {prompt.sha256}, but the job type's prompt.sha256 is"
            f" {pinned}; apply the manifests from Git again",
        )
    return None


def effective_limits(requested: Limits | None, ceiling: Limits, job_type: str) -> Limits | Rejected:
    """Return the run's limits where it lowers the job type's, else those, else codexrun's
    defaults."""
    effective: dict[str, int | None] = {}
    for key in Limits.model_fields:
        highest = getattr(ceiling, key) or getattr(DEFAULT_LIMITS, key)
        value = getattr(requested, key, None)
        if value is not None and highest is not None and value > highest:
            alias = Limits.model_fields[key].alias
            return Rejected(
                reasons.LIMIT_ABOVE_JOB_TYPE,
                f"spec.limits.{alias}: {value} is above {highest}, the limit of job type"
                f' "{job_type}"; lower the value, or ask the job type\'s owner to raise the limit',
            )
        effective[key] = value if value is not None else highest
    return Limits(**effective)


def price_rejection(
    job_type: CodexJobType, model: str, limits: Limits, prices: Prices
) -> Rejected | None:
    """Reject a limit in money that nobody could keep, and a model without a price where the job
    type requires one."""
    if model in prices.models:
        return _fee_rejection(job_type, limits, prices)
    problem = f'the price table {prices.version} has no price for model "{model}"'
    if limits.max_cost_cents is not None:
        return Rejected(
            reasons.UNKNOWN_PRICE,
            f"spec.limits.maxCostCents: {problem}, so this limit cannot be enforced; use maxTokens"
            " or another model, or add the price to the price table",
        )
    if job_type.spec.require_known_price:
        return Rejected(
            reasons.UNKNOWN_PRICE,
            f'spec.model: {problem}, and job type "{job_type.metadata.name}" requires a known price'
            " (requireKnownPrice); use another model, or add the price to the price table",
        )
    return None


def _fee_rejection(job_type: CodexJobType, limits: Limits, prices: Prices) -> Rejected | None:
    searches = WEB_SEARCH in job_type.spec.usable_tools
    if limits.max_cost_cents is None or not searches or WEB_SEARCH in prices.fees:
        return None
    return Rejected(
        reasons.UNKNOWN_PRICE,
        f"spec.limits.maxCostCents: the price table {prices.version} has no price for"
        f' web_search, which job type "{job_type.metadata.name}" allows, so this limit cannot be'
        " enforced; use maxTokens, remove web_search from allowedTools, or add the price to the"
        " price table",
    )


def _workspace(run: CodexRun, job_type: CodexJobType) -> Rejected | None:
    if run.spec.workspace is None:
        return None
    url = run.spec.workspace.git.url
    name = job_type.metadata.name
    git = job_type.spec.git
    if git is None:
        return Rejected(
            reasons.WORKSPACE_NOT_ALLOWED,
            f'spec.workspace: job type "{name}" does not allow repositories; leave the field out,'
            " or ask the job type's owner to set git.allowedURLs",
        )
    try:
        allowed_url(url, git.allowed_urls)
    except UrlError as error:
        return Rejected(reasons.WORKSPACE_NOT_ALLOWED, f"spec.workspace.git.url: {error}")
    return None


def _resume(run: CodexRun, prompt: Prompt, model: str, source: CodexRun | None) -> Rejected | None:
    """Reject a run that would go on with the thread of another kind of run."""
    retry = run.spec.retry_of
    if retry is None or not retry.resume:
        return None
    problem = UID_REQUIRED if retry.uid is None else None
    if not is_object_name(retry.name):
        problem = (
            f'spec.retryOf.name: "{retry.name}" is not a valid name for a run; give the earlier'
            f" run's metadata.name, or {ADVICE}"
        )
    if problem is None and source is not None:
        own = ThreadSetup(
            job_type=run.spec.job_type,
            prompt_sha256=prompt.sha256,
            model=model,
            git=run.spec.workspace.git if run.spec.workspace else None,
        )
        problem = resume_problem(own, setup_of(record_of(source)))
    return Rejected(reasons.RESUME_NOT_ALLOWED, problem) if problem else None
