"""What an input can come to, before the provider has counted it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate.input_size import (
    IMAGE_AT_MOST,
    IMAGE_ESTIMATE,
    MAX_COUNTED,
    beginnings,
    input_size,
    remember,
)

TOOLS = [{"type": "function", "name": "exec_command"}]
HEAD = {"model": "m", "instructions": "be brief", "tools": TOOLS}


def user(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def body(*items, **change):
    return {**HEAD, "stream": True, "input": list(items), **change}


def size(request, counted=()):
    return input_size(beginnings(request), counted)


def size_in_bytes(*parts):
    return sum(
        len(json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode()) for part in parts
    )


def test_the_first_request_is_bounded_by_its_bytes():
    first = size(body(user("naïve 日本")))
    assert first.at_most == size_in_bytes(HEAD, user("naïve 日本"))
    assert first.estimate == -(-first.at_most // 3)


def test_what_was_counted_is_known_and_only_what_is_new_is_judged():
    first = size(body(user("one")))
    counted = remember((), first.digest, 7)
    longer = size(body(user("one"), user("two"), user("three")), counted)
    new = size_in_bytes(user("two"), user("three"))
    assert (longer.at_most, longer.estimate) == (7 + new, 7 + -(-new // 3))
    again = size(body(user("one")), counted)
    assert (again.at_most, again.estimate) == (7, 7)


def test_the_longest_counted_beginning_is_taken():
    counted = ()
    for number, tokens in enumerate((10, 20, 30), 1):
        request = body(*(user(str(n)) for n in range(number)))
        counted = remember(counted, size(request).digest, tokens)
    longest = size(body(*(user(str(n)) for n in range(4))), counted)
    assert longest.at_most == 30 + size_in_bytes(user("3"))


OTHERS = [
    ("another item at its beginning", body(user("two"), user("three"))),
    ("an item in between", body(user("zero"), user("one"))),
    ("other instructions", body(user("one"), instructions="be long")),
    ("other tools", body(user("one"), tools=[])),
    ("another model", body(user("one"), model="n")),
    ("a key that may be shown to the model", body(user("one"), text={"format": {"x": "y"}})),
    ("one text instead of two", body(user("one\n"))),
    ("the item within another", body([user("one")])),
]


@pytest.mark.parametrize("request_", [o[1] for o in OTHERS], ids=[o[0] for o in OTHERS])
def test_another_beginning_is_not_known(request_):
    counted = remember((), size(body(user("one"))).digest, 1)
    bound = size(request_, counted).at_most
    assert bound == size(request_).at_most > 1


@pytest.mark.parametrize(
    "change",
    [
        {"max_output_tokens": 5},
        {"prompt_cache_key": "other"},
        {"client_metadata": {"turn": "2"}},
        {"stream": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_model_is_not_shown_makes_no_difference(change):
    counted = remember((), size(body(user("one"))).digest, 7)
    assert size(body(user("one"), **change), counted).at_most == 7


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 9000}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "content": [IMAGE]},
        {"type": "function_call_output", "call_id": "c", "output": [IMAGE]},
    ],
    ids=["of a message", "of a tool"],
)
def test_an_image_costs_by_its_pixels_and_not_by_its_bytes(item):
    text = size_in_bytes(HEAD, item) - len(IMAGE["image_url"])
    seen = size(body(item))
    assert (seen.at_most, seen.estimate) == (text + IMAGE_AT_MOST, -(-text // 3) + IMAGE_ESTIMATE)


def test_a_small_file_with_many_pixels_is_not_cheap():
    small = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    assert size(body({"role": "user", "content": [small] * 3})).at_most > 3 * IMAGE_AT_MOST


def test_text_that_looks_like_an_image_is_text():
    """A tool's schema, say, where the model reads what stands in it."""
    request = body(user("one"), tools=[{"type": "function", "parameters": {"x": IMAGE}}])
    assert size(request).at_most > 9000
    call = {"type": "function_call", "arguments": json.dumps(IMAGE)}
    assert size(body(call)).at_most > 9000


def test_a_text_as_input_is_one_item():
    assert size({**HEAD, "input": "hello"}).at_most == size_in_bytes(HEAD, "hello")


def test_the_memory_is_bounded_and_the_newest_stay():
    counted = ()
    for number in range(3 * MAX_COUNTED):
        counted = remember(counted, f"d{number}", number)
    assert len(counted) == MAX_COUNTED
    assert counted[-1] == (f"d{3 * MAX_COUNTED - 1}", 3 * MAX_COUNTED - 1)
    assert remember(counted, counted[0][0], 99)[-1] == (counted[0][0], 99)


SCALARS = st.none() | st.booleans() | st.integers() | st.text()
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(st.dictionaries(st.text(), ANY_JSON), ANY_JSON, st.integers(0, 10**6))
def test_no_json_breaks_it_and_an_estimate_is_never_above_its_bound(head, items, tokens):
    request = {**head, "input": items}
    parts = beginnings(request)
    for known in parts:
        seen = input_size(parts, remember((), known.digest, tokens))
        assert tokens <= seen.estimate <= seen.at_most


@given(st.lists(ANY_JSON, max_size=6), st.lists(ANY_JSON, max_size=6))
def test_only_a_beginning_is_taken_for_one(one, other):
    counted = remember((), size(body(*one)).digest, 0)
    known = size(body(*other), counted).at_most < size(body(*other)).at_most
    assert known == (_text(other[: len(one)]) == _text(one) and len(other) >= len(one))


def _text(value):
    return json.dumps(value)
