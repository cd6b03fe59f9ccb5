"""One line of log: a JSON object `{ts, src, ...}`. Stdlib only, Python 3.9 compatible."""

from __future__ import annotations

import json
import time
from typing import Any


def timestamp(seconds: float | None = None) -> str:
    """Format a time as RFC 3339 in UTC with milliseconds; `seconds` since the epoch, default
    now."""
    now = time.time() if seconds is None else seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"


CODEXRUN_SOURCES = ("runner", "gate", "clone")


def line(src: str, **fields: Any) -> bytes:
    """Build a line with its newline; fields of None are left out. codexrun's own lines have a
    level, `info` by default."""
    present = {key: value for key, value in fields.items() if value is not None}
    level = {"level": present.pop("level", "info")} if src in CODEXRUN_SOURCES else {}
    return encode({"ts": timestamp(), "src": src, **level, **present})


def encode(value: Any) -> bytes:
    """Encode as compact JSON and a newline; a lone surrogate becomes its escape, as JSON writes
    it."""
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode(
        "utf-8", "backslashreplace"
    )
