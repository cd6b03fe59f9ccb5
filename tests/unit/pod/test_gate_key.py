"""The model's key does not go back to the agent."""

import html
import json
import random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate.policy.key_filter import MIN_KEY_CHARS, KeyFilter
from codexrun_pod.gate.sse import EventStream

KEYS = [
    "sk-secret-0123456789",
    "aB3+/=xyz.QWE~tail==",
    "quote\"back\\slash/&<>'",
    "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl_-" * 30,
]
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=MIN_KEY_CHARS)


def unicode_escaped(key, upper=False):
    return "".join(f"\\u{ord(char):04{'X' if upper else 'x'}}" for char in key)


FORMS = {
    "plain": str,
    "in JSON": lambda key: json.dumps(key)[1:-1],
    "in JSON of PHP": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "in JSON of Go": lambda key: (
        json.dumps(key)[1:-1]
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    ),
    "in JSON, all escaped": unicode_escaped,
    "in JSON, all escaped, in capitals": lambda key: unicode_escaped(key, upper=True),
    "in a URL": lambda key: quote(key, safe=""),
    "in HTML": html.escape,
}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[:20])
@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_replaced_however_it_is_escaped(key, form):
    text = f'{{"message": "Incorrect key Bearer {FORMS[form](key)}, é"}}'
    cleaned = KeyFilter(key).text(text)
    assert cleaned == '{"message": "Incorrect key Bearer ***, é"}'
    assert KeyFilter(key).raw(text.encode()) == cleaned.encode()


@given(PRINTABLE, st.text(), st.text())
def test_no_key_is_left(key, before, after):
    filtered = KeyFilter(key)
    for form in (str, lambda key: json.dumps(key)[1:-1]):
        assert key not in filtered.text(before + form(key) + after)


@given(
    st.sampled_from(["sk-secret", "/secret/", "\\secret", "nsecret-", "u0073ecret"]),
    st.text('\\/"nu0073s\n'),
    st.text('\\/"nu0073s\n'),
    st.sampled_from(sorted(set(FORMS) - {"in HTML"})),
)
def test_json_stays_json(key, before, after, form):
    """Whatever stands before the key, such as the end of another escape."""
    cleaned = KeyFilter(key).text(json.dumps(before + FORMS[form](key) + after))
    assert isinstance(json.loads(cleaned), str)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (r'"a\\sk-secret"', r'"a\\***"'),
        (r'"a\nsk-secret"', r'"a\n***"'),
        (r'"a\\u0073k-secret"', r'"a\\***"'),
        (r'"a\\\u0073k-secret"', r'"a\\***"'),
        (r'"a\u0073k-secret"', '"a***"'),
    ],
)
def test_the_backslash_before_a_key_stays(text, cleaned):
    assert KeyFilter("sk-secret").text(text) == cleaned


@given(PRINTABLE, st.binary())
def test_what_has_no_key_is_not_touched(key, data):
    if key.encode() not in data and b"\\" not in data and b"%" not in data and b"&" not in data:
        assert KeyFilter(key).raw(data) == data


@pytest.mark.parametrize("key", [None, "", "short"])
def test_without_a_key_nothing_is_replaced(key):
    assert KeyFilter(key).raw(b"short and sweet") == b"short and sweet"


def test_headers_are_cleaned_by_value_and_left_out_by_name():
    key = KEYS[0]
    headers = {"x-codex-echo": f"Bearer {key}", f"x-codex-{key}": "1", "x-request-id": "q"}
    assert KeyFilter(key).headers(headers) == {"x-codex-echo": "Bearer ***", "x-request-id": "q"}


def test_no_cut_of_a_stream_lets_the_key_through():
    """Every two-part cut, and many of more parts: events pass whole, and without the key."""
    key = KEYS[0]
    said = {"type": "error", "error": {"code": "x", "message": f"key {key}"}}
    stream = (
        f": {key}\n\nevent: {key}\ndata: {json.dumps({'type': 'x', 'delta': key})}\nid: {key}\n\n"
        f"data: {json.dumps(said)}\n\n"
    ).encode()
    chance = random.Random(15)
    cuts = [[cut] for cut in range(len(stream))]
    cuts += [sorted(chance.sample(range(len(stream)), 20)) for _ in range(100)]
    for places in cuts:
        events = EventStream(clean=KeyFilter(key).raw)
        passed = b"".join(
            events.feed(stream[start:end])
            for start, end in zip([0, *places], [*places, len(stream)], strict=True)
        )
        assert passed == stream.replace(key.encode(), b"***")
        assert "key ***" in json.dumps(events.last.error)
