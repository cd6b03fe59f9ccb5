"""A duration has the same form at each door."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.times import short_duration

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (59.4, "59s"),
        (60, "1m"),
        (134, "2m14s"),
        (3600, "1h"),
        (3723, "1h2m"),
        (100_000, "1d3h"),
        (86_400, "1d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


@given(st.integers(0, 10**9))
def test_it_is_never_off_by_more_than_its_smaller_unit(seconds: int) -> None:
    parts = re.findall(r"(\d+)([smhd])", short_duration(seconds))
    assert 1 <= len(parts) <= 2
    read = sum(int(number) * UNITS[unit] for number, unit in parts)
    assert read <= seconds < read + (3600 if seconds >= 86_400 else 60)
