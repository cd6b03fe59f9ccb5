"""Is this run right? A run against its job type and its prompt: what it will use, or why it is
refused. Pure.

The apiserver has judged what the CRD's schema and CEL rules can judge; here is what only the job
type knows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from codexrun_core import reasons
from codexrun_core.prices.table import UNKNOWN_PRICES, Prices
from codexrun_core.prompts.rendering import placeholders
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, CodexRun, PromptUsed
from codexrun_core.resources.fields import Limits
from codexrun_core.resources.git_urls import UrlError, allowed_url
from codexrun_core.schemas.inputs import (
    InputsError,
    check_inputs,
    inputs_schema,
    output_schema_problem,
)

DEFAULT_LIMITS = Limits(timeout_seconds=3600, stall_seconds=600, start_seconds=600)


@dataclass(frozen=True)
class Refused:
    """The run is wrong and will never start. `reason` is one CamelCase word, `message` names field,
    trouble and way out."""

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
    prices: dict[str, Any] = field(
        default_factory=dict
    )  # of its model, as the gate reads them; empty if unknown
    price_table: str | None = None


def prompt_version(run: CodexRun, job_type: CodexJobType) -> str:
    return run.spec.prompt_version or job_type.spec.prompt.version


def judge(
    run: CodexRun, job_type: CodexJobType, prompt: Prompt | None, prices: Prices = UNKNOWN_PRICES
) -> Accepted | Refused | Missing:
    """The first rule that objects wins. A run that waits is judged again each time, by what holds
    then."""
    spec, kind = run.spec, job_type.spec
    name = job_type.metadata.name
    version = prompt_version(run, job_type)
    if (
        spec.prompt_version
        and spec.prompt_version != kind.prompt.version
        and not kind.prompt.allow_override
    ):
        return Refused(
            reasons.PROMPT_VERSION_NOT_ALLOWED,
            f'spec.promptVersion: job type "{name}" fixes version {kind.prompt.version}; leave the'
            " field out, or set prompt.allowOverride in the job type",
        )
    if prompt is None:
        return Missing(
            reasons.PROMPT_NOT_FOUND,
            f"{'spec.promptVersion' if spec.prompt_version else f'job type {name!r}'}: there is no"
            " prompt "
            f'"{kind.prompt.name}" {version} in this namespace; apply its ConfigMap (`codexrun'
            " prompts manifests`) or name "
            "another version",
        )
    if refusal := checksum_refusal(
        kind.prompt.sha256 if version == kind.prompt.version else None, prompt
    ):
        return refusal
    model = spec.model or kind.model
    allowed_models = kind.allowed_models or [kind.model]
    if model not in allowed_models:
        return Refused(
            reasons.MODEL_NOT_ALLOWED, _not_allowed("spec.model", model, name, allowed_models)
        )
    effort = spec.effort or kind.effort
    allowed_efforts = kind.allowed_efforts or ([kind.effort] if kind.effort else [])
    if spec.effort and spec.effort not in allowed_efforts:
        return Refused(
            reasons.EFFORT_NOT_ALLOWED,
            _not_allowed("spec.effort", spec.effort, name, allowed_efforts),
        )
    limits = effective_limits(spec.limits, kind.limits, name)
    if isinstance(limits, Refused):
        return limits
    if refusal := price_refusal(job_type, model, limits, prices):
        return refusal
    if trouble := output_schema_problem(kind.output_schema):
        return Refused(reasons.JOB_TYPE_INVALID, trouble)
    if refusal := _workspace(run, job_type):
        return refusal
    try:
        inputs = check_inputs(
            inputs_schema(kind.inputs_schema, placeholders(prompt.text)),
            {} if spec.inputs is None else spec.inputs,
        )
    except InputsError as error:
        return Refused(error.reason, str(error))
    return Accepted(
        prompt=PromptUsed(name=prompt.name, version=prompt.version, sha256=prompt.sha256),
        model=model,
        effort=effort,
        limits=limits,
        inputs=inputs,
        prices=prices.for_gate(model),
        price_table=prices.version if model in prices.models else None,
    )


def _not_allowed(path: str, value: str, job_type: str, allowed: Iterable[str]) -> str:
    listed = ", ".join(allowed)
    return f'{path}: "{value}" is not allowed by job type "{job_type}"; ' + (
        f"use one of: {listed}" if listed else "leave the field out, or ask its owner to list it"
    )


def checksum_refusal(pinned: str | None, prompt: Prompt) -> Refused | None:
    """Text, annotation and the job type's own sha256 must agree."""
    named = f'prompt "{prompt.name}" {prompt.version}'
    if prompt.declared_sha256 != prompt.sha256:
        return Refused(
            reasons.PROMPT_CHECKSUM_MISMATCH,
            f"{named}: its text has sha256 {prompt.sha256}, its ConfigMap's annotation says "
            f"{prompt.declared_sha256 or 'nothing'}; apply the manifests from Git again",
        )
    if pinned and pinned != prompt.sha256:
        return Refused(
            reasons.PROMPT_CHECKSUM_MISMATCH,
            f"{named}: its text has sha256 {prompt.sha256}, the job type's prompt.sha256 is"
            f" {pinned}; apply the manifests from Git again",
        )
    return None


def effective_limits(asked: Limits | None, ceiling: Limits, job_type: str) -> Limits | Refused:
    """The run's limits where it lowers the job type's, else those, else the defaults of
    codexrun."""
    merged: dict[str, int | None] = {}
    for key in Limits.model_fields:
        top, wish = getattr(ceiling, key) or getattr(DEFAULT_LIMITS, key), getattr(asked, key, None)
        if wish is not None and top is not None and wish > top:
            alias = Limits.model_fields[key].alias
            return Refused(
                reasons.LIMIT_ABOVE_JOB_TYPE,
                f'spec.limits.{alias}: {wish} is above {top}, the limit of job type "{job_type}";'
                " lower it, or ask its owner to raise the job type's limit",
            )
        merged[key] = wish if wish is not None else top
    return Limits(**merged)


def price_refusal(
    job_type: CodexJobType, model: str, limits: Limits, prices: Prices
) -> Refused | None:
    """A limit in money that nobody could keep is refused, not ignored; so is what the job type does
    not want uncounted."""
    if model in prices.models:
        return None
    unknown = f'the price of model "{model}" is not in the price table {prices.version}'
    if limits.max_cost_cents is not None:
        return Refused(
            reasons.UNKNOWN_PRICE,
            f"spec.limits.maxCostCents: {unknown}, so that this limit cannot be kept; use"
            " maxTokens, another model, or add its price",
        )
    if job_type.spec.require_known_price:
        return Refused(
            reasons.UNKNOWN_PRICE,
            f'spec.model: {unknown}, and job type "{job_type.metadata.name}" asks for one'
            " (requireKnownPrice); use another model, or add its price",
        )
    return None


def _workspace(run: CodexRun, job_type: CodexJobType) -> Refused | None:
    if run.spec.workspace is None:
        return None
    url, name, git = run.spec.workspace.git.url, job_type.metadata.name, job_type.spec.git
    if git is None:
        return Refused(
            reasons.WORKSPACE_NOT_ALLOWED,
            f'spec.workspace: job type "{name}" works without a repository; leave the field out, or'
            " ask its owner for git.allowedURLs",
        )
    try:
        allowed_url(url, git.allowed_urls)
    except UrlError as error:
        return Refused(reasons.WORKSPACE_NOT_ALLOWED, f"spec.workspace.git.url: {error}")
    return None
