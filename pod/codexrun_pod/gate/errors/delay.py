"""When does a provider want to be asked again? Read from headers, fields and words. Pure; the clock
is an argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

MAX_SECONDS = 10 * 366 * 86400.0  # a longer time is not believed
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# The repetitions have bounds, since the text is anybody's.
PART = (
    r"\d{1,9}(?:\.\d{1,9})?\s*(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h"
    r"|days?|d)?(?![a-z])"
)
AGAIN = r"(?:try again|retry|retrying|available|resets?)"
# "Please try again in 6m0s", "retry after 9 seconds", "Please retry in 30.5s.", "wait 20 s".
WORDS = re.compile(
    rf"(?:{AGAIN}\s+(?:in|after)|wait(?:\s+for)?)\s+({PART}(?:\s*{PART}){{0,3}})", re.I
)
WORDS_AT = re.compile(
    rf"{AGAIN}\s+(?:at|after)\s+(\d{{4}}-\d\d-\d\d[T ][\d:.]{{5,16}}(?:Z|[+-]\d\d:?\d\d)?)", re.I
)
LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.I)
# In their order, as OpenAI has them: https://platform.openai.com/docs/guides/rate-limits
WINDOWS = ("requests", "tokens", "input-tokens", "output-tokens", "project-tokens")


def seconds(
    headers: Mapping[str, str], values: Mapping[str, Any], message: str, now: datetime
) -> float | None:
    """Return the seconds that an error names, None if it names none. The most exact source is the
    first; a header beats a field, and a field the words.

    values: of the error's body; message: its words.
    """
    for source in (_lowered(headers), _lowered(values.get("headers"))):
        for read in HEADERS:
            if (wait := _sane(read(source, now))) is not None:
                return wait
    for key in ("resets_in_seconds", "retry_after", "retry_after_seconds", "retryDelay"):
        if (wait := _sane(_length(values.get(key)))) is not None:
            return wait
    if (wait := _sane(_until(values.get("resets_at"), now))) is not None:
        return wait
    if match := WORDS_AT.search(message):
        return _sane(_at(match.group(1), now))
    if match := WORDS.search(message):
        return _sane(_length(match.group(1)))
    return None


def until(wait: float, now: datetime) -> str:
    """Return the time in `wait` seconds, in RFC 3339, to the second."""
    text = (now + timedelta(seconds=wait)).astimezone(UTC).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")


def _retry_after_ms(headers: Mapping[str, str], _: datetime) -> float | None:
    """https://learn.microsoft.com/azure/ai-foundry/openai/how-to/provisioned-get-started"""
    number = _number(headers.get("retry-after-ms"))
    return None if number is None else number / 1000


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after")
    if text is None:
        return None
    if (number := _number(text)) is not None:
        return number
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return _from_now(then, now)


def _empty_window(headers: Mapping[str, str], _: datetime) -> float | None:
    """The reset of the limit of which nothing remains."""
    waits = [
        _length(headers.get(f"x-ratelimit-reset-{window}"))
        for window in WINDOWS
        if _number(headers.get(f"x-ratelimit-remaining-{window}")) == 0
    ]
    named = [wait for wait in waits if wait is not None]
    return max(named) if named else None


def _reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """OpenRouter's, in milliseconds since 1970: https://openrouter.ai/docs/api-reference/limits
    Others have it on every answer: where something remains, it is not what is waited for."""
    if (_number(headers.get("x-ratelimit-remaining")) or 0.0) > 0:
        return None
    return _until(_number(headers.get("x-ratelimit-reset")), now)


HEADERS: tuple[Callable[[Mapping[str, str], datetime], float | None], ...] = (
    _retry_after_ms,
    _retry_after,
    _empty_window,
    _reset,
)


def _lowered(headers: Any) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _until(value: Any, now: datetime) -> float | None:
    """Read a time since 1970, in seconds or milliseconds; 0.0 for one that has passed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 1e9 <= value < 1e15:  # not finite, or larger than any float: no time
        return None
    return max(0.0, (value / 1000 if value > 1e11 else value) - now.timestamp())


def _at(text: str, now: datetime) -> float | None:
    try:
        return _from_now(datetime.fromisoformat(text), now)
    except ValueError:
        return None


def _from_now(then: datetime, now: datetime) -> float:
    whole = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (whole - now).total_seconds())


def _length(value: Any) -> float | None:
    """Read a length of time: a number of seconds, or text such as 1m30s, 20ms, 9 seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value < MAX_SECONDS else None  # an int may be beyond all floats
    if not isinstance(value, str):
        return None
    total = None
    for number, unit in LENGTH.findall(value):
        total = (total or 0.0) + float(number) * UNITS[_unit(unit.lower())]
    return total


def _unit(name: str) -> str:
    if name.startswith(("ms", "mil")):
        return "ms"
    return name[:1] if name[:1] in UNITS else "s"


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _sane(wait: float | None) -> float | None:
    return wait if wait is not None and 0 <= wait < MAX_SECONDS else None
