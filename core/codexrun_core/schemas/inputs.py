"""What may a run's inputs be? The job type's inputsSchema, its defaults, and what every door says
of what does not fit."""

import json
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from codexrun_core import reasons
from codexrun_core.schemas.json_schema import InvalidSchemaError, Schema, check_schema, violations
from codexrun_core.schemas.nesting import nesting_problem

# bytes of JSON; a larger environment variable would not fit the kernel's limit for one string
MAX_INPUTS_BYTES = 64 * 1024
MAX_REPORTED_VIOLATIONS = 3
MAX_DEFAULT_LEVELS = 8


class InputsError(ValueError):
    """The inputs do not do. `reason` is one CamelCase word: InvalidInputs, InputsTooLarge, or
    JobTypeInvalid."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def inputs_schema(declared: dict[str, Any] | None, placeholders: Iterable[str]) -> dict[str, Any]:
    """Return the job type's schema, or what the prompt's placeholders say: each a required string,
    no others."""
    if declared is not None:
        return declared
    names = sorted(set(placeholders))
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def inputs_schema_problem(schema: Schema) -> str | None:
    """Return why no run can be held against this inputsSchema; None if it is fine."""
    try:
        check_schema(schema)
        if schema.get("type", "object") != "object":
            return 'spec.inputsSchema/type: inputs must be an object; set it to "object"'
        for name, part in schema.get("properties", {}).items():
            if not isinstance(part, dict) or "default" not in part:
                continue
            if wrong := violations(
                {**part, "$defs": schema.get("$defs", {})}, _filled(part, part["default"])
            ):
                return (
                    wrong[0].under(f"spec.inputsSchema/properties/{name}/default")
                    + "; correct the default"
                )
    except InvalidSchemaError as error:
        return f"spec.inputsSchema{error.pointer}: {error}"
    return None


def output_schema_problem(schema: Schema | None) -> str | None:
    """Return why nothing could be held against this outputSchema; None if it is fine."""
    if schema is None:
        return None
    try:
        check_schema(schema)
    except InvalidSchemaError as error:
        return f"spec.outputSchema{error.pointer}: {error}"
    if schema.get("type") != "object":
        return 'spec.outputSchema/type: the final message must be an object; set it to "object"'
    return None


def unfilled_placeholders(
    prompt: str, placeholders: Iterable[str], schema: Schema | None
) -> list[str]:
    """Return a problem for each placeholder that a valid run may leave without a value: that run
    could not be told what to do.

    Judges plain schemas; what one composes out of others (allOf, $ref, ...) is its author's
    business. prompt: its name and version, for people.
    """
    if schema is None or _COMPOSED & schema.keys():
        return []
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    return [
        f'spec.inputsSchema: prompt {prompt} has the placeholder "{name}", but a run may leave'
        " that input out; add the input to required, or give it a default"
        for name in placeholders
        if name not in required
        and not (isinstance(properties.get(name), dict) and "default" in properties[name])
    ]


_COMPOSED = {"allOf", "anyOf", "oneOf", "if", "$ref", "dependentRequired", "dependentSchemas"}


def check_inputs(schema: Schema, values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with the schema's defaults filled in, if it fits.

    Raises:
        InputsError: it does not, or the schema cannot say.
    """
    if isinstance(values, OmittedInputs):
        raise values.error
    if problem := nesting_problem(values):
        raise InputsError(reasons.INVALID_INPUTS, f"spec.inputs: {problem}")
    if problem := inputs_schema_problem(schema):
        raise InputsError(reasons.JOB_TYPE_INVALID, problem)
    inputs: dict[str, Any] = _filled(schema, values)
    if limit_error := _limit_error(inputs):
        raise limit_error
    try:
        wrong = violations({**schema, "type": "object"}, inputs)
    except InvalidSchemaError as error:
        raise InputsError(
            reasons.JOB_TYPE_INVALID, f"spec.inputsSchema{error.pointer}: {error}"
        ) from None
    if wrong:
        sentences = "; ".join(
            violation.under("spec.inputs") for violation in wrong[:MAX_REPORTED_VIOLATIONS]
        )
        remainder = (
            f" (and {len(wrong) - MAX_REPORTED_VIOLATIONS} more)"
            if len(wrong) > MAX_REPORTED_VIOLATIONS
            else ""
        )
        raise InputsError(
            reasons.INVALID_INPUTS,
            f"{sentences}{remainder}; the job type's inputsSchema says what is expected",
        )
    return inputs


def exceeds_limit(inputs: dict[str, Any]) -> bool:
    """Return whether no job type takes these inputs, because they are too large or nested too
    deeply."""
    return _limit_error(inputs) is not None


class OmittedInputs(dict[str, Any]):
    """What stands in memory for inputs that no job type takes: nothing but why. 1 MiB of JSON may
    be 35 MiB of objects."""

    def __init__(self, error: InputsError) -> None:
        super().__init__()
        self.error = error


def omit_above_limit(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs, or `OmittedInputs` where they are above a limit that holds for every job
    type."""
    error = _limit_error(inputs)
    return OmittedInputs(error) if error else inputs


def _limit_error(inputs: dict[str, Any]) -> InputsError | None:
    if problem := nesting_problem(inputs):
        return InputsError(reasons.INVALID_INPUTS, f"spec.inputs: {problem}")
    size = _bytes_of_json(inputs)
    if size <= MAX_INPUTS_BYTES:
        return None
    return InputsError(
        reasons.INPUTS_TOO_LARGE,
        f"spec.inputs: the JSON is {size} bytes long, which exceeds the limit of"
        f" {MAX_INPUTS_BYTES} bytes; put large data in the workspace instead",
    )


def _bytes_of_json(inputs: dict[str, Any]) -> int:
    return len(json.dumps(inputs, ensure_ascii=False).encode("utf-8", "replace"))


def _filled(schema: Any, value: Any, depth: int = 0) -> Any:
    """Return the value with the defaults of absent properties, in objects within objects too."""
    if not isinstance(schema, dict) or not isinstance(value, dict) or depth > MAX_DEFAULT_LEVELS:
        return value
    parts = schema.get("properties")
    if not isinstance(parts, dict):
        return value
    defaults = {
        name: part["default"]
        for name, part in parts.items()
        if isinstance(part, dict) and "default" in part
    }
    merged = {**defaults, **value}
    return {name: _filled(parts.get(name), item, depth + 1) for name, item in merged.items()}


def inputs_model(name: str, schema: Schema) -> type[BaseModel]:
    """Make a pydantic class of these inputs, for callers in Python: typed fields, and the schema's
    own word on the whole.

    Types are taken from plain schemas (type, enum, items, properties); whatever a schema says
    beyond them is judged all the same, by `check_inputs`, when an object is made.

    Raises:
        InputsError: the schema is none.
    """
    if trouble := inputs_schema_problem(schema):
        raise InputsError(reasons.JOB_TYPE_INVALID, trouble)

    class Judged(BaseModel):
        model_config = ConfigDict(extra="allow", populate_by_name=True)

        @model_validator(mode="after")
        def fits(self) -> Self:
            check_inputs(schema, self.inputs())
            return self

        def inputs(self) -> dict[str, Any]:
            """As spec.inputs has them."""
            return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    return create_model(name, __base__=Judged, **_fields(schema))


def _fields(schema: Schema) -> dict[str, Any]:
    required = schema.get("required", [])
    fields: dict[str, Any] = {}
    for name, part in schema.get("properties", {}).items():
        plain = part if isinstance(part, dict) else {}
        kind = _kind(name, plain)
        options: dict[str, Any] = {"description": plain.get("description")}
        field = name
        if (
            not name.isidentifier()
            or name.startswith("_")
            or hasattr(BaseModel, name)
            or name == "inputs"
        ):
            options["alias"] = name
            letters = "".join(c if c.isalnum() else "_" for c in name).strip("_")
            field = f"{letters or 'field'}_"
        if name in required and "default" not in plain:
            fields[field] = (kind, Field(**options))
        else:
            fields[field] = (
                kind if "default" in plain else kind | None,
                Field(plain.get("default"), **options),
            )
    return fields


_SIMPLE: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": None,
}


def _kind(name: str, part: Schema) -> Any:
    if part.get("enum") and all(isinstance(item, str | int | bool | None) for item in part["enum"]):
        return Literal[tuple(part["enum"])]
    match part.get("type"):
        case "array":
            items = part.get("items")
            kind = _kind(name, items) if isinstance(items, dict) else Any
            return list[kind]  # type: ignore[valid-type]
        case "object" if isinstance(part.get("properties"), dict):
            config = ConfigDict(extra="allow", populate_by_name=True)
            return create_model(f"{name.title()}Inputs", __config__=config, **_fields(part))
        case "object":
            return dict[str, Any]
        case str() as simple:
            return _SIMPLE.get(simple, Any)
        case list() as several if several and all(item in _SIMPLE for item in several):
            return reduce(or_, (_SIMPLE[item] for item in several))
        case _:
            return Any
