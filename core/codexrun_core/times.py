"""The clock, and times as callers write them: the same at every door."""

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# beyond them arithmetic with time zones overflows
FIRST_YEAR = 1900
LAST_YEAR = 9000


def now() -> datetime:
    """Return the present, cut to the second as Kubernetes writes it."""
    return datetime.now(UTC).replace(microsecond=0)


def moment(text: str, present: datetime | None = None) -> datetime:
    """Read `7d` or `12h` (ago), or RFC 3339; without an offset it is UTC.

    `present`: what "ago" counts from; the clock if absent.

    Raises:
        ValueError: neither, or far out of range; the message says what to write.
    """
    try:
        if ago := _AGO.fullmatch(text):
            seconds = int(ago[1]) * _UNIT_SECONDS[ago[2]]
            return (present or datetime.now(UTC)) - timedelta(seconds=seconds)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is not a valid time; use, for example, 7d, 12h or 2026-01-31T12:00:00Z'
        ) from None
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise ValueError(f'"{text}" is out of range; use a year from {FIRST_YEAR} to {LAST_YEAR}')
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def short_duration(seconds: float) -> str:
    """Return a duration such as `8s`, `3m12s`, `2h5m`, `3d4h`: two units at most, the rest is
    dropped."""
    total = max(0, round(seconds))
    days, hours = divmod(total // 3600, 24)
    minutes = total // 60 % 60
    if days:
        return _units((days, "d"), (hours, "h"))
    if hours:
        return _units((hours, "h"), (minutes, "m"))
    return _units((minutes, "m"), (total % 60, "s")) if minutes else f"{total}s"


def _units(large: tuple[int, str], small: tuple[int, str]) -> str:
    return "".join(f"{number}{unit}" for number, unit in (large, small) if number)
