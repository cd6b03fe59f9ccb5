"""The cost of tokens. Pure, exact: whole pico-dollars inside, micro-dollars rounded up outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codexrun_pod.gate.usage import Usage

PICO_PER_MICRO = 1_000_000


@dataclass(frozen=True)
class Price:
    """Micro-dollars per million tokens, which is the same number as pico-dollars per token.

    cache_write: None as input. long: what the whole of a request costs whose input is above
    long_above tokens.
    """

    input: int
    cached_input: int
    output: int
    cache_write: int | None = None
    long_above: int | None = None
    long: Price | None = None

    @classmethod
    def from_json(cls, price: Mapping[str, Any]) -> Price:
        """Read the operator's `prices` entry.

        Raises:
            KeyError: a field is missing. ValueError: one is negative.
        """
        long = price.get("longContext")
        parsed = cls(
            price["inputMicroUSDPerMTok"],
            price["cachedInputMicroUSDPerMTok"],
            price["outputMicroUSDPerMTok"],
            price.get("cacheWriteMicroUSDPerMTok"),
            long["aboveInputTokens"] if long else None,
            cls.from_json(long) if long else None,
        )
        if min(parsed.input, parsed.cached_input, parsed.output, parsed.written) < 0:
            raise ValueError(f"a price is negative: {dict(price)}")
        return parsed

    @property
    def written(self) -> int:
        """Return the price of input that the model's cache takes up."""
        return self.input if self.cache_write is None else self.cache_write

    @property
    def highest_output(self) -> int:
        """Return the highest price of output, whatever the request's length."""
        return max(self.output, self.long.output) if self.long else self.output

    def of(self, usage: Usage) -> Price:
        """Return the price of a request by its length."""
        if self.long is not None and self.long_above is not None and usage.input > self.long_above:
            return self.long
        return self


def pico_dollars(usage: Usage, price: Price) -> int:
    """Return the cost of one response; cached and written input count at their own prices and not
    as other input too."""
    rates = price.of(usage)
    fresh = usage.input - usage.cached - usage.written
    inputs = fresh * rates.input + usage.cached * rates.cached_input + usage.written * rates.written
    return inputs + usage.output * rates.output


def pico_at_most(usage: Usage, price: Price) -> int:
    """Return the highest cost of a response of so many tokens, whatever its input's share of the
    cache was."""
    rates = price.of(usage)
    return usage.input * max(rates.input, rates.written) + usage.output * rates.output


def pico_of_cents(cents: int) -> int:
    """Convert a limit in cents, exactly."""
    return cents * 10_000 * PICO_PER_MICRO


def dollars(pico: int) -> str:
    """Format pico-dollars for people: four decimals, rounded up."""
    return f"${-(-pico // (100 * PICO_PER_MICRO)) / 10_000:.4f}"


def micro_dollars(pico: int) -> int:
    """Convert to micro-dollars, rounded up: what was spent is never shown as less."""
    return -(-pico // PICO_PER_MICRO)
