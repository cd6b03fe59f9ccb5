"""What a token costs: micro-dollars per million tokens, as integers. A model not listed has an unknown price, not zero."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """Micro-dollars per million tokens. Cached input is charged at its own price and not at `input` as well."""

    input: int
    cached_input: int
    output: int


@dataclass(frozen=True)
class PriceTable:
    version: str  # the day it was written down
    models: dict[str, Price]


# Source: https://developers.openai.com/api/docs/pricing (standard tier, contexts up to 272,000 tokens).
PRICES = PriceTable(
    version="2026-06-12",
    models={"gpt-5.5": Price(input=5_000_000, cached_input=500_000, output=30_000_000)},
)


def prices_for(model: str) -> dict[str, dict[str, int]]:
    """The part of the table that a run's gate needs, as JSON; empty if the model's price is unknown."""
    price = PRICES.models.get(model)
    if price is None:
        return {}
    return {
        model: {
            "inputMicroUSDPerMTok": price.input,
            "cachedInputMicroUSDPerMTok": price.cached_input,
            "outputMicroUSDPerMTok": price.output,
        }
    }
