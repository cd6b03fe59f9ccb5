"""Schemas that strangers wrote are judged in bounded time, and say where it hurts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from codexrun_core.schemas.json_schema import InvalidSchemaError, check_schema, violations


def told(schema: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    return [(v.pointer, v.words) for v in violations(schema, value)]


REVIEW = {
    "type": "object",
    "required": ["findings"],
    "additionalProperties": False,
    "properties": {
        "findings": {"type": "array", "items": {"type": "object", "required": ["line"]}},
        "a/b": {"type": "integer"},
    },
}


@pytest.mark.parametrize(
    ("value", "pointer", "words"),
    [
        ({}, "/findings", "missing; give it a value"),
        ({"findings": [{"line": 1}, {}]}, "/findings/1/line", "missing; give it a value"),
        ({"findings": [], "more": 1}, "/more", "unknown; the allowed fields are: findings, a/b"),
        ({"findings": [], "a/b": "x"}, "/a~1b", "'x' is not of type 'integer'"),
        ([], "", "[] is not of type 'object'"),
    ],
)
def test_errors_have_json_pointers(value: Any, pointer: str, words: str) -> None:
    assert told(REVIEW, value) == [(pointer, words)]


@pytest.mark.parametrize("pattern", ["(?=x)", r"(a)\1", "(", "(?<!a)b"])
def test_a_pattern_that_needs_backtracking_is_no_pattern_here(pattern: str) -> None:
    with pytest.raises(InvalidSchemaError, match="RE2") as caught:
        check_schema({"properties": {"x": {"pattern": pattern}}})
    assert caught.value.pointer == "/properties/x/pattern"


def test_a_field_may_be_called_pattern() -> None:
    check_schema({"properties": {"pattern": {"type": "string"}}, "default": {"pattern": "("}})


# What stops a validator that was not made for strangers: each would run for minutes or for ever.
TWICE = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
ENDLESS = [
    pytest.param({"pattern": "^(a+)+$"}, "a" * 60_000 + "!", id="nested quantifiers"),
    pytest.param(
        {"patternProperties": {"^(a|a)*$": {}}},
        {"a" * 60_000 + "!": 1},
        id="ambiguous property names",
    ),
    pytest.param(
        {"$ref": "#/$defs/d0", "$defs": {**TWICE, "d60": {"type": "string"}}},
        1,
        id="references that double",
    ),
    pytest.param({"uniqueItems": True}, [[n, {}] for n in range(10_000)], id="each against each"),
    pytest.param(
        {"items": {"enum": [str(n) for n in range(7000)]}},
        ["x"] * 15_000,
        id="a long list of a long enum",
    ),
    pytest.param(
        {"items": {"required": [f"f{n}" for n in range(6000)]}},
        [{}] * 15_000,
        id="many fields missing many times",
    ),
    pytest.param(
        {"items": {"anyOf": [{"type": "string"}, {"required": [f"f{n}" for n in range(3000)]}]}},
        [{}] * 15_000,
        id="errors within errors",
    ),
    pytest.param(
        {"patternProperties": {f"(a?){{50}}b{n}": {} for n in range(2000)}},
        {"a" * 60_000: 1},
        id="many long matches",
    ),
]


@pytest.mark.parametrize(("schema", "value"), ENDLESS)
def test_no_schema_takes_for_ever(schema: dict[str, Any], value: Any) -> None:
    """It ends: with an answer, or with the word that there is none."""
    check_schema(schema)
    said = ""
    try:
        violations(schema, value)
    except InvalidSchemaError as error:
        said = str(error)
    assert said == "" or "takes more than" in said


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/$defs/none"}, "there is no"),
        ({"$ref": "http://169.254.169.254/latest"}, "there is no"),
        ({"$ref": "#"}, "round|itself"),
    ],
)
def test_references_that_lead_nowhere_are_said(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSchemaError, match=said):
        violations(schema, 1)


def test_a_schema_has_a_size() -> None:
    with pytest.raises(InvalidSchemaError, match="shorten"):
        check_schema({"description": "x" * 70_000})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "a", "ab", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "number"]),
            "pattern": st.sampled_from(["^a", "b$"]),
            "uniqueItems": st.booleans(),
            "enum": st.lists(JSON, max_size=3),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=5,
)


@given(SCHEMAS, JSON)
def test_it_says_yes_and_no_where_the_library_does(schema: dict[str, Any], value: Any) -> None:
    assert (violations(schema, value) == []) == Draft202012Validator(schema).is_valid(value), (
        json.dumps([schema, value])
    )
