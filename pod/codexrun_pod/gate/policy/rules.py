"""May this request go to the model? Decides by rules in the order of precedence. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from codexrun_core.codex import tools
from codexrun_pod.gate.cost import Price, dollars
from codexrun_pod.gate.policy import tools as offered

Code = Literal["budget", "guardrail", "stopping"]

MIN_OUTPUT_TOKENS = 16  # the API's minimum for max_output_tokens
UNLIMITED_TOKENS = 2**53  # of tokens that cost nothing
PLAIN_TIERS = (None, "auto", "default")  # others have other prices


@dataclass(frozen=True)
class Denied:
    """The request is denied. A `final` denial ends the run with that class; others only turn this
    request down."""

    code: Code
    message: str
    final: bool = True

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON of the 400, which Codex shows verbatim and does not retry."""
        return {"error": {"type": "codexrun_refused", "code": self.code, "message": self.message}}


@dataclass(frozen=True)
class Admitted:
    """The body to send. lowered: the limit to whose remainder max_output_tokens was set or lowered;
    stripped: tools taken out."""

    body: bytes
    model: str
    lowered: str | None = None
    stripped: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Limits:
    """The run's limits, and what it has spent, in tokens and pico-dollars; stopped: an earlier
    final denial."""

    models: frozenset[str]
    tools: frozenset[str] = frozenset(tools.DEFAULT_TOOLS)
    max_tokens: int | None = None
    spent: int = 0
    max_pico: int | None = None
    spent_pico: int = 0
    prices: Mapping[str, Price] = field(default_factory=dict)
    stopping: bool = False
    stopped: Denied | None = None


def admit(raw: bytes, limits: Limits) -> Admitted | Denied:
    """Decide on one body; an admitted one is written anew, so that no key that occurs twice means
    two things."""
    if limits.stopping:
        return Denied(
            "stopping", "the run is being stopped; no further model requests", final=False
        )
    if limits.stopped is not None:
        return limits.stopped
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return Denied("guardrail", f"the request is not JSON: {error}", final=False)
    if not isinstance(body, dict):
        return Denied("guardrail", "the request is not a JSON object", final=False)
    for rule in RULES:
        if (denial := rule(body, limits)) is not None:
            return denial
    lowered = _lower(body, limits)
    stripped = offered.remove_forbidden(body, limits.tools)
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Admitted(text.encode("utf-8", "backslashreplace"), body["model"], lowered, stripped)


def only_streams(body: dict[str, Any], _: Limits) -> Denied | None:
    """Require a stream: a response that is not streamed shows its usage only at the end, or never
    to a client that leaves."""
    return None if body.get("stream") is True else _guardrail("stream must be true")


def nothing_kept_upstream(body: dict[str, Any], _: Limits) -> Denied | None:
    """Deny stored state and background work: they outlive the run and are paid for unseen."""
    for key in ("background", "store"):
        if body.get(key) not in (None, False):
            return _guardrail(f"{key} must not be set")
    for key in ("previous_response_id", "conversation", "prompt"):
        if body.get(key) is not None:
            return _guardrail(f"{key} is not allowed: a run sends its whole conversation itself")
    return None


def allowed_model(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny a model that the job type does not allow."""
    if isinstance(body.get("model"), str) and body["model"] in limits.models:
        return None
    return _guardrail(
        f"model {body.get('model')!r} is not allowed; this run may use"
        f" {', '.join(sorted(limits.models))}"
    )


def plain_tier(body: dict[str, Any], _: Limits) -> Denied | None:
    """Deny other tiers: they have other prices than the run's price table."""
    tier = body.get("service_tier")
    return None if tier in PLAIN_TIERS else _guardrail(f"service_tier {tier!r} is not allowed")


def allowed_tools(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny tools that the provider runs, and those of a script, whose calls nobody could take
    out."""
    reason = offered.refusal(body, limits.tools)
    return None if reason is None else _guardrail(f"{reason} (allowedTools)")


def known_price(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny a model without a price: a limit in money holds only where money is counted."""
    if limits.max_pico is None or body["model"] in limits.prices:
        return None
    return _guardrail(
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


RULES: tuple[Callable[[dict[str, Any], Limits], Denied | None], ...] = (
    only_streams,
    nothing_kept_upstream,
    allowed_model,
    plain_tier,
    allowed_tools,
    known_price,
    budget_left,
)


def _affordable(body: dict[str, Any], limits: Limits) -> int:
    """Return the tokens of output that the remaining money buys."""
    assert limits.max_pico is not None
    price = limits.prices[body["model"]].highest_output
    remaining = limits.max_pico - limits.spent_pico
    if remaining <= 0:
        return 0
    return remaining // price if price else UNLIMITED_TOKENS


def _lower(body: dict[str, Any], limits: Limits) -> str | None:
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


def _guardrail(message: str) -> Denied:
    return Denied("guardrail", message)
