"""The cost of tokens and searches. Pure, exact: whole pico-dollars inside, micro-dollars rounded up
outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codexrun_pod.gate.usage import Usage

PICO_PER_MICRO = 1_000_000
# What servers call the tier of the list prices.
# https://platform.openai.com/docs/api-reference/responses/object#responses/object-service_tier
STANDARD_TIERS = (None, "", "auto", "default", "standard")


@dataclass(frozen=True)
class Price:
    """Micro-dollars per million tokens, which is the same number as pico-dollars per token.

    cache_write: None as input. long: what the whole of a request costs whose input is above
    long_above tokens. tiers: what it costs at other service tiers, by name. search: pico-dollars a
    call of the provider's web search; None for unknown.
    """

    input: int
    cached_input: int
    output: int
    cache_write: int | None = None
    long_above: int | None = None
    long: Price | None = None
    tiers: Mapping[str, Price] = field(default_factory=dict)
    search: int | None = None

    @classmethod
    def from_json(cls, price: Mapping[str, Any]) -> Price:
        """Read the operator's `prices` entry.

        Raises:
            KeyError: a field is missing. ValueError: one is negative.
        """
        long = price.get("longContext")
        thousand_searches = price.get("webSearchMicroUSDPerThousandCalls")
        parsed = cls(
            price["inputMicroUSDPerMTok"],
            price["cachedInputMicroUSDPerMTok"],
            price["outputMicroUSDPerMTok"],
            price.get("cacheWriteMicroUSDPerMTok"),
            long["aboveInputTokens"] if long else None,
            cls.from_json(long) if long else None,
            {name: cls.from_json(tier) for name, tier in (price.get("tiers") or {}).items()},
            None if thousand_searches is None else thousand_searches * (PICO_PER_MICRO // 1000),
        )
        amounts = (parsed.input, parsed.cached_input, parsed.output, parsed.written)
        if min(*amounts, parsed.search or 0) < 0:
            raise ValueError(f"a price is negative: {dict(price)}")
        return parsed

    @property
    def written(self) -> int:
        """Return the price of input that the model's cache takes up."""
        return self.input if self.cache_write is None else self.cache_write

    def highest_output(self, tier: str | None) -> int:
        """Return the highest price of output, whatever the request's length; tier: the one that the
        answers before were served at."""
        price = self.at_tier(tier) or self
        return max(price.output, price.long.output) if price.long else price.output

    def at_tier(self, tier: str | None) -> Price | None:
        """Return the price of a service tier; None for one that is not known."""
        return self if tier in STANDARD_TIERS else self.tiers.get(str(tier))

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
    cache was, and its tier."""
    rates = [tier.of(usage) for tier in (price, *price.tiers.values())]
    return max(
        usage.input * max(rate.input, rate.written) + usage.output * rate.output for rate in rates
    )


def pico_of_cents(cents: int) -> int:
    """Convert a limit in cents, exactly."""
    return cents * 10_000 * PICO_PER_MICRO


def dollars(pico: int) -> str:
    """Format pico-dollars for people: four decimals, rounded up."""
    return f"${-(-pico // (100 * PICO_PER_MICRO)) / 10_000:.4f}"


def micro_dollars(pico: int) -> int:
    """Convert to micro-dollars, rounded up: what was spent is never shown as less."""
    return -(-pico // PICO_PER_MICRO)
