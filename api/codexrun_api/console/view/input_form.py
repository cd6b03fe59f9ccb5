"""A job type's inputs as a form, and a form as inputs. From JSON Schema; what cannot be asked piece
by piece is asked as JSON. Pure. Whether the values are right is said where it always is said: at
admission."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from codexrun_core.schemas.nesting import TOO_DEEP, nesting_problem

PREFIX = "input."  # of the form's own names
MAX_LINE_CHARACTERS = 200  # characters up to which a text is a line and no area


@dataclass(frozen=True)
class Field:
    """`kind`: line, area, choice, switch, whole, number, json."""

    name: str
    kind: str
    required: bool
    label: str
    help: str = ""
    value: str = ""
    options: tuple[tuple[str, str], ...] = ()  # JSON and what is shown
    least: float | None = None
    most: float | None = None
    shortest: int | None = None
    longest: int | None = None
    error: str = ""

    @property
    def form_name(self) -> str:
        return PREFIX + self.name


def fields(
    schema: Mapping[str, Any] | None,
    placeholders: Sequence[str],
    inputs: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> list[Field]:
    """Return the form's fields in the schema's order; without a schema, a required text for each
    placeholder. `inputs` fill them, or `texts` as typed."""
    if schema is None:
        schema = {
            "properties": {name: {"type": "string"} for name in placeholders},
            "required": list(placeholders),
        }
    properties = schema.get("properties")
    required = schema.get("required")
    properties = properties if isinstance(properties, Mapping) else {}
    must = required if isinstance(required, list) else []
    inputs = inputs or {}
    texts = texts or {}
    errors = errors or {}
    filled = []
    for name, property_schema in properties.items():
        form_field = _field(
            str(name),
            property_schema if isinstance(property_schema, Mapping) else {},
            required=name in must,
        )
        if form_field.form_name in texts:
            value = texts[form_field.form_name]
        elif name in inputs:
            value = _text(form_field.kind, inputs[name])
        else:
            value = form_field.value
        filled.append(replace(form_field, value=value, error=errors.get(name, "")))
    return filled


def inputs_of(
    form_fields: Sequence[Field], form: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the inputs, and what is wrong by field; an optional field that is empty is not
    given."""
    inputs: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for field in form_fields:
        text = form.get(field.form_name, "").replace("\r\n", "\n")
        if field.kind == "switch":
            inputs[field.name] = text == "true"
        elif text == "" and not (
            field.required and field.kind in ("line", "area") and not field.shortest
        ):
            if field.required:
                errors[field.name] = f"{field.label} is required"
        else:
            try:
                inputs[field.name] = _value(field, text)
            except ValueError as error:
                errors[field.name] = str(error)
    return inputs, errors


def _field(name: str, schema: Mapping[str, Any], *, required: bool) -> Field:
    kind = schema.get("type")
    label = str(schema.get("title") or name)
    text = str(schema.get("description") or "")
    default = schema.get("default")
    common: dict[str, Any] = {"name": name, "required": required, "label": label, "help": text}
    enum = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(enum, list) and enum:
        options = tuple((json.dumps(option, ensure_ascii=False), _plain(option)) for option in enum)
        value = options[0][0] if required else ""
        if default is not None:
            value = json.dumps(default, ensure_ascii=False)
        return Field(kind="choice", options=options, value=value, **common)
    if kind == "boolean":
        return Field(
            kind="switch", value="true" if default is True else "", **{**common, "required": False}
        )
    if kind in ("integer", "number"):
        text_value = "" if default is None else _plain(default)
        least, most = (_bound(schema.get(n)) for n in ("minimum", "maximum"))
        return Field(
            kind="whole" if kind == "integer" else "number",
            value=text_value,
            least=least,
            most=most,
            **common,
        )
    if kind == "string":
        longest, shortest = (
            v if isinstance(v, int) else None
            for v in (schema.get("maxLength"), schema.get("minLength"))
        )
        is_line = (
            (longest is not None and longest <= MAX_LINE_CHARACTERS)
            or schema.get("format") in ("uri", "date", "email")
            or (longest is None and bool(schema.get("pattern")))
        )
        shape = "line" if is_line else "area"
        return Field(
            kind=shape, value=str(default or ""), longest=longest, shortest=shortest, **common
        )
    return Field(
        kind="json",
        value="" if default is None else json.dumps(default, ensure_ascii=False, indent=2),
        **common,
    )


def _value(field: Field, text: str) -> Any:
    match field.kind:
        case "line" | "area":
            return text
        case "whole":
            try:
                return int(text)
            except ValueError:
                raise ValueError(f"{field.label} must be a whole number") from None
        case "number":
            try:
                number = float(text)
            except ValueError:
                raise ValueError(f"{field.label} must be a number") from None
            if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
                raise ValueError(f"{field.label} must be a number that JSON can represent")
            return (
                int(number)
                if number.is_integer() and "." not in text and "e" not in text.lower()
                else number
            )
        case _:
            try:
                value = json.loads(text)
                problem = nesting_problem({field.name: value})
            except RecursionError:
                problem = TOO_DEEP
            except ValueError as error:
                raise ValueError(f"{field.label} is not JSON: {error}") from None
            if problem:
                raise ValueError(f"{field.label} is {problem}")
            return value


def _text(kind: str, value: Any) -> str:
    match kind:
        case "line" | "area":
            return value if isinstance(value, str) else _plain(value)
        case "switch":
            return "true" if value is True else ""
        case "choice":
            return json.dumps(value, ensure_ascii=False)
        case "json":
            return json.dumps(value, ensure_ascii=False, indent=2)
        case _:
            return _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _bound(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
