"""May this request go to the model? Pure. The rules below are in the order of precedence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Code = Literal["budget", "guardrail", "stopping"]

SMALLEST_CAP = 16  # the API's minimum for max_output_tokens
PLAIN_TIERS = (None, "auto", "default")  # others have other prices
# Tools that the provider runs and bills on its own, or that reach the network past the pod's NetworkPolicy.
HOSTED_TOOLS = ("web_search", "file_search", "code_interpreter", "image_generation", "computer", "mcp")


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
    """What to send. lowered: max_output_tokens was set or lowered to what remains of the budget."""

    body: bytes
    model: str
    lowered: bool


@dataclass(frozen=True)
class Limits:
    """What the run may do, and what it has done. spent, max_tokens: tokens; stopped: a final refusal given before."""

    models: frozenset[str]
    max_tokens: int | None = None
    spent: int = 0
    stopping: bool = False
    stopped: Refused | None = None


def admit(raw: bytes, limits: Limits) -> Admitted | Refused:
    """Judge one body; an admitted one is written anew, so that no key that occurs twice means two things."""
    if limits.stopping:
        return Refused("stopping", "the run is being stopped; no further model requests", final=False)
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
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Admitted(text.encode("utf-8", "backslashreplace"), body["model"], lowered)


def only_streams(body: dict[str, Any], _: Limits) -> Refused | None:
    """A response that is not streamed shows its usage only at the end, or never to a client that leaves."""
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
    return _guardrail(f"model {body.get('model')!r} is not allowed; this run may use {', '.join(sorted(limits.models))}")


def plain_tier(body: dict[str, Any], _: Limits) -> Refused | None:
    """Other tiers have other prices than the run's price table."""
    tier = body.get("service_tier")
    return None if tier in PLAIN_TIERS else _guardrail(f"service_tier {tier!r} is not allowed")


def no_hosted_tools(body: dict[str, Any], _: Limits) -> Refused | None:
    """In `tools` and in `additional_tools` items of the input, where code-mode models have them; namespaces nest."""
    items = body["input"] if isinstance(body.get("input"), list) else []
    waiting = [body, *(item for item in items if isinstance(item, dict))]
    while waiting:
        tools = waiting.pop().get("tools")
        for tool in tools if isinstance(tools, list) else []:
            if isinstance(tool, dict):
                if str(tool.get("type", "")).startswith(HOSTED_TOOLS):
                    return _guardrail(f"the hosted tool {tool['type']!r} is not allowed")
                waiting.append(tool)
    return None


def budget_left(_: dict[str, Any], limits: Limits) -> Refused | None:
    """The next request is refused; what overshoots is at most one request's input."""
    if limits.max_tokens is None or limits.spent < limits.max_tokens:
        return None
    return Refused("budget", f"the budget is spent: {limits.spent} of {limits.max_tokens} tokens (limits.maxTokens)")


RULES: tuple[Callable[[dict[str, Any], Limits], Refused | None], ...] = (
    only_streams,
    nothing_kept_upstream,
    allowed_model,
    plain_tier,
    no_hosted_tools,
    budget_left,
)


def _lower(body: dict[str, Any], limits: Limits) -> bool:
    if limits.max_tokens is None:
        return False
    left = max(SMALLEST_CAP, limits.max_tokens - limits.spent)
    asked = body.get("max_output_tokens")
    if isinstance(asked, int) and not isinstance(asked, bool) and asked <= left:
        return False
    body["max_output_tokens"] = left
    return True


def _guardrail(message: str) -> Refused:
    return Refused("guardrail", message)
