"""Inputs as the job type's schema wants them: text of `-p` as number, truth value or list, and what
is still missing. Pure."""

import json
from collections.abc import Collection, Mapping
from typing import Any

Schema = Mapping[str, Any]


def coerced(
    inputs: Mapping[str, Any], from_text: Collection[str], schema: Schema | None
) -> dict[str, Any]:
    """Return the inputs; one that came `from_text`, and whose schema takes no text, is read as
    JSON.

    What is not JSON stays text, so that the error about it can quote it.
    """
    properties = (schema or {}).get("properties", {})
    return {
        name: _coerced(value, properties.get(name)) if name in from_text else value
        for name, value in inputs.items()
    }


def is_json_value(text: str) -> bool:
    """Return whether the text is JSON of another type than text. If it is not, it stays as it is
    whatever the schema says."""
    try:
        return not isinstance(json.loads(text), str)
    except (ValueError, RecursionError):
        return False


def missing(inputs: Mapping[str, Any], schema: Schema) -> dict[str, str]:
    """Return the required inputs that are absent and have no default, with what the schema says of
    each."""
    properties = schema.get("properties", {})
    absent = {}
    for name in schema.get("required", ()):
        part = properties.get(name)
        part = part if isinstance(part, Mapping) else {}
        if name not in inputs and "default" not in part:
            absent[str(name)] = str(part.get("description") or "")
    return absent


def _coerced(text: str, part: Any) -> Any:
    if not isinstance(part, Mapping) or not _needs_json(text, part):
        return text
    return json.loads(text) if is_json_value(text) else text


def _needs_json(text: str, part: Schema) -> bool:
    """Return whether the schema names types, and text is none of them."""
    kinds = part.get("type")
    if kinds is None:
        values = part.get("enum", [part["const"]] if "const" in part else None)
        return isinstance(values, list) and text not in values
    return "string" not in (kinds if isinstance(kinds, list) else [kinds])
