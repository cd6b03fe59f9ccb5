"""What does a token cost, and a search? A versioned table of prices, read from YAML and kept as
whole micro-dollars per million tokens, or per thousand calls.

A model that is not in it has an unknown price, not zero. What a run's tokens come to is computed by
the gate: pod, gate/cost.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from codexrun_core.codex.tools import WEB_SEARCH
from codexrun_core.resources.field_problems import explain_field


class PricesError(ValueError):
    """The table cannot be used; the message names the field, the trouble and the way out."""


def _micro(value: object) -> int:
    """Read US dollars as written, without a float in between: exact or refused."""
    try:
        micro = Decimal(str(value)) * 1_000_000
    except InvalidOperation:
        raise ValueError("must be an amount in US dollars, such as 0.125") from None
    if not micro.is_finite() or micro != micro.to_integral_value() or not 0 <= micro <= 10**12:
        raise ValueError(
            "must be an amount in US dollars from 0 to 1000000, with at most six decimal places"
        )
    return int(micro)


Money = Annotated[int, BeforeValidator(_micro)]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class Rates(_Part):
    """Micro-dollars per million tokens. Cached and written input are parts of input, each charged
    once at its own price."""

    input: Money
    cached_input: Money
    cache_write: Annotated[
        Money | None, Field(description="Same as input if the vendor charges nothing extra.")
    ] = None
    output: Money

    def for_gate(self) -> dict[str, int]:
        """Return the rates as the gate's settings have them; a cache write without a price of its
        own costs what input costs."""
        rates = {
            "inputMicroUSDPerMTok": self.input,
            "cachedInputMicroUSDPerMTok": self.cached_input,
            "outputMicroUSDPerMTok": self.output,
        }
        if self.cache_write is not None:
            rates["cacheWriteMicroUSDPerMTok"] = self.cache_write
        return rates


class LongContext(Rates):
    """What the whole of a request costs whose input is above so many tokens."""

    above_input_tokens: Annotated[int, Field(ge=1, le=10**9)]


class Tier(Rates):
    """What a model costs at one service tier."""

    long_context: LongContext | None = None

    def for_gate(self) -> dict[str, Any]:
        """Return the rates as the gate's settings have them."""
        rates: dict[str, Any] = super().for_gate()
        if long := self.long_context:
            rates["longContext"] = {"aboveInputTokens": long.above_input_tokens, **long.for_gate()}
        return rates


Source = Annotated[str, Field(min_length=1, description="Where the figures come from.")]
TierName = Annotated[str, Field(min_length=1, max_length=32)]


class Price(Tier):
    """What a model costs from a day on, at the standard tier and at others, and how much it can
    answer."""

    model: Annotated[str, Field(min_length=1, max_length=128)]
    valid_from: date
    source: Source
    tiers: Annotated[
        dict[TierName, Tier],
        Field(description="By the name in a response's service_tier."),
    ] = {}
    max_output_tokens: Annotated[
        int | None,
        Field(ge=16, le=10**9, description="Maximum tokens of one response; 128,000 if absent."),
    ] = None

    def for_gate(self) -> dict[str, Any]:
        """Return the rates as the gate's settings have them."""
        rates = super().for_gate()
        if self.tiers:
            rates["tiers"] = {name: tier.for_gate() for name, tier in self.tiers.items()}
        return rates


class Fee(_Part):
    """What a call of a tool costs from a day on that the provider runs, besides its tokens."""

    tool: Literal["web_search"]
    valid_from: date
    source: Source
    per_thousand_calls: Money


Dated = TypeVar("Dated", Price, Fee)


class PriceTable(_Part):
    """The file."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    prices: list[Price]
    fees: list[Fee] = []

    def on(self, day: date) -> "Prices":
        """Return the prices of that day (UTC): of a model's or tool's entries the newest that has
        begun."""
        return Prices(
            self.version,
            {price.model: price for price in _begun(self.prices, day)},
            {fee.tool: fee.per_thousand_calls for fee in _begun(self.fees, day)},
        )


def _begun(entries: Iterable[Dated], day: date) -> list[Dated]:
    begun = (entry for entry in entries if entry.valid_from <= day)
    return sorted(begun, key=lambda entry: entry.valid_from)


@dataclass(frozen=True)
class Prices:
    """The prices of one day, by model, and the fees by tool, in micro-dollars per thousand
    calls."""

    version: str
    models: Mapping[str, Price]
    fees: Mapping[str, int] = field(default_factory=dict)

    def max_output_tokens(self, model: str) -> int | None:
        """Return the tokens that a response of a model can have; None where the table does not
        say."""
        price = self.models.get(model)
        return price.max_output_tokens if price else None

    def for_gate(self, model: str) -> dict[str, dict[str, Any]]:
        """Return the part that a run's gate needs, as JSON; empty if the model's price is
        unknown."""
        price = self.models.get(model)
        if price is None:
            return {}
        rates = price.for_gate()
        if (fee := self.fees.get(WEB_SEARCH)) is not None:
            rates["webSearchMicroUSDPerThousandCalls"] = fee
        return {model: rates}


UNKNOWN_PRICES = Prices("none", {})


def parse_prices(text: str, file_name: str = "prices.yaml") -> PriceTable:
    """Read a table from YAML.

    Raises:
        PricesError: with every problem, one a line.
    """
    try:
        # All scalars as text, so that 0.1 is a tenth and a day is not a timestamp.
        values = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes text only
        table = PriceTable.model_validate(values)
    except yaml.YAMLError as error:
        raise PricesError(
            f"{file_name}: not valid YAML: {' '.join(str(error).split())}; correct the file"
        ) from None
    except ValidationError as error:
        lines = [
            f"{file_name}: {explain_field(problem, 'table')}"
            for problem in error.errors(include_url=False)
        ]
        raise PricesError("\n".join(lines)) from None
    keys: set[tuple[str, date]] = set()
    for name, first_day in (
        *((price.model, price.valid_from) for price in table.prices),
        *((fee.tool, fee.valid_from) for fee in table.fees),
    ):
        if (name, first_day) in keys:
            raise PricesError(
                f"{file_name}: {name} has two prices that apply from {first_day}; remove one"
            )
        keys.add((name, first_day))
    return table


@cache
def built_in() -> PriceTable:
    """Return the table that comes with this version."""
    return parse_prices(
        resources.files("codexrun_core.prices").joinpath("prices.yaml").read_text(encoding="utf-8")
    )
