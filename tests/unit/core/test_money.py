"""An amount of money has the same digits at each door, and never reads as less than it is."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_api.console.view import formats
from codexrun_cli.output import usage
from codexrun_cli.transports.schemas import Run
from codexrun_core.prices.money import cents, money


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [
        (0, "$0.00"),
        (1, "$0.0001"),
        (43_534, "$0.0436"),
        (99_999, "$0.1000"),
        (999_900, "$0.9999"),
        (999_901, "$1.00"),
        (1_000_001, "$1.01"),
        (3_180_000, "$3.18"),
        (1_250_000_000, "$1,250.00"),
    ],
)
def test_money(micro_usd: int, text: str) -> None:
    assert money(micro_usd) == text
    assert formats.money(micro_usd) == text
    run = cast(Run, {"usage": {"cost_micro_usd": micro_usd}})
    assert usage.cost(run) == text


@given(st.integers(0, 10**15))
def test_never_less_than_it_is_and_at_most_one_digit_more(micro_usd: int) -> None:
    shown = float(money(micro_usd)[1:].replace(",", ""))
    step = 0.0001 if shown < 1 else 0.01
    assert micro_usd / 1e6 <= shown + 1e-6
    assert shown < micro_usd / 1e6 + step + 1e-6


def test_limits_are_whole_cents() -> None:
    assert [cents(number) for number in (1, 50, 100, 123_456)] == [
        "$0.01",
        "$0.50",
        "$1.00",
        "$1,234.56",
    ]
