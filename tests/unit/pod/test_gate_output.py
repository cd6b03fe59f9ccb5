"""The gate holds the final message against the job type's outputSchema, and says what it found
where nobody can forge it."""

import base64
import json

import pytest

from codexrun_core.pod_contract import UNUSABLE_SCHEMA
from codexrun_core.schemas.nesting import TOO_DEEP
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.meter import Account
from codexrun_pod.gate.policy import output
from codexrun_pod.gate.policy.output import OutputVerdict, schema_from, validate_output

SCHEMA = {
    "type": "object",
    "required": ["a"],
    "properties": {"a": {"type": "array", "items": {"type": "integer"}}},
}


def test_a_message_that_fits():
    assert validate_output(b'{"a": [1]}', SCHEMA).json == {
        "ok": True,
        "sha256": validate_output(b'{"a": [1]}', SCHEMA).sha256,
    }


def test_a_schema_that_cannot_be_used_is_told_from_a_message_that_does_not_fit():
    verdict = validate_output(b"{}", {"$ref": "#/nowhere"})
    assert not verdict.ok
    assert verdict.message.startswith(f"{UNUSABLE_SCHEMA}: ")


@pytest.mark.parametrize(
    ("text", "pointer", "said"),
    [
        (b"{}", "/a", "missing"),
        (b'{"a": [1, "x"]}', "/a/1", "'x' is not of type 'integer'"),
        (b"Here it is: {}", "", "cannot be read as JSON"),
        (b"```json\n{}\n```", "", "cannot be read as JSON"),
        (b"", "", "cannot be read as JSON"),
        (b'{"a": [NaN]}', "", "NaN"),
        (b"\xff\xfe", "", "cannot be read as JSON"),
        (b'{"a": [1e999]}', "", "NaN and Infinity are not JSON"),
        (b"[" * 100_000, "", TOO_DEEP),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "", TOO_DEEP),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "", TOO_DEEP),
    ],
    ids=[
        *(
            "a field is missing",
            "of another type",
            "prose",
            "fenced",
            "empty",
            "NaN",
            "no UTF-8",
            "infinite",
        ),
        *("nested without end", "33 levels", "900 levels"),
    ],
)
def test_a_message_that_does_not(text, pointer, said):
    verdict = validate_output(text, SCHEMA)
    assert (verdict.ok, verdict.pointer) == (False, pointer)
    assert said in verdict.message
    assert len(verdict.message) <= output.MAX_MESSAGE_CHARS + 20


def test_the_verdict_survives_the_gate_and_fits_its_message():
    account = Account(output=OutputVerdict(False, "x" * 300, "/" + "y" * 299, "0" * 64))
    assert meter.from_json(json.loads(json.dumps(meter.to_json(account)))) == account
    told = json.loads(meter.message(account, {}, None, {"output": account.output.json}))
    assert told["output"]["ok"] is False


def test_the_schema_comes_as_base64_of_json():
    assert schema_from("") is None
    assert schema_from(base64.b64encode(json.dumps(SCHEMA).encode()).decode()) == SCHEMA
    with pytest.raises(ValueError, match="not a JSON object"):
        schema_from(base64.b64encode(b"[]").decode())
