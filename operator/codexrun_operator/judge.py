"""Is this run right? A run against its job type and its prompt: what it will use, or why it is refused. Pure.

The apiserver has judged what the CRD's schema and CEL rules can judge; here is what only the job type knows.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jsonschema
from referencing import Registry
from referencing.exceptions import Unresolvable

from codexrun_core.git_urls import UrlError, allowed_url
from codexrun_core.prices import prices_for
from codexrun_core.rendering import placeholders
from codexrun_core.resources import CodexJobType, CodexRun, PromptUsed
from codexrun_core.resources.fields import Limits
from codexrun_operator.seen import Prompt

INPUTS_LIMIT = 64 * 1024  # bytes of JSON; a larger environment variable would not fit the kernel's limit for one string
CHECKSUM_MISMATCH = "PromptChecksumMismatch"
DEFAULT_LIMITS = Limits(timeout_seconds=3600, stall_seconds=600, start_seconds=600)


@dataclass(frozen=True)
class Refused:
    """The run is wrong and will never start. `reason` is one CamelCase word, `message` names field, trouble and way out."""

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


def prompt_version(run: CodexRun, job_type: CodexJobType) -> str:
    return run.spec.prompt_version or job_type.spec.prompt.version


def judge(run: CodexRun, job_type: CodexJobType, prompt: Prompt | None) -> Accepted | Refused | Missing:
    """The first rule that objects wins."""
    spec, kind = run.spec, job_type.spec
    name = job_type.metadata.name
    version = prompt_version(run, job_type)
    if spec.prompt_version and spec.prompt_version != kind.prompt.version and not kind.prompt.allow_override:
        return Refused(
            "PromptVersionNotAllowed",
            f'spec.promptVersion: job type "{name}" fixes version {kind.prompt.version}; leave the field out, or set '
            "prompt.allowOverride in the job type",
        )
    if prompt is None:
        return Missing(
            "PromptNotFound",
            f"{'spec.promptVersion' if spec.prompt_version else f'job type {name!r}'}: there is no prompt "
            f'"{kind.prompt.name}" {version} in this namespace; apply its ConfigMap (`codexrun prompts manifests`) or name '
            "another version",
        )
    if refusal := checksum_refusal(kind.prompt.sha256 if version == kind.prompt.version else None, prompt):
        return refusal
    model = spec.model or kind.model
    allowed_models = kind.allowed_models or [kind.model]
    if model not in allowed_models:
        return Refused("ModelNotAllowed", _not_allowed("spec.model", model, name, allowed_models))
    effort = spec.effort or kind.effort
    allowed_efforts = kind.allowed_efforts or ([kind.effort] if kind.effort else [])
    if spec.effort and spec.effort not in allowed_efforts:
        return Refused("EffortNotAllowed", _not_allowed("spec.effort", spec.effort, name, allowed_efforts))
    limits = effective_limits(spec.limits, kind.limits, name)
    if isinstance(limits, Refused):
        return limits
    if refusal := _countable_cost(model, limits):
        return refusal
    if refusal := _workspace(run, job_type):
        return refusal
    inputs = _inputs(spec.inputs or {}, kind.inputs_schema, prompt)
    if isinstance(inputs, Refused):
        return inputs
    used = PromptUsed(name=prompt.name, version=prompt.version, sha256=prompt.sha256)
    return Accepted(prompt=used, model=model, effort=effort, limits=limits, inputs=inputs)


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
            CHECKSUM_MISMATCH,
            f"{named}: its text has sha256 {prompt.sha256}, its ConfigMap's annotation says "
            f"{prompt.declared_sha256 or 'nothing'}; apply the manifests from Git again",
        )
    if pinned and pinned != prompt.sha256:
        return Refused(
            CHECKSUM_MISMATCH,
            f"{named}: its text has sha256 {prompt.sha256}, the job type's prompt.sha256 is {pinned}; apply the manifests from "
            "Git again",
        )
    return None


def effective_limits(asked: Limits | None, ceiling: Limits, job_type: str) -> Limits | Refused:
    """The run's limits where it lowers the job type's, else those, else the defaults of codexrun."""
    merged: dict[str, int | None] = {}
    for key in Limits.model_fields:
        top, wish = getattr(ceiling, key) or getattr(DEFAULT_LIMITS, key), getattr(asked, key, None)
        if wish is not None and top is not None and wish > top:
            alias = Limits.model_fields[key].alias
            return Refused(
                "LimitAboveJobType",
                f'spec.limits.{alias}: {wish} is above {top}, the limit of job type "{job_type}"; lower it, or ask its '
                "owner to raise the job type's limit",
            )
        merged[key] = wish if wish is not None else top
    return Limits(**merged)


def _countable_cost(model: str, limits: Limits) -> Refused | None:
    """A limit in money that nobody could keep is refused, not ignored."""
    if limits.max_cost_cents is None or prices_for(model):
        return None
    return Refused(
        "UnknownPrice",
        f'spec.limits.maxCostCents: the price of model "{model}" is not known, so that this limit cannot be kept; use '
        "maxTokens, or another model",
    )


def _workspace(run: CodexRun, job_type: CodexJobType) -> Refused | None:
    if run.spec.workspace is None:
        return None
    url, name, git = run.spec.workspace.git.url, job_type.metadata.name, job_type.spec.git
    if git is None:
        return Refused(
            "WorkspaceNotAllowed",
            f'spec.workspace: job type "{name}" works without a repository; leave the field out, or ask its owner for '
            "git.allowedURLs",
        )
    try:
        allowed_url(url, git.allowed_urls)
    except UrlError as error:
        return Refused("WorkspaceNotAllowed", f"spec.workspace.git.url: {error}")
    return None


def inputs_schema(declared: dict[str, Any] | None, prompt: Prompt) -> dict[str, Any]:
    """The job type's schema, or what the prompt's placeholders say: each a required string, no others."""
    if declared is not None:
        return declared
    names = sorted(set(placeholders(prompt.text)))
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def schema_error(schema: dict[str, Any]) -> str | None:
    """Why it is not a JSON Schema of an object, or None."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"spec.inputsSchema{_pointer(error.absolute_path)}: {error.message}; see https://json-schema.org/draft/2020-12"
    if schema.get("type", "object") != "object":
        return 'spec.inputsSchema/type: inputs are an object; use "object"'
    return None


def _pointer(path: Iterable[Any]) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _inputs(given: dict[str, Any], declared: dict[str, Any] | None, prompt: Prompt) -> dict[str, Any] | Refused:
    schema = inputs_schema(declared, prompt)
    if trouble := schema_error(schema):
        return Refused("JobTypeInvalid", trouble)
    defaults = {k: p["default"] for k, p in schema.get("properties", {}).items() if isinstance(p, dict) and "default" in p}
    inputs = {**defaults, **given}
    size = len(json.dumps(inputs, ensure_ascii=False).encode())
    if size > INPUTS_LIMIT:
        return Refused(
            "InputsTooLarge",
            f"spec.inputs: {size} bytes of JSON are above {INPUTS_LIMIT}; put large material into the workspace instead",
        )
    # An empty registry: by default the library fetches what a $ref names, from anywhere.
    validator = jsonschema.Draft202012Validator({**schema, "type": "object"}, registry=Registry())
    try:
        errors = sorted(validator.iter_errors(inputs), key=lambda e: (list(map(str, e.absolute_path)), e.message))
    except Unresolvable as error:
        return Refused("JobTypeInvalid", f'spec.inputsSchema: there is no "{error.ref}"; a $ref names a part of the schema')
    except RecursionError:
        return Refused("JobTypeInvalid", "spec.inputsSchema: a $ref leads back to itself without end; break the circle")
    if errors:
        # The values themselves stay out of the message when they are long: it is shown in many places.
        said = "; ".join(f"spec.inputs{_pointer(e.absolute_path)}: {_short(e.message)}" for e in errors[:3])
        more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
        return Refused("InvalidInputs", f"{said}{more}; the job type's inputsSchema says what is expected")
    return inputs


def _short(message: str) -> str:
    return message if len(message) <= 200 else f"{message[:80]} … {message[-100:]}"
