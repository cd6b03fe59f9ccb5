"""What `-p key=value` becomes by the job type's schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.schemas.typed_inputs import coerced, is_json_value, missing


@pytest.mark.parametrize(
    ("part", "text", "value"),
    [
        ({"type": "integer"}, "3", 3),
        ({"type": "number"}, "0.5", 0.5),
        ({"type": "boolean"}, "true", True),
        ({"type": "array"}, '["a"]', ["a"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": ["integer", "null"]}, "null", None),
        ({"enum": [1, 2]}, "2", 2),
        ({"const": True}, "true", True),
        ({"type": "string"}, "3", "3"),
        ({"type": ["string", "integer"]}, "3", "3"),
        ({"enum": ["1", 1]}, "1", "1"),
        ({}, "3", "3"),
        (True, "3", "3"),
        ({"type": "integer"}, "three", "three"),
        ({"type": "integer"}, '"3"', '"3"'),
    ],
)
def test_text_becomes_what_the_schema_wants(part: Any, text: str, value: Any) -> None:
    schema = {"properties": {"x": part}}
    assert coerced({"x": text}, {"x"}, schema) == {"x": value}
    assert coerced({"x": text}, (), schema) == {"x": text}, "from a file it is what it is"


@given(st.dictionaries(st.text(), st.text()))
def test_without_a_schema_all_stays_text(inputs: dict[str, str]) -> None:
    assert coerced(inputs, inputs, None) == inputs


@pytest.mark.parametrize(
    ("text", "other"),
    [("3", True), ("true", True), ("[1]", True), ("main", False), ('"3"', False), ("", False)],
)
def test_which_text_could_be_another_type(text: str, other: bool) -> None:
    assert is_json_value(text) is other


def test_missing() -> None:
    schema = {
        "required": ["a", "b", "c", "d"],
        "properties": {"a": {"description": "First."}, "b": {"default": 1}, "c": True},
    }
    assert missing({"d": 1}, schema) == {"a": "First.", "c": ""}
