"""What does a token cost? A versioned table of prices, read from YAML and kept as whole
micro-dollars per million tokens.

A model that is not in it has an unknown price, not zero. What a run's tokens come to is computed by
the gate: pod, gate/cost.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class PricesError(ValueError):
    """The table cannot be used; the message names the field, the trouble and the way out."""


def _micro(value: object) -> int:
    """Read US dollars as written, without a float in between: exact or refused."""
    try:
        micro = Decimal(str(value)) * 1_000_000
    except InvalidOperation:
        raise ValueError("must be US dollars per million tokens, such as 0.125") from None
    if not micro.is_finite() or micro != micro.to_integral_value() or not 0 <= micro <= 10**12:
        raise ValueError(
            "must be US dollars per million tokens, from 0 to 1000000, in millionths at the finest"
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
        Money | None, Field(description="As input where the vendor asks nothing more.")
    ] = None
    output: Money

    def for_gate(self) -> dict[str, int]:
        """Return the rates as the gate's settings have them."""
        written = self.input if self.cache_write is None else self.cache_write
        return {
            "inputMicroUSDPerMTok": self.input,
            "cachedInputMicroUSDPerMTok": self.cached_input,
            "cacheWriteMicroUSDPerMTok": written,
            "outputMicroUSDPerMTok": self.output,
        }


class LongContext(Rates):
    """What the whole of a request costs whose input is above so many tokens."""

    above_input_tokens: Annotated[int, Field(ge=1, le=10**9)]


class Price(Rates):
    """What a model costs from a day on."""

    model: Annotated[str, Field(min_length=1, max_length=128)]
    valid_from: date
    source: Annotated[str, Field(min_length=1, description="Where the figures were read.")]
    long_context: LongContext | None = None


class PriceTable(_Part):
    """The file."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    prices: list[Price]

    def on(self, day: date) -> "Prices":
        """Return the prices of that day (UTC): of a model's entries the newest that has begun."""
        begun = sorted(
            (p for p in self.prices if p.valid_from <= day), key=lambda price: price.valid_from
        )
        return Prices(self.version, {price.model: price for price in begun})


@dataclass(frozen=True)
class Prices:
    """The prices of one day, by model."""

    version: str
    models: Mapping[str, Price]

    def for_gate(self, model: str) -> dict[str, dict[str, Any]]:
        """Return the part that a run's gate needs, as JSON; empty if the model's price is
        unknown."""
        price = self.models.get(model)
        if price is None:
            return {}
        rates: dict[str, Any] = dict(price.for_gate())
        if long := price.long_context:
            rates["longContext"] = {"aboveInputTokens": long.above_input_tokens, **long.for_gate()}
        return {model: rates}


UNKNOWN_PRICES = Prices("none", {})


def parse_prices(text: str, file_name: str = "prices.yaml") -> PriceTable:
    """Read a table from YAML.

    Raises:
        PricesError: with every problem, one a line.
    """
    try:
        # All scalars as text, so that 0.1 is a tenth and a day is not a timestamp.
        table = PriceTable.model_validate(yaml.load(text, Loader=yaml.BaseLoader))  # noqa: S506 - BaseLoader makes text only
    except yaml.YAMLError as error:
        raise PricesError(
            f"{file_name}: not readable as YAML: {' '.join(str(error).split())}; fix it there"
        ) from None
    except ValidationError as error:
        lines = [
            f"{file_name}: {'.'.join(map(str, e['loc'])) or 'table'}: {e['msg']}"
            for e in error.errors(include_url=False)
        ]
        raise PricesError("\n".join(lines)) from None
    keys: set[tuple[str, date]] = set()
    for price in table.prices:
        if (price.model, price.valid_from) in keys:
            raise PricesError(
                f"{file_name}: {price.model} has two prices from {price.valid_from} on; remove one"
            )
        keys.add((price.model, price.valid_from))
    return table


@cache
def built_in() -> PriceTable:
    """Return the table that comes with this version."""
    return parse_prices(
        resources.files("codexrun_core.prices").joinpath("prices.yaml").read_text(encoding="utf-8")
    )
