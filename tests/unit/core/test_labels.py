"""Label selectors mean what they mean to kubectl, and what is none is refused with the words to
write."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.runs.label_rules import (
    MAX_LABELS,
    check_labels,
    inherited_labels,
    matches,
    parse_selector,
)

LABELS = {"team": "a", "env": "", "example.com/ticket": "42"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("team=a", True),
        ("team==a", True),
        (" team = a ", True),
        ("team=b", False),
        ("team!=b", True),
        ("team != a", False),
        ("nobody!=x", True),
        ("team", True),
        ("nobody", False),
        ("!nobody", True),
        ("! team", False),
        ("env=", True),
        ("env", True),
        ("env!=", False),
        ("team=a,example.com/ticket=42", True),
        ("team=a,example.com/ticket=41", False),
        ("team in (a,b)", True),
        ("team in (b, c)", False),
        ("team notin (b,c),!nobody", True),
        ("nobody notin (b)", True),
        ("env in ()", True),
        ("in in (a)", False),
        ("team=a,team=b", False),
    ],
)
def test_a_selector_means_what_it_means_to_kubectl(text: str, *, holds: bool) -> None:
    asked = parse_selector(text)
    assert matches(asked, LABELS) is holds
    assert parse_selector(",".join(map(str, asked))) == asked, "as the apiserver is told"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", '"" is not a valid label selector; use key=value'),
        ("team=a,", '"" is not a valid label selector'),
        (",", "is not a valid label selector"),
        ("=a", "is not a valid label selector"),
        ("team>1", '"team>1" is not a valid label selector'),
        ("team=a=b", "is not a valid label selector"),
        ("!team=a", "is not a valid label selector"),
        ("team in a", "is not a valid label selector"),
        ("team in (a", "is not a valid label selector"),
        ("teamin (a)", "is not a valid label selector"),
        ("team a", "is not a valid label selector"),
        ("-team=a", '"-team" is not a valid label key; use 1 to 63 letters'),
        (
            "Example.com/team=a",
            ('"Example.com/team" is not a valid label key; the part before the /'),
        ),
        ("/team", "is not a valid label key; the part before the /"),
        ("team=a/b", '"a/b" is not a valid label value; use at most 63 letters'),
        (f"team={'x' * 64}", "is not a valid label value"),
        (f"{'x' * 64}", "is not a valid label key"),
        ("team in (a,b!)", '"b!" is not a valid label value'),
    ],
)
def test_what_is_no_selector_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_selector(text)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        asked = parse_selector(text)
    except ValueError:
        return
    assert parse_selector(",".join(map(str, asked))) == asked


def test_labels_that_a_caller_may_give() -> None:
    check_labels({"team": "a", "env": "", "example.com/ticket": "42"})
    for labels, said in (
        ({"codexrun.dev/run": "x"}, "keys with the prefix codexrun.dev/ are reserved for codexrun"),
        ({"team!": "a"}, '"team!" is not a valid label key'),
        ({"team": "a b"}, '"a b" is not a valid label value'),
        ({"": "a"}, '"" is not a valid label key'),
        ({f"k{n}": "" for n in range(MAX_LABELS + 1)}, "too many"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            check_labels(labels)


def test_a_retry_takes_over_what_people_set_and_not_what_tools_did() -> None:
    assert inherited_labels({"team": "a", "argocd.argoproj.io/instance": "x"}) == {"team": "a"}
