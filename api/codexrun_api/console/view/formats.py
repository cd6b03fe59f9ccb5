"""How numbers, times and foreign text are shown. Pure."""

import re
from datetime import UTC, datetime

from codexrun_core.prices import money as prices
from codexrun_core.times import short_duration

# Direction overrides, marks without width and control characters can make text look like other
# text.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)


_WORD = re.compile(r"[a-z]+(?=[ ,;]|$)")
# What REST advises its callers, who have no list to click on.
_REST_ADVICE = re.compile(
    r"; (?:GET /\S+ lists [a-z ]+|/openapi\.json lists the paths and their methods"
    r"|`errors` says where)$"
)


def for_visitors(detail: str) -> str:
    """Return a problem's detail as a sentence of a page."""
    text = capitalized(_REST_ADVICE.sub("", detail))
    return text if text.endswith((".", "?", "!")) else f"{text}."


def capitalized(text: str) -> str:
    """Return a sentence with a capital letter, unless it begins with a field such as
    `spec.inputs:`."""
    return f"{text[:1].upper()}{text[1:]}" if _WORD.match(text) else text


def visible(text: str) -> str:
    """Return foreign text with everything in it that one would not see written out."""
    return _HIDDEN.sub(lambda match: f"\u27eaU+{ord(match[0]):04X}\u27eb", text)


def duration(seconds: float | None) -> str:
    """Format seconds as `12s`, `2m14s`, `1h2m`, `3d4h`; a dash for what is not known."""
    return "–" if seconds is None else short_duration(seconds)


def about(seconds: float) -> str:
    """Format an estimate in seconds as `about 4 min`."""
    if seconds < 45:
        return "less than a minute"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {round(seconds / 3600)} h"


def ago(then: datetime | None, now: datetime) -> str:
    """Format a time as `2 min ago`, or as its day if it is older than a month."""
    if then is None:
        return "–"
    seconds = (now - then).total_seconds()
    if seconds < 0:
        return "in a moment" if seconds > -60 else f"in {round(-seconds / 60)} min"
    for limit, unit, name in (
        (60, 1, "s"),
        (3600, 60, "min"),
        (86_400, 3600, "h"),
        (30 * 86_400, 86_400, "d"),
    ):
        if seconds < limit:
            return f"{int(seconds // unit)} {name} ago"
    return then.astimezone(UTC).strftime("%Y-%m-%d")


def utc(moment: datetime | None) -> str:
    """Format a time to the second, with its zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "–"


def iso(moment: datetime | None) -> str:
    """Format a time for `<time datetime>`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def count(number: int | None) -> str:
    """Format a number with separators for thousands."""
    return "–" if number is None else f"{number:,}"


def size(number: int) -> str:
    """Format bytes for people."""
    if number < 1000:
        return f"{number} B"
    amount = float(number)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 1000 or unit == "GB":
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"
    return f"{number} B"


def money(micro_usd: int | None) -> str:
    """Format millionths of a US dollar; a dash for an unknown price."""
    return "–" if micro_usd is None else prices.money(micro_usd)


def dollars(cents: int) -> str:
    """Format US cents as `$1.00`: for limits, which are whole cents."""
    return prices.cents(cents)


def percent(part: float | None) -> str:
    """Format a ratio; never as 100% what is not all."""
    if part is None:
        return "–"
    whole = round(part * 100)
    if whole == 100 and part < 1:
        whole = 99
    return f"{whole}%"


def plural(number: int, one: str, many: str = "") -> str:
    """Format a count with its noun: `1 run`, `2 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
