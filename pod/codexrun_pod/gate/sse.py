"""Watches a stream of server-sent events go by, for its last event and whether there was output. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

END_OF_LINE = re.compile(rb"\r\n|\n|\r")
LAST_EVENTS = (b"response.completed", b"response.incomplete", b"response.failed", b"error")
NO_OUTPUT_YET = (b"response.created", b"response.in_progress", b"response.queued")


@dataclass(frozen=True)
class Last:
    """The event that ends a response. usage: its `usage`, unread; reason: of incomplete; error: of failed."""

    kind: Literal["completed", "incomplete", "failed"]
    usage: Any = None
    reason: str = "unknown"
    error: Mapping[str, Any] | None = None


class Watch:
    """Fed with the stream's bytes in chunks of any size."""

    def __init__(self) -> None:
        """Nothing seen."""
        self.last: Last | None = None
        self.output_seen = False
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Sets `last` at the first event that ends a response, and `output_seen` at the first that carries output."""
        text = self._rest + chunk
        # A carriage return at the very end may be half of a line's end.
        held = b"\r" if text.endswith(b"\r") else b""
        *lines, rest = END_OF_LINE.split(text[: len(text) - len(held)])
        self._rest = rest + held
        for line in lines:
            self._line(line)

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].lstrip(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            self._event(data)

    def _event(self, data: bytes) -> None:
        if self.last is not None:
            return
        # Most events are deltas; only those that may be a last one are worth parsing.
        if any(kind in data for kind in LAST_EVENTS) and (last := _last(data)) is not None:
            self.last = last
        elif not any(kind in data for kind in NO_OUTPUT_YET):
            self.output_seen = True


def _last(data: bytes) -> Last | None:
    try:
        event = json.loads(data)
        kind = event["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    response = event.get("response") if isinstance(event.get("response"), Mapping) else {}
    usage = response.get("usage")
    if kind == "response.completed":
        return Last("completed", usage)
    if kind == "response.incomplete":
        return Last("incomplete", usage, reason=_reason(response))
    if kind == "response.failed":
        return Last("failed", usage, error=_mapping(response.get("error")))
    if kind == "error":
        return Last("failed", usage, error=_mapping(event.get("error")) or event)
    return None


def _reason(response: Mapping[str, Any]) -> str:
    return str(_mapping(response.get("incomplete_details")).get("reason", "unknown"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
