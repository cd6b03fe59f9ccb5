"""Classify the model's errors: class of failure, and until when it holds. Pure; the clock is an
argument.

OpenAI's codes: https://platform.openai.com/docs/guides/error-codes/api-errors
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal

from codexrun_core.pod_contract import ReportKey
from codexrun_pod.termination import LONGEST_MESSAGE

Class = Literal["auth", "rate_limit", "quota", "model_error"]

QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "usage_not_included"})
RATE_CODES = frozenset({"rate_limit_exceeded", "usage_limit_reached", "slow_down"})
AUTH_CODES = frozenset({"invalid_api_key", "account_deactivated"})
TRY_AGAIN = re.compile(r"try again in ([0-9.]+)\s*(ms|s|m|h)?", re.I)
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class UpstreamError:
    """The last thing that went wrong upstream. status: HTTP's, None where there was none; reset_at:
    RFC 3339."""

    class_: Class
    message: str
    status: int | None = None
    reset_at: str | None = None

    @property
    def json(self) -> dict[str, Any]:
        """Return it as the termination message has it."""
        fields = {
            ReportKey.CLASS: self.class_,
            ReportKey.STATUS: self.status,
            ReportKey.MESSAGE: self.message,
            ReportKey.RESET_AT: self.reset_at,
        }
        return {key: value for key, value in fields.items() if value is not None}


def from_answer(
    status: int, headers: Mapping[str, str], body: str, now: datetime, cap: str | None = None
) -> UpstreamError:
    """Classify an HTTP answer other than 200. cap: of a request whose output the gate has capped,
    what to do if that is why the server refuses it; servers say so in many ways."""
    error = _error_object(body)
    codes = {error.get("code"), error.get("type")}
    if codes & QUOTA_CODES:
        class_: Class = "quota"
    elif status in (401, 403):
        class_ = "auth"
    elif status == 429:
        class_ = "rate_limit"
    else:
        class_ = "model_error"
    message = error.get("message") or body.strip() or "no message"
    reset = _reset_at(headers, error, now) if class_ in ("rate_limit", "quota") else None
    text = f"HTTP {status}: {message}"
    if status == HTTPStatus.BAD_REQUEST and cap is not None:
        text = f"{text[: LONGEST_MESSAGE - len(cap) - 2]}; {cap}"
    return UpstreamError(class_, _short(text), status, reset)


def from_event(error: Mapping[str, Any], now: datetime) -> UpstreamError:
    """Classify the `error` of a `response.failed`, or an `error` event."""
    error = _plain(error)
    codes = {error.get("code"), error.get("type")}
    class_: Class = "model_error"
    for class_codes, name in (
        (QUOTA_CODES, "quota"),
        (RATE_CODES, "rate_limit"),
        (AUTH_CODES, "auth"),
    ):
        if codes & class_codes:
            class_ = name  # type: ignore[assignment]  # the tuple above holds classes only
            break
    message = f"{error.get('code') or 'failed'}: {error.get('message') or 'no message'}"
    return UpstreamError(
        class_, _short(message), None, _reset_at({}, error, now) if class_ == "rate_limit" else None
    )


def unreachable(host: str, reason: str) -> UpstreamError:
    """Build the error of no answer at all: name resolution, connection, TLS."""
    return UpstreamError("model_error", _short(f"cannot reach the model at {host}: {reason}"))


def unreadable(host: str, coding: str) -> UpstreamError:
    """Build the error of an answer with a content coding that the gate cannot undo."""
    return UpstreamError(
        "model_error",
        _short(
            f"the answer of {host} has the Content-Encoding {coding}, which the gate cannot read"
            " and did not ask for; turn compression off at the endpoint, or at the proxy before it"
        ),
    )


def cut(host: str) -> UpstreamError:
    """Build the error of a stream that ended before its last event."""
    return UpstreamError("model_error", f"the stream from {host} ended before response.completed")


def incomplete(reason: str) -> UpstreamError:
    """Build the error of a `response.incomplete` that no budget of the run caused."""
    return UpstreamError("model_error", _short(f"the model's response is incomplete: {reason}"))


def _error_object(body: str) -> Mapping[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if isinstance(error, str):
        return {"message": error}
    return _plain(error) if isinstance(error, Mapping) else {}


def _plain(error: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in error.items() if isinstance(value, (str, int, float))}


def _reset_at(headers: Mapping[str, str], error: Mapping[str, Any], now: datetime) -> str | None:
    seconds = _seconds(headers.get("Retry-After"), now)
    if seconds is None and isinstance(error.get("resets_in_seconds"), (int, float)):
        seconds = float(error["resets_in_seconds"])
    if seconds is None and isinstance(error.get("resets_at"), (int, float)):
        seconds = error["resets_at"] - now.timestamp()
    if seconds is None and (match := TRY_AGAIN.search(str(error.get("message", "")))):
        seconds = _number(match.group(1), SECONDS[(match.group(2) or "s").lower()])
    if seconds is None or not 0 <= seconds < 10 * 366 * 86400:
        return None
    return (
        (now + timedelta(seconds=seconds))
        .astimezone(UTC)
        .isoformat(timespec="seconds")
        .replace("+00:00", "Z")
    )


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """Read `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    if (number := _number(retry_after, 1.0)) is not None:
        return number
    try:
        then = parsedate_to_datetime(retry_after)
        return max(
            0.0, (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp()
        )
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str, unit: float) -> float | None:
    try:
        return float(text) * unit
    except ValueError:
        return None


def _short(text: str) -> str:
    return text[:LONGEST_MESSAGE]
