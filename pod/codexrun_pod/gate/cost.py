"""What tokens cost. Pure, exact: whole pico-dollars inside, micro-dollars rounded up outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codexrun_pod.gate.usage import Usage

PICO_PER_MICRO = 1_000_000


@dataclass(frozen=True)
class Price:
    """Micro-dollars per million tokens, which is the same number as pico-dollars per token."""

    input: int
    cached_input: int
    output: int

    @classmethod
    def from_json(cls, price: Mapping[str, int]) -> Price:
        """From the operator's `prices` entry.

        Raises:
            KeyError: a field is missing. ValueError: one is negative.
        """
        one = cls(price["inputMicroUSDPerMTok"], price["cachedInputMicroUSDPerMTok"], price["outputMicroUSDPerMTok"])
        if min(one.input, one.cached_input, one.output) < 0:
            raise ValueError(f"a price is negative: {dict(price)}")
        return one


def pico_dollars(usage: Usage, price: Price) -> int:
    """Cost of `usage`; cached input counts at its own price and not as other input too."""
    fresh = usage.input - usage.cached
    return fresh * price.input + usage.cached * price.cached_input + usage.output * price.output


def pico_of_cents(cents: int) -> int:
    """A limit in cents, exactly."""
    return cents * 10_000 * PICO_PER_MICRO


def dollars(pico: int) -> str:
    """For people: four decimals, rounded up."""
    return f"${-(-pico // (100 * PICO_PER_MICRO)) / 10_000:.4f}"


def micro_dollars(pico: int) -> int:
    """Rounded up: what was spent is never shown as less."""
    return -(-pico // PICO_PER_MICRO)
