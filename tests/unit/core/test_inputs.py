"""A run's inputs: the schema's defaults, the words for what does not fit, and a typed class for
callers in Python."""

from typing import Any

import pytest
from pydantic import ValidationError

from codexrun_core.schemas.inputs import InputsError, check_inputs, inputs_model, inputs_schema

SCHEMA = {
    "type": "object",
    "required": ["report"],
    "additionalProperties": False,
    "properties": {
        "report": {"type": "string", "minLength": 1},
        "owners": {"type": "array", "items": {"type": "string"}, "default": []},
        "depth": {"type": "integer", "minimum": 1},
        "tone": {"enum": ["kind", "plain"], "default": "kind"},
        "where": {
            "type": "object",
            "properties": {"branch": {"type": "string", "default": "main"}},
        },
        "class": {"type": ["string", "null"]},
    },
}


def test_defaults_are_filled_in_also_within_objects() -> None:
    assert check_inputs(SCHEMA, {"report": "x", "where": {}}) == {
        "report": "x",
        "owners": [],
        "tone": "kind",
        "where": {"branch": "main"},
    }


def test_everything_wrong_is_told_with_pointers() -> None:
    with pytest.raises(InputsError) as caught:
        check_inputs(SCHEMA, {"owners": [1], "nme": 2, "depth": 0})
    assert caught.value.reason == "InvalidInputs"
    assert (
        str(caught.value)
        == "spec.inputs/depth: 0 is less than the minimum of 1; spec.inputs/nme: unknown; the"
        " allowed fields are: report, owners, depth, tone, where, class; spec.inputs/owners/0:"
        " 1 is not of type 'string' (and 1 more); the job type's inputsSchema says what is"
        " expected"
    )


def test_without_a_schema_the_placeholders_are_it() -> None:
    schema = inputs_schema(None, ["b", "a", "b"])
    assert check_inputs(schema, {"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
    with pytest.raises(InputsError, match=r"spec\.inputs/b: missing"):
        check_inputs(schema, {"a": "1"})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array"}, "spec.inputsSchema/type: inputs must be an object"),
        (
            {"properties": {"n": {"type": "integer", "default": "x"}}},
            "spec.inputsSchema/properties/n/default: 'x' is not",
        ),
        ({"properties": {"n": {"pattern": "(?=a)"}}}, "spec.inputsSchema/properties/n/pattern: "),
        ({"required": 3}, "spec.inputsSchema/required: "),
    ],
)
def test_a_broken_schema_is_the_job_type_s_fault(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(InputsError) as caught:
        check_inputs(schema, {})
    assert caught.value.reason == "JobTypeInvalid"
    assert str(caught.value).startswith(said)


def test_a_class_of_the_inputs_is_typed_and_gives_what_spec_inputs_takes() -> None:
    triage = inputs_model("Triage", SCHEMA)
    given: Any = triage(report="it hangs", depth=2, where={"branch": "topic"})
    assert given.tone == "kind"
    assert given.inputs() == {"report": "it hangs", "depth": 2, "where": {"branch": "topic"}}
    assert check_inputs(SCHEMA, given.inputs())["owners"] == []
    assert triage.model_json_schema()["properties"]["depth"]["anyOf"][0] == {"type": "integer"}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"report": ""},
        {"report": "x", "nme": 1},
        {"report": "x", "depth": "two"},
        {"report": "x", "tone": "rude"},
    ],
    ids=str,
)
def test_the_class_refuses_what_the_schema_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        inputs_model("Triage", SCHEMA)(**wrong)


def test_a_field_that_python_could_not_name_has_an_alias() -> None:
    triage = inputs_model("Triage", SCHEMA)
    made = triage.model_validate({"report": "x", "class": "bug"})
    assert made.inputs() == {"report": "x", "class": "bug"}  # type: ignore[attr-defined]
