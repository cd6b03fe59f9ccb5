"""What a list says a run is about."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.prompts.title import MAX_TITLE_CHARACTERS, title_of


@pytest.mark.parametrize(
    ("name", "template", "inputs", "title"),
    [
        ("template", "Review {{ref}}", {"ref": "v1..v2", "depth": 3}, "Review v1..v2"),
        ("template, an input is missing", "Review {{ref}} {{of}}", {"ref": "main"}, "Review main"),
        ("template, not of text", "{{count}} {{tags}}", {"count": 3, "tags": ["a"]}, '3 ["a"]'),
        ("what an input holds is not scanned again", "{{a}}", {"a": "{{b}}", "b": "x"}, "{{b}}"),
        ("the first input that tells", None, {"dry": True, "empty": " ", "ref": "main"}, "main"),
        ("a number tells", None, {"list": [1], "issue": 42}, "42"),
        ("one line", None, {"task": "fix\n\n the   build"}, "fix the build"),
        ("nothing", None, {"list": []}, ""),
    ],
)
def test_titles(name: str, template: str | None, inputs: dict[str, Any], title: str) -> None:
    assert title_of(template, inputs) == title, name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
)


@given(st.none() | st.text(), st.dictionaries(st.text(), JSON, max_size=5))
def test_a_title_is_one_short_line(template: str | None, inputs: dict[str, Any]) -> None:
    title = title_of(template, inputs)
    assert len(title) <= MAX_TITLE_CHARACTERS
    assert len(title.splitlines()) <= 1
