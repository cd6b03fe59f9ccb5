"""The gate reads JSON within bounds, and writes what it read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip
MAX = json_text.MAX_VALUES


@given(VALUES, st.booleans())
def test_what_is_read_is_written(value, escaped):
    text = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "backslashreplace")
    assert json_text.parse(text) == value
    assert json_text.dump(value) == compact(value)


def compact(value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


LONG = "x" * (json_text.SLICE_CHARS - 1)


@pytest.mark.parametrize("end", ['"', "\\", "\n", "\0", "é", "😀", "\ud83d", '\\"' * 50_000])
def test_a_string_is_written_alike_however_long(end):
    value = {LONG + end + LONG: [LONG + end + LONG]}
    assert json_text.dump(value) == compact(value)
    assert json_text.parse(json_text.dump(value)) == value


def test_a_body_that_was_read_takes_no_memory():
    body = bytearray(b"[1]")
    assert json_text.parse(body) == [1]
    assert not body


BEYOND = [
    ("lists", "[" + "[]," * MAX + "[]]"),
    ("numbers", "[" + "1," * MAX + "1]"),
    ("objects", "[" + '{"a":1},' * MAX + "1]"),
    ("keys", "{" + '"a":1,' * (MAX + 1) + '"b":1}'),
    ("behind a long string", '["' + '\\",[{' * 10_000 + '"' + ",1" * MAX + ",1]"),
    ("not even JSON", "," * 2**24),
]


@pytest.mark.parametrize("text", [row[1] for row in BEYOND], ids=[row[0] for row in BEYOND])
def test_a_document_of_too_many_values_is_not_read(text):
    with pytest.raises(ValueError, match="more than"):
        json_text.parse(text.encode())


WITHIN = [
    ("as many as may be", "[" + "1," * (MAX - 2) + "1]"),
    ("commas and brackets of a string", json.dumps(",[{" * 10**6)),
    ("strings with quotes", json.dumps(['",[{\\'] * 1000)),
    ("a long string at the end", '["' + "x" * 2**24 + '"]'),
]


@pytest.mark.parametrize("text", [row[1] for row in WITHIN], ids=[row[0] for row in WITHIN])
def test_one_of_fewer_is(text):
    assert json_text.parse(text.encode()) == json.loads(text)


REFUSED = [
    b"",
    b"{",
    b'"open',
    b"NaN",
    b"[Infinity]",
    b"[-Infinity]",
    b"[1e999]",
    b"\xff\xfe1\x00",
    b"1" * 10_000,
    '["é"]'.encode("latin-1"),
    '["é"]'.encode("utf-16"),
    b'"' + b'\\"' * 100_000,
]


@pytest.mark.parametrize("raw", REFUSED, ids=lambda raw: repr(raw)[:30])
def test_what_is_not_json_is_not_read(raw):
    with pytest.raises(ValueError):  # noqa: PT011 - in whose words does not matter
        json_text.parse(raw)
