"""What a prompt's text becomes. Each row: what it shows, template, inputs, text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.prompts.rendering import UnknownPlaceholderError, placeholders, render

CASES = [
    ("a string is put in verbatim", "Hello {{name}}!", {"name": "world"}, "Hello world!"),
    ("the same name twice", "{{a}}-{{a}}", {"a": "x"}, "x-x"),
    (
        "numbers, booleans, null, lists and objects are compact JSON",
        "{{i}} {{b}} {{n}} {{l}} {{o}}",
        {"i": 1, "b": True, "n": None, "l": [1, "é"], "o": {"k": "v"}},
        '1 true null [1,"é"] {"k":"v"}',
    ),
    ("a value is never scanned again", "{{a}} {{b}}", {"a": "{{b}}", "b": "{{a}}"}, "{{b}} {{a}}"),
    (
        "blanks inside the braces: not a placeholder",
        "{{ name }} ${{ secrets.X }}",
        {"name": "x"},
        "{{ name }} ${{ secrets.X }}",
    ),
    ("braces without a name stay", "{{}} {{ {{1a}} {a} }}", {"a": "x"}, "{{}} {{ {{1a}} {a} }}"),
    ("a brace more on each side stays", "{{{a}}}", {"a": "x"}, "{x}"),
    ("names may hold digits, underscores and dashes", "{{a-b_1}}", {"a-b_1": "x"}, "x"),
    (
        "what a shell, a regex or a kubelet would expand stays",
        "{{a}}",
        {"a": "$$ $(HOME) \\1 \\g<0> %s"},
        "$$ $(HOME) \\1 \\g<0> %s",
    ),
    ("an input that the prompt does not use is ignored", "x", {"a": "y"}, "x"),
]


@pytest.mark.parametrize(
    ("template", "inputs", "text"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_render(template, inputs, text):
    assert render(template, inputs) == text


def test_placeholders_are_named_once_in_order_of_appearance():
    assert placeholders("{{b}} {{a}} {{b}} {{ c }}") == ["b", "a"]


def test_a_placeholder_without_an_input_is_an_error_that_names_it():
    with pytest.raises(UnknownPlaceholderError, match=r"\{\{title\}\}.*inputs\.title") as error:
        render("{{title}}", {"name": "x"})
    assert error.value.name == "title"


def test_nan_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        render("{{a}}", {"a": float("nan")})


@given(st.text())
def test_any_string_survives(value):
    assert render("<{{a}}>", {"a": value}) == f"<{value}>"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_other_value_is_json(value):
    text = render("{{a}}", {"a": value})
    assert text == value if isinstance(value, str) else json.loads(text) == value
