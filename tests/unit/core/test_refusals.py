"""Whose fault is a refusal? By real words of apiservers, webhooks and policies."""

import pytest
from refusals import REFUSALS

from codexrun_core.errors import Refused
from codexrun_core.refusals import Cause, cause_of, without_name


@pytest.mark.parametrize("name", REFUSALS)
def test_the_cause_is_read_from_code_and_words(name: str) -> None:
    status, reason, message, cause = REFUSALS[name]
    assert Refused(status, reason, message).cause is cause


@pytest.mark.parametrize("status", [408, 409, 429])
def test_a_code_that_says_try_again_is_no_verdict(status: int) -> None:
    assert cause_of(status, "whatever it says") is Cause.CONFLICT


def test_words_without_the_object_s_name_are_the_same_for_its_like() -> None:
    said = [f'jobs.batch "{name}" is forbidden: exceeded quota: q' for name in ("a-1", "b-1")]
    assert {without_name(words) for words in said} == {"exceeded quota: q"}
    assert (
        without_name('Job.batch "a" is invalid: spec.x: Required value') == "spec.x: Required value"
    )
    denied = 'admission webhook "x" denied the request: no'
    assert without_name(denied) == denied
