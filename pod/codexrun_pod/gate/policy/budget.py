"""Is a model request within the budget? Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from codexrun_pod.gate.cost import dollars
from codexrun_pod.gate.policy.verdicts import Denied, Limits, guardrail

MIN_OUTPUT_TOKENS = 16  # the API's minimum for max_output_tokens
UNLIMITED_TOKENS = 2**53  # of tokens that cost nothing
TOO_SMALL = ", and the rest is too small for a response"


def known_price(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny a model without a price, and all that follows once something else without one was used:
    a limit in money holds only where money is counted."""
    if limits.max_pico is None:
        return None
    if body["model"] not in limits.prices:
        return guardrail(
            f"model {body['model']!r} has no known price, so limits.maxCostCents cannot be"
            " enforced; use another model, or add the price to the price table"
        )
    if limits.unpriced is not None:
        return guardrail(
            f"the price table has no price for {limits.unpriced}, which the model's response used,"
            " so limits.maxCostCents cannot be enforced; add the price to the price table"
        )
    return None


def budget_left(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny a request beyond the budget; what overshoots is at most one request's input. Less than
    the API's minimum is nothing."""
    limit = _spent_limit(body, limits)
    if limit is None:
        return None
    tries = limits.tries
    if tries is not None:
        before = replace(
            limits,
            spent=limits.spent - tries.tokens,
            spent_pico=limits.spent_pico - tries.pico,
        )
        if _spent_limit(body, before) is None:
            return Denied(
                "model_error",
                "every attempt at this turn was cut off, and the estimated usage of these attempts"
                f" used up the budget: {limit}; retry the run. The last error: {tries.error}",
                final=tries.class_ == "model_error",  # others say better what is to be done
            )
    return Denied("budget", f"the budget is used up: {limit}")


def _spent_limit(body: dict[str, Any], limits: Limits) -> str | None:
    """Return how much of which limit is spent, if less than the API's minimum is left of it."""
    if limits.max_tokens is not None and limits.max_tokens - limits.spent < MIN_OUTPUT_TOKENS:
        rest = TOO_SMALL if limits.spent < limits.max_tokens else ""
        return f"{limits.spent} of {limits.max_tokens} tokens (limits.maxTokens){rest}"
    if limits.max_pico is not None and _affordable(body, limits) < MIN_OUTPUT_TOKENS:
        spent = dollars(limits.spent_pico)
        rest = TOO_SMALL if limits.spent_pico < limits.max_pico else ""
        return f"{spent} of {dollars(limits.max_pico)} (limits.maxCostCents){rest}"
    return None


def _affordable(body: dict[str, Any], limits: Limits) -> int:
    """Return the tokens of output that the remaining money buys."""
    assert limits.max_pico is not None
    price = limits.prices[body["model"]].highest_output(limits.tier)
    remaining = limits.max_pico - limits.spent_pico
    if remaining <= 0:
        return 0
    return remaining // price if price else UNLIMITED_TOKENS


def lower_output(body: dict[str, Any], limits: Limits) -> str | None:
    """Set or lower `max_output_tokens` to what is left, where the answer may be longer than that;
    return the limit that did.

    Servers refuse a cap above what their model can answer, so none is set before it has to be
    (https://github.com/vllm-project/vllm/issues/42474). A cap that is no whole number from 1 on is
    taken out: some servers read -1 as no limit.
    """
    if not _is_cap(body.get("max_output_tokens")):
        body.pop("max_output_tokens", None)
    remaining = {}
    if limits.max_tokens is not None:
        remaining["limits.maxTokens"] = limits.max_tokens - limits.spent
    if limits.max_pico is not None:
        remaining["limits.maxCostCents"] = _affordable(body, limits)
    if not remaining:
        return None
    name = min(remaining, key=lambda limit: remaining[limit])
    if remaining[name] >= max_output(body, limits):
        return None
    body["max_output_tokens"] = remaining[name]
    return name


def max_output(body: dict[str, Any], limits: Limits) -> int:
    """Return the tokens that the answer can have: what is asked for, or what the model can."""
    cap: int = body.get("max_output_tokens", limits.max_output)
    return min(cap, limits.max_output)


def _is_cap(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
