"""May this request go to the model? Decides by rules in the order of precedence. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codexrun_core.codex import efforts
from codexrun_pod.gate import json_text
from codexrun_pod.gate.input_size import beginnings
from codexrun_pod.gate.policy import shape
from codexrun_pod.gate.policy import tools as offered
from codexrun_pod.gate.policy.budget import budget_left, known_price, lower_output, max_output
from codexrun_pod.gate.policy.verdicts import Admitted, Denied, Limits, guardrail, quoted

PLAIN_TIERS = (None, "auto", "default")  # others have other prices


def admit(raw: bytes | bytearray, limits: Limits) -> Admitted | Denied:
    """Decide on one body; an admitted one is written anew, so that no key that occurs twice means
    two things. A bytearray is emptied on the way."""
    if limits.stopping:
        return Denied(
            "stopping",
            "the run is being stopped; no further requests to the model are allowed",
            final=False,
        )
    if limits.stopped is not None:
        return limits.stopped
    try:
        body = json_text.parse(raw)
    except (ValueError, RecursionError) as error:
        return Denied("guardrail", f"the request cannot be read as JSON: {error}", final=False)
    if not isinstance(body, dict):
        return Denied("guardrail", "the request is not a JSON object", final=False)
    for rule in RULES:
        if (denial := rule(body, limits)) is not None:
            return denial
    body["store"] = False  # where it is absent the Responses API stores
    dropped = shape.drop_unknown(body)
    if not limits.takes_reasoning_ids:
        shape.drop_reasoning_ids(body)
    lowered = lower_output(body, limits)
    stripped = offered.remove_forbidden(body, limits.tools)
    try:
        text = json_text.dump(body)
        starts = beginnings(body)
    except RecursionError as error:
        return Denied("guardrail", f"the request cannot be read as JSON: {error}", final=False)
    return Admitted(
        text,
        body["model"],
        lowered=lowered,
        stripped=stripped,
        dropped=tuple(dropped),
        beginnings=starts,
        max_output=max_output(body, limits),
    )


def only_streams(body: dict[str, Any], _: Limits) -> Denied | None:
    """Require a stream: a response that is not streamed shows its usage only at the end, or never
    to a client that leaves."""
    return None if body.get("stream") is True else guardrail("stream must be true")


def nothing_kept_upstream(body: dict[str, Any], _: Limits) -> Denied | None:
    """Deny stored state and background work: they outlive the run and are paid for unseen."""
    for key in ("background", "store"):
        if body.get(key) not in (None, False):
            return guardrail(f"{key} must not be set")
    for key in ("previous_response_id", "conversation", "prompt"):
        if body.get(key) is not None:
            return guardrail(
                f"{key} is not allowed: each request must contain the whole conversation"
            )
    return None


def allowed_model(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny a model that the job type does not allow."""
    if isinstance(body.get("model"), str) and body["model"] in limits.models:
        return None
    return guardrail(
        f"model {quoted(body.get('model'))} is not allowed; this run may use"
        f" {', '.join(sorted(limits.models))}"
    )


def plain_tier(body: dict[str, Any], _: Limits) -> Denied | None:
    """Deny other tiers: they have other prices than the run's price table."""
    tier = body.get("service_tier")
    return None if tier in PLAIN_TIERS else guardrail(f"service_tier {quoted(tier)} is not allowed")


def allowed_effort(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny an effort that Codex sends for none that the job type allows: more effort is more tokens
    unseen."""
    if limits.efforts is None:
        return None
    allowed = efforts.sent(limits.efforts)
    for effort in shape.efforts(body):
        if not isinstance(effort, str) or effort not in allowed:
            return guardrail(
                f"reasoning.effort {quoted(effort)} is not allowed;"
                f" this run may use {', '.join(sorted(allowed))}"
            )
    return None


def whole_conversation(body: dict[str, Any], _: Limits) -> Denied | None:
    """Deny what Codex does not send, and what the provider would have to fetch: it reaches where no
    NetworkPolicy of the pod does."""
    reason = shape.refusal(body)
    return None if reason is None else guardrail(reason)


def allowed_tools(body: dict[str, Any], limits: Limits) -> Denied | None:
    """Deny tools that the provider runs, and those of a script, whose calls nobody could take
    out."""
    reason = offered.refusal(body, limits.tools)
    return None if reason is None else guardrail(f"{reason} (allowedTools)")


RULES: tuple[Callable[[dict[str, Any], Limits], Denied | None], ...] = (
    only_streams,
    nothing_kept_upstream,
    allowed_model,
    plain_tier,
    allowed_effort,
    whole_conversation,
    allowed_tools,
    known_price,
    budget_left,
)
