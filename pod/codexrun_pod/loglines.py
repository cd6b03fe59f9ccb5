"""One line of log: a JSON object `{ts, src, ...}`. Stdlib only, Python 3.9 compatible."""

from __future__ import annotations

import json
import time
from typing import Any


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 in UTC with milliseconds; `seconds` since the epoch, default now."""
    now = time.time() if seconds is None else seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"


CODEXRUN_SOURCES = ("runner", "gate", "clone")


def line(src: str, **fields: Any) -> bytes:
    """The line with its newline; fields of None are left out. Our own lines have a level, `info`
    unless said otherwise."""
    present = {key: value for key, value in fields.items() if value is not None}
    level = {"level": present.pop("level", "info")} if src in CODEXRUN_SOURCES else {}
    return encode({"ts": timestamp(), "src": src, **level, **present})


def encode(value: Any) -> bytes:
    """Compact JSON and a newline; a lone surrogate becomes its escape, as JSON writes it."""
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode(
        "utf-8", "backslashreplace"
    )
