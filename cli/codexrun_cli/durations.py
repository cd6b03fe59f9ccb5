"""Times as people write and read them. Pure: the present is passed in."""

import re
from datetime import datetime

_PART = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DURATION_FORM = "use, for example, 90s, 10m, 12h or 7d"


def seconds(text: str) -> float:
    """Read a duration: `90s`, `10m`, `1h30m`, `7d`, or a plain number of seconds.

    Raises:
        ValueError: none of these.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'"{text}" is not a valid duration; {DURATION_FORM}')
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def parsed(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def age(since: str | None, now: datetime) -> str:
    """Return how long ago, as kubectl shows it; nothing where it is not known."""
    when = parsed(since)
    if when is None:
        return ""
    passed = (now - when).total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if passed >= size * (2 if unit == "d" else 1):
            return f"{int(passed // size)}{unit}"
    return f"{max(0, int(passed))}s"


def lasted(run: dict[str, object], now: datetime) -> float | None:
    """Return seconds from the agent's start to its end, or until now."""
    start = parsed(run.get("started_at"))  # type: ignore[arg-type]
    end = parsed(run.get("finished_at"))  # type: ignore[arg-type]
    if start is None:
        return None
    return max(0.0, ((end or now) - start).total_seconds())
