"""Is a model request within the budget? Pure."""

from __future__ import annotations

from typing import Any

from codexrun_pod.gate.cost import dollars
from codexrun_pod.gate.policy.verdicts import Denied, Limits, guardrail

MIN_OUTPUT_TOKENS = 16  # the API's minimum for max_output_tokens
UNLIMITED_TOKENS = 2**53  # of tokens that cost nothing


def known_price(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny a model without a price: a limit in money holds only where money is counted."""
    if limits.max_pico is None or body["model"] in limits.prices:
        return None
    return guardrail(
        f"model {body['model']!r} has no known price, so that limits.maxCostCents cannot be kept"
    )


def budget_left(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny a request beyond the budget; what overshoots is at most one request's input. Less than
    the API's minimum is nothing."""
    if limits.max_tokens is not None and limits.max_tokens - limits.spent < MIN_OUTPUT_TOKENS:
        return Denied(
            "budget",
            f"the budget is spent: {limits.spent} of {limits.max_tokens} tokens (limits.maxTokens)",
        )
    if limits.max_pico is not None and _affordable(body, limits) < MIN_OUTPUT_TOKENS:
        spent = dollars(limits.spent_pico)
        limit = dollars(limits.max_pico)
        return Denied("budget", f"the budget is spent: {spent} of {limit} (limits.maxCostCents)")
    return None


def _affordable(body: dict[str, Any], limits: Limits) -> int:
    """Return the tokens of output that the remaining money buys."""
    assert limits.max_pico is not None
    price = limits.prices[body["model"]].highest_output
    remaining = limits.max_pico - limits.spent_pico
    if remaining <= 0:
        return 0
    return remaining // price if price else UNLIMITED_TOKENS


def lower_output(body: dict[str, Any], limits: Limits) -> str | None:
    """Lower `max_output_tokens` to what is left; return the limit that did."""
    remaining = {}
    if limits.max_tokens is not None:
        remaining["limits.maxTokens"] = limits.max_tokens - limits.spent
    if limits.max_pico is not None:
        remaining["limits.maxCostCents"] = _affordable(body, limits)
    if not remaining:
        return None
    name = min(remaining, key=lambda limit: remaining[limit])
    tokens = remaining[name]
    requested = body.get("max_output_tokens")
    if tokens == UNLIMITED_TOKENS or (
        isinstance(requested, int) and not isinstance(requested, bool) and requested <= tokens
    ):
        return None
    body["max_output_tokens"] = tokens
    return name
