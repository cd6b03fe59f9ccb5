"""What is wrong with the model: class of failure, message, whether another try has a chance, and
what to do. Pure; the clock is an argument.

`read` takes every error that a provider, or a proxy before it, tells; the first of KINDS that fits
names it. What nobody told (no connection, a broken stream) has functions below.

OpenAI's codes: https://platform.openai.com/docs/guides/error-codes/api-errors
Azure's: https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter
LiteLLM's: https://docs.litellm.ai/docs/proxy/error_reference
OpenRouter's: https://openrouter.ai/docs/api/reference/errors-and-debugging
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

from codexrun_core.pod_contract import ReportKey
from codexrun_pod.gate.errors import body as bodies
from codexrun_pod.gate.errors import delay
from codexrun_pod.gate.errors.body import ErrorBody
from codexrun_pod.gate.sse import MAX_EVENT_BYTES
from codexrun_pod.termination import LONGEST_MESSAGE

Class = Literal["auth", "rate_limit", "quota", "policy", "model_error"]

RETRY = "the model's endpoint, or the network connection to it, failed; retry"
INVALID = "invalid_request_error"
PASSING_STATUSES = frozenset({408, 409, 425, 429})  # of those below 500


@dataclass(frozen=True)
class UpstreamError:
    """The last thing that went wrong upstream. status: HTTP's, None where there was none; reset_at:
    RFC 3339.

    retryable: the same request has a chance later. advice: what to do; "" for the usual one of the
    class. wait_seconds: until the provider wants to be asked again, None if it does not say.
    """

    class_: Class
    message: str
    status: int | None = None
    reset_at: str | None = None
    retryable: bool = True
    advice: str = ""
    wait_seconds: float | None = None

    @property
    def text(self) -> str:
        """Return the message with the advice."""
        return f"{self.message} ({self.advice})" if self.advice else self.message

    @property
    def json(self) -> dict[str, Any]:
        """Return it as the termination message has it."""
        fields = {
            ReportKey.CLASS: self.class_,
            ReportKey.STATUS: self.status,
            ReportKey.MESSAGE: self.message,
            ReportKey.RESET_AT: self.reset_at,
            ReportKey.RETRYABLE: self.retryable,
            ReportKey.ADVICE: self.advice or None,
        }
        return {key: value for key, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Kind:
    """A kind of error, and what shows that one is of it: a code, a status, or words. page: whether
    all that came is a web page, which no provider sends; None for either."""

    class_: Class
    advice: str
    retryable: bool = False
    codes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    words: re.Pattern[str] | None = None
    page: bool | None = False

    def fits(self, error: ErrorBody, status: int | None) -> bool:
        if self.page is not None and error.is_page != self.page:
            return False
        by_words = self.words is not None and self.words.search(error.message) is not None
        return bool(error.codes & self.codes) or status in self.statuses or by_words


def _codes(*names: str) -> frozenset[str]:
    return frozenset(names)


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.I)


KINDS = (
    Kind(
        "policy",
        "the provider's usage policy rejects the prompt or the response; change the prompt or"
            " the inputs, because a retry would be rejected again",
        codes=_codes(
            "bio_policy", "content_filter", "content_policy_violation", "contentpolicyviolation",
            "contentpolicyviolationerror", "cyber_policy", "invalid_prompt", "moderation_blocked",
            "responsibleaipolicyviolation", "safety",
        ),
        words=_words(
            r"usage polic(?:y|ies)", r"content management policy", r"content policy",
            r"input was flagged", r"flagged (?:as|for|by)",
        ),
    ),
    Kind(
        "quota",
        "the account's quota is used up; raise the quota or settle the invoice, then retry",
        codes=_codes(
            "billing_hard_limit_reached", "budget_exceeded", "insufficient_credits",
            "insufficient_quota", "usage_not_included",
        ),
        statuses=frozenset({402}),
        words=_words(
            r"budget has been exceeded", r"exceeded budget", r"crossed budget",
            r"insufficient (?:credits|balance|funds)",
        ),
    ),
    Kind(
        "model_error",
        "a proxy or firewall responded instead of the model; check model.upstreamURL"
        " and model.proxy, and what the proxy allows",
        statuses=frozenset({200, 400, 401, 403, 407, 451, 511}),
        page=True,
    ),
    Kind(
        "auth",
        "check the credentials (the API key in the Secret named in the chart's"
        " model.existingSecret or the job type's modelSecretRef, or the chart's model.identity),"
        " and whether they allow the use of this model",
        codes=_codes("account_deactivated", "invalid_api_key"),
        statuses=frozenset({401, 403}),
    ),
    Kind(
        "rate_limit",
        "retry later, or lower the job type's concurrencyLimit",
        retryable=True,
        codes=_codes(
            "rate_limit_error", "rate_limit_exceeded", "ratelimitreached", "resource_exhausted",
            "slow_down", "throttling_error", "too_many_requests", "usage_limit_reached",
        ),
        statuses=frozenset({429}),
    ),
    Kind(
        "model_error",
        RETRY,
        retryable=True,
        codes=_codes(
            "internal_error", "overloaded_error", "server_error", "server_is_overloaded",
            "service_unavailable", "timeout",
        ),
        statuses=frozenset({503}),  # passes by definition (RFC 9110, 15.6.4), whatever its words
    ),
    Kind(
        "model_error",
        "the endpoint does not accept a tool in the form that Codex sends (type custom is"
            " apply_patch; type namespace is an MCP server); use a later version of the endpoint's"
            " software, or remove the tool from the job type's allowedTools or mcpServers",
        words=_words(
            r"\btools[.\[]\d", r"'body', 'tools', \d", r"'type' of tool must",
            r"invalid value: 'tools\b", r"tool type\b.{0,80}not supported",
            r"(?:unknown|unsupported|invalid) tool type",
        ),
    ),
    Kind(
        "model_error",
        "the endpoint distributes the requests of one run across several deployments, which cannot"
        " read each other's reasoning; configure it to send all requests of a run to the same"
        " deployment",
        codes=_codes("invalid_encrypted_content"),
        words=_words(r"encrypted content [\s\S]{0,80}could not be (?:decrypted|verified|parsed)"),
    ),
    Kind(
        "model_error",
        "the conversation no longer fits in the model's context window; give the run a smaller"
        " task, or use a model with a larger context window",
        codes=_codes("context_length_exceeded", "context_window_exceeded"),
        words=_words(
            r"context (?:length|window|size)", r"(?:prompt|input) is too long",
            r"too many (?:input )?tokens",
        ),
    ),
    Kind(
        "model_error",
        "the endpoint does not have this model; use one of its models in the job type (on Azure,"
        " use the name of a deployment)",
        codes=_codes("deploymentnotfound", "model_not_found", "unknown_model"),
        words=_words(
            r"model\b.{0,120}\b(?:not found|not exist|is not available|not supported)",
            r"(?:no such|unknown|invalid) model", r"deployment .{0,80}does not exist",
        ),
    ),
    Kind(
        "model_error",
        "the provider does not accept the job type's outputSchema; correct the schema as the"
        " message says",
        codes=_codes("invalid_json_schema"),
        words=_words(r"invalid schema for (?:response_format|text)"),
    ),
    Kind(
        "model_error",
        "the request is larger than the endpoint, or a proxy in front of it, accepts; raise the"
        " limit there, or give the run a smaller task",
        statuses=frozenset({413}),
        page=None,
    ),
    Kind(
        "model_error",
        "there is no Responses API at model.upstreamURL; set it to the base URL of a Responses API,"
        " without /responses",
        statuses=frozenset({404, 405, 410, 501}),
        page=None,
    ),
)  # fmt: skip
REFUSED = Kind(
    "model_error",
    "the endpoint rejects the request, and a retry would fail too; correct the problem that the"
    " message describes",
)
FAILED = Kind("model_error", RETRY, retryable=True)
NO_STREAM = Kind(
    "model_error",
    "the response is not an event stream; check model.upstreamURL, and whether a proxy in between"
    " rewrites responses",
)


def read(
    content: Any,
    now: datetime,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    cap: str | None = None,
    mask: Callable[[str], str] = str,
) -> UpstreamError:
    """Read an error in any shape.

    content: the body of an HTTP answer (a text; the status may be 200), or an event of a stream (an
    object; without a status). cap: of a request whose output the gate has capped, what to do if
    that is why the server refuses it; servers say so in many ways. mask: takes secrets out of a
    text before it is cut, or half of one would stay.
    """
    sent = headers or {}
    if status is not None and 300 <= status < 400:
        return _redirect(status, sent)
    error = bodies.read(content)
    said = error.status if status in (None, HTTPStatus.OK) and error.status is not None else status
    wait = delay.seconds(sent, error.values, error.message, now)
    kind = _kind(error, said)
    if kind.class_ == "quota" and wait is not None and not error.codes & kind.codes:
        kind = _of_class("rate_limit")  # what comes back by itself is no bill to pay
    names_reset = kind.class_ in ("rate_limit", "quota") or kind.retryable
    wait = wait if names_reset else None
    text = mask(_message(error, status))
    if status == HTTPStatus.BAD_REQUEST and cap is not None:
        text = f"{text[: LONGEST_MESSAGE - len(cap) - 2]}; {cap}"
    return UpstreamError(
        kind.class_,
        _short(text),
        status,
        None if wait is None else delay.until(wait, now),
        kind.retryable,
        kind.advice,
        wait if kind.retryable else None,
    )


def _kind(error: ErrorBody, status: int | None) -> Kind:
    """Return the first kind that fits; status: the one that the error is about."""
    for kind in KINDS:
        if kind.fits(error, status):
            return kind
    if INVALID in error.codes and status is not None and status >= 500:
        return REFUSED  # whatever a relay makes of its provider's 400
    if status == HTTPStatus.OK:
        return REFUSED if error.is_json and error.message else NO_STREAM
    if status is not None and 400 <= status < 500 and status not in PASSING_STATUSES:
        return REFUSED
    return FAILED


def _of_class(class_: Class) -> Kind:
    return next(kind for kind in KINDS if kind.class_ == class_)


def _message(error: ErrorBody, status: int | None) -> str:
    message = error.message or "no message"
    if error.is_page:
        message = f"the response is a web page: {message}"
    if status is not None:
        return f"HTTP {status}: {message}"
    code = error.values.get("code") or "failed"
    return f"{code if isinstance(code, str | int) else 'failed'}: {message}"


def _redirect(status: int, headers: Mapping[str, str]) -> UpstreamError:
    """A redirect is not followed: the key would go along. Of its target only what may be shown; a
    query may hold anything."""
    try:
        parts = urlsplit(headers.get("Location", ""))
        port = f":{parts.port}" if parts.port else ""
        place = f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
        target = place + parts.path
    except ValueError:
        place = target = ""
    message = f"HTTP {status}: a redirect to {target or 'an unknown address'}"
    if place and target.endswith("/responses"):
        base = target.removesuffix("/responses")
        advice = f"redirects are not followed; set model.upstreamURL to {base}"
    else:
        advice = (
            "redirects are not followed; check model.upstreamURL, and whether a proxy in between"
            " asks for a login"
        )
    return UpstreamError(
        "model_error", _short(message), status, retryable=False, advice=_short(advice)
    )


def masked(error: UpstreamError, mask: Callable[[str], str]) -> UpstreamError:
    """Return an error with its texts masked."""
    return replace(error, message=_short(mask(error.message)), advice=mask(error.advice))


def not_waited_for(error: UpstreamError, waited: float, max_wait: float) -> UpstreamError:
    """Return the error of a provider that wants more time than the run has for waiting; seconds."""
    advice = (
        f"the provider says to retry at {error.reset_at}, but the run may wait only {max_wait:g} s"
        f" in total (limits.maxWaitSeconds) and has already waited {waited:.0f} s; retry later,"
        " raise that limit, or lower the job type's concurrencyLimit"
    )
    return replace(error, advice=advice)


def unreachable(host: str, reason: str, *, advice: str = "") -> UpstreamError:
    """Build the error of no answer at all: name resolution, connection, TLS. advice: what to do
    where another try would end the same way."""
    message = _short(f"the connection to the model at {host} failed: {reason}")
    return UpstreamError("model_error", message, retryable=not advice, advice=advice)


def unreadable(host: str, coding: str) -> UpstreamError:
    """Build the error of an answer with a content coding that the gate cannot undo."""
    return UpstreamError(
        "model_error",
        _short(
            f"the response from {host} has the Content-Encoding {coding}, which the gate cannot"
            " read and did not request"
        ),
        retryable=False,
        advice="turn compression off at the endpoint, or at the proxy in front of it",
    )


def unreadable_head(host: str, *, is_too_large: bool) -> UpstreamError:
    """Build the error of an answer whose head is beyond the gate's limits, or is not HTTP."""
    if not is_too_large:
        return UpstreamError(
            "model_error",
            _short(f"the response from {host} is not valid HTTP"),
            retryable=False,
            advice="check the headers that the endpoint, or a proxy in front of it, sends",
        )
    return UpstreamError(
        "model_error",
        _short(f"the headers of the response from {host} are too large"),
        retryable=False,
        advice=(
            "a line or header may be at most 64 KiB long, and all headers together 256 KiB; check"
            " what the endpoint, or a proxy in front of it, adds to its responses"
        ),
    )


def unreadable_event(host: str) -> UpstreamError:
    """Build the error of a stream with an event beyond the gate's limit, such as a line without an
    end."""
    return UpstreamError(
        "model_error",
        f"the stream from {host} has an event that is too large; at most"
        f" {MAX_EVENT_BYTES // 1024**2} MiB are allowed",
        retryable=False,
        advice=(
            "check model.upstreamURL, and whether the endpoint, or a proxy in front of it, ends"
            " each event with an empty line"
        ),
    )


def cut(host: str) -> UpstreamError:
    """Build the error of a stream that ended before its last event."""
    return UpstreamError("model_error", f"the stream from {host} ended before response.completed")


def foreign(host: str) -> UpstreamError:
    """Build the error of a stream that ended without one event of the Responses API."""
    return UpstreamError(
        "model_error",
        f"the stream from {host} has events without a type, so it is not from the Responses API",
        retryable=False,
        advice=(
            "the endpoint must support the Responses API, not only chat completions; check"
            " model.upstreamURL, or use a later version of the endpoint's software"
        ),
    )


def incomplete(reason: str) -> UpstreamError:
    """Build the error of a `response.incomplete` that no budget of the run caused: the model's own
    limit, or its provider's filter."""
    message = _short(f"the model's response is incomplete: {reason}")
    policy = _of_class("policy")
    if reason.lower() in policy.codes:
        return UpstreamError("policy", message, retryable=False, advice=policy.advice)
    return UpstreamError("model_error", message)


def _short(text: str) -> str:
    return text[:LONGEST_MESSAGE]
