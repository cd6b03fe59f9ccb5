"""May this request go to the model? Pure. The rules below are in the order of precedence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from codexrun_core.codex import tools
from codexrun_pod.gate.cost import Price, dollars
from codexrun_pod.gate.policy import tools as offered

Code = Literal["budget", "guardrail", "stopping"]

SMALLEST_CAP = 16  # the API's minimum for max_output_tokens
ANY_NUMBER = 2**53  # of tokens that cost nothing
PLAIN_TIERS = (None, "auto", "default")  # others have other prices


@dataclass(frozen=True)
class Refused:
    """Why not. `final` refusals end the run with that class; others only turn this request down."""

    code: Code
    message: str
    final: bool = True

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the 400, which Codex shows verbatim and does not retry."""
        return {"error": {"type": "codexrun_refused", "code": self.code, "message": self.message}}


@dataclass(frozen=True)
class Admitted:
    """What to send. lowered: the limit to whose rest max_output_tokens was set or lowered;
    stripped: tools taken out."""

    body: bytes
    model: str
    lowered: str | None = None
    stripped: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Limits:
    """What the run may do, and what it has done. Tokens, and pico-dollars; stopped: a final refusal
    given before."""

    models: frozenset[str]
    tools: frozenset[str] = frozenset(tools.DEFAULT)
    max_tokens: int | None = None
    spent: int = 0
    max_pico: int | None = None
    spent_pico: int = 0
    prices: Mapping[str, Price] = field(default_factory=dict)
    stopping: bool = False
    stopped: Refused | None = None


def admit(raw: bytes, limits: Limits) -> Admitted | Refused:
    """Judge one body; an admitted one is written anew, so that no key that occurs twice means two
    things."""
    if limits.stopping:
        return Refused(
            "stopping", "the run is being stopped; no further model requests", final=False
        )
    if limits.stopped is not None:
        return limits.stopped
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return Refused("guardrail", f"the request is not JSON: {error}", final=False)
    if not isinstance(body, dict):
        return Refused("guardrail", "the request is not a JSON object", final=False)
    for rule in RULES:
        if (refused := rule(body, limits)) is not None:
            return refused
    lowered = _lower(body, limits)
    stripped = offered.strip(body, limits.tools)
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Admitted(text.encode("utf-8", "backslashreplace"), body["model"], lowered, stripped)


def only_streams(body: dict[str, Any], _: Limits) -> Refused | None:
    """A response that is not streamed shows its usage only at the end, or never to a client that
    leaves."""
    return None if body.get("stream") is True else _guardrail("stream must be true")


def nothing_kept_upstream(body: dict[str, Any], _: Limits) -> Refused | None:
    """Stored state and background work outlive the run and are paid for unseen."""
    for key in ("background", "store"):
        if body.get(key) not in (None, False):
            return _guardrail(f"{key} must not be set")
    for key in ("previous_response_id", "conversation", "prompt"):
        if body.get(key) is not None:
            return _guardrail(f"{key} is not allowed: a run sends its whole conversation itself")
    return None


def allowed_model(body: dict[str, Any], limits: Limits) -> Refused | None:
    """The job type's word."""
    if isinstance(body.get("model"), str) and body["model"] in limits.models:
        return None
    return _guardrail(
        f"model {body.get('model')!r} is not allowed; this run may use"
        f" {', '.join(sorted(limits.models))}"
    )


def plain_tier(body: dict[str, Any], _: Limits) -> Refused | None:
    """Other tiers have other prices than the run's price table."""
    tier = body.get("service_tier")
    return None if tier in PLAIN_TIERS else _guardrail(f"service_tier {tier!r} is not allowed")


def allowed_tools(body: dict[str, Any], limits: Limits) -> Refused | None:
    """Tools that the provider runs are refused; so are those of a script, whose calls nobody could
    take out."""
    said = offered.refusal(body, limits.tools)
    return None if said is None else _guardrail(f"{said} (allowedTools)")


def known_price(body: dict[str, Any], limits: Limits) -> Refused | None:
    """A limit in money holds only where money is counted."""
    if limits.max_pico is None or body["model"] in limits.prices:
        return None
    return _guardrail(
        f"model {body['model']!r} has no known price, so that limits.maxCostCents cannot be kept"
    )


def budget_left(body: dict[str, Any], limits: Limits) -> Refused | None:
    """The next request is refused; what overshoots is at most one request's input. Less than the
    API's minimum is nothing."""
    if limits.max_tokens is not None and limits.max_tokens - limits.spent < SMALLEST_CAP:
        return Refused(
            "budget",
            f"the budget is spent: {limits.spent} of {limits.max_tokens} tokens (limits.maxTokens)",
        )
    if limits.max_pico is not None and _affordable(body, limits) < SMALLEST_CAP:
        spent, most = dollars(limits.spent_pico), dollars(limits.max_pico)
        return Refused("budget", f"the budget is spent: {spent} of {most} (limits.maxCostCents)")
    return None


RULES: tuple[Callable[[dict[str, Any], Limits], Refused | None], ...] = (
    only_streams,
    nothing_kept_upstream,
    allowed_model,
    plain_tier,
    allowed_tools,
    known_price,
    budget_left,
)


def _affordable(body: dict[str, Any], limits: Limits) -> int:
    """Tokens of output that the rest of the money buys."""
    assert limits.max_pico is not None
    price = limits.prices[body["model"]].highest_output
    left = limits.max_pico - limits.spent_pico
    if left <= 0:
        return 0
    return left // price if price else ANY_NUMBER


def _lower(body: dict[str, Any], limits: Limits) -> str | None:
    rests = {}
    if limits.max_tokens is not None:
        rests["limits.maxTokens"] = limits.max_tokens - limits.spent
    if limits.max_pico is not None:
        rests["limits.maxCostCents"] = _affordable(body, limits)
    if not rests:
        return None
    name = min(rests, key=lambda limit: rests[limit])
    left, asked = rests[name], body.get("max_output_tokens")
    if left == ANY_NUMBER or (
        isinstance(asked, int) and not isinstance(asked, bool) and asked <= left
    ):
        return None
    body["max_output_tokens"] = left
    return name


def _guardrail(message: str) -> Refused:
    return Refused("guardrail", message)
