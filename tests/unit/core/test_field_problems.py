"""Whatever a model refuses is said in our words, never in pydantic's: each constraint of each field
of each model is broken."""

import json
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import codexrun_api
import codexrun_core
from codexrun_api.app import openapi_document
from codexrun_core.registry.rows import RunEvent
from codexrun_core.resources.field_problems import FALLBACK, PATTERN_RULES, explain
from codexrun_core.runs.record import RunRecord

Wrap = Callable[[Any], Any]


def our_models() -> dict[str, TypeAdapter[Any]]:
    """Return every model of core and api, whether or not somebody remembered it here."""
    for package in (codexrun_core, codexrun_api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" not in module.name and not module.name.endswith("__main__"):
                import_module(module.name)
    classes: list[type] = [RunRecord, RunEvent]
    remaining = [BaseModel]
    while remaining:
        for model in remaining.pop().__subclasses__():
            remaining.append(model)
            if model.__module__.startswith(("codexrun_core.", "codexrun_api.")):
                classes.append(model)
    return {f"{c.__module__}.{c.__qualname__}": TypeAdapter(c) for c in classes}


MODELS = our_models()
ODD: tuple[Any, ...] = (
    *(None, True, -1, 1.5, 10**30, float("nan"), float("inf")),
    *("", "?", "\x00", "\ud800", "x" * 2000),
    *([], [None], ["?"], {}, {"x": None}, {"x": "?"}, {"\ud800": 1}, {1: 2}),
)


def breaches(schema: dict[str, Any], wrap: Wrap) -> Iterator[tuple[Any, str]]:
    """Yield for each constraint of a field's JSON Schema a value that breaks nothing else, and the
    type of pydantic's error."""
    for part in schema.get("anyOf", ()):
        yield from breaches(part, wrap)
    if isinstance(items := schema.get("items"), dict):
        yield from breaches(items, lambda value: wrap([value]))
    if isinstance(values := schema.get("additionalProperties"), dict):
        yield from breaches(values, lambda value: wrap({"x": value}))
    if schema.get("minLength"):
        yield wrap(""), "string_too_short"
    if "maxLength" in schema:
        yield wrap("x" * (schema["maxLength"] + 1)), "string_too_long"
    if "pattern" in schema:
        yield wrap("\t" * max(1, schema.get("minLength", 0))), "string_pattern_mismatch"
    if "maxItems" in schema:
        yield wrap(["x"] * (schema["maxItems"] + 1)), "too_long"
    if schema.get("minItems"):
        yield wrap([]), "too_short"
    if "minimum" in schema:
        yield wrap(schema["minimum"] - 1), "greater_than_equal"
    if "maximum" in schema:
        yield wrap(schema["maximum"] + 1), "less_than_equal"


def errors_of(adapter: TypeAdapter[Any], value: Any, *, strict: bool) -> list[Any]:
    """Return what pydantic says to a value as REST reads it, or strictly, as a manifest is read."""
    try:
        if strict:
            adapter.validate_json(json.dumps(value, default=str), strict=True)
        else:
            adapter.validate_python(value)
    except ValidationError as error:
        return list(error.errors())
    return []


def check(error: Any) -> None:
    words = explain(error)
    own = error["type"] == "value_error"
    assert words
    assert FALLBACK not in words, error
    assert not words.startswith("must match"), error
    assert own or words != error["msg"], error
    for theirs in ("String should", "Input should", "Value error", "Field required", "Extra input"):
        assert theirs not in words, (words, error)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("strict", [False, True], ids=["lax", "strict"])
def test_no_field_of_a_model_answers_in_the_words_of_pydantic(name: str, strict: bool) -> None:
    adapter = MODELS[name]
    fields = adapter.json_schema().get("properties", {})
    for field, schema in fields.items():
        for value in ODD:
            for given in (value, [value], {"x": value}):
                for error in errors_of(adapter, {field: given}, strict=strict):
                    check(error)
        for value, kind in breaches(schema, lambda value: value):
            errors = errors_of(adapter, {field: value}, strict=strict)
            at_field = {error["type"] for error in errors if error["loc"][:1] == (field,)}
            assert kind in at_field or "value_error" in at_field, (field, value, errors)
    for value in (*ODD, {"unknown": 1}):
        for error in errors_of(adapter, value, strict=strict):
            check(error)


def patterns_of(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from patterns_of(part)
    if isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            yield pattern
        for part in schema.values():
            yield from patterns_of(part)


def test_each_pattern_of_a_model_or_a_parameter_has_its_words_and_no_other() -> None:
    schemas = [adapter.json_schema() for adapter in MODELS.values()]
    assert {*patterns_of([*schemas, openapi_document()])} == PATTERN_RULES.keys()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ({"type": "missing", "input": {}}, "missing; add it"),
        (
            {"type": "int_type", "input": "5"},
            "must be a whole number, not a string",
        ),
        ({"type": "int_from_float", "input": 1.5}, "must be a whole number, not a decimal number"),
        (
            {"type": "int_parsing", "input": "abc"},
            "must be a whole number",
        ),
        ({"type": "bool_type", "input": None}, "must be true or false, not null"),
        ({"type": "list_type", "input": {}}, "must be a list, not an object"),
        ({"type": "greater_than_equal", "input": 0, "ctx": {"ge": 1}}, "must be at least 1"),
        ({"type": "less_than_equal", "input": 1e9, "ctx": {"le": 300.0}}, "must be at most 300"),
        (
            {"type": "string_too_long", "input": "x" * 513, "ctx": {"max_length": 512}},
            "is 513 characters long; at most 512 are allowed",
        ),
        (
            {"type": "string_too_short", "input": "", "ctx": {"min_length": 1}},
            "must not be empty",
        ),
        (
            {"type": "too_long", "input": ["x"] * 9, "ctx": {"max_length": 8}},
            "has 9 entries; at most 8 are allowed",
        ),
        (
            {"type": "literal_error", "input": "x", "ctx": {"expected": "'Queue' or 'Reject'"}},
            'must be "Queue" or "Reject"',
        ),
        (
            {
                "type": "string_pattern_mismatch",
                "input": "ftp://x",
                "ctx": {"pattern": r"^https?://[^/@\s]+/\S+$"},
            },
            "must be an http(s) URL with a path and without a user name or password; credentials"
            " come from the job type's git.credentialsSecretRef",
        ),
    ],
)
def test_words(problem: dict[str, Any], words: str) -> None:
    assert explain(problem) == words
