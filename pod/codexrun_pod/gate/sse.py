"""Reads a stream of server-sent events as it passes: its last event, whether there was output, and
calls of tools. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

END_OF_LINE = re.compile(rb"\r\n|\n|\r")
NO_OUTPUT_YET = ("response.created", "response.in_progress", "response.queued")


@dataclass(frozen=True)
class LastEvent:
    """The event that ends a response. usage: its `usage`, unread; reason: of incomplete; error: of
    failed."""

    kind: Literal["completed", "incomplete", "failed"]
    usage: Any = None
    reason: str = "unknown"
    error: Mapping[str, Any] | None = None


class EventStream:
    """Fed with the stream's bytes in chunks of any size; gives them back event by event, up to one
    that is forbidden."""

    def __init__(
        self,
        forbidden: Callable[[Mapping[str, Any]], str | None] = lambda _: None,
        clean: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        """forbidden: the name of the tool that an event calls although it may not; clean: takes out
        of a whole event what must not pass."""
        self.last: LastEvent | None = None
        self.output_seen = False
        # The forbidden tool; nothing was given back from its event on.
        self.called: str | None = None
        self._forbidden = forbidden
        self._clean = clean
        self._rest = b""  # of a line
        self._held = b""  # lines of an event that is not whole yet
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """Return what may be passed on. Sets `last` at the first event that ends a response,
        `output_seen` at the first output."""
        text = self._rest + chunk
        passed: list[bytes] = []
        start = 0
        for end in END_OF_LINE.finditer(text):
            if end.group() == b"\r" and end.end() == len(text):
                break  # it may be half of a line's end
            line = text[start : end.start()]
            self._held += text[start : end.end()]
            start = end.end()
            if line.startswith(b"data:"):
                self._data.append(line[5:].lstrip(b" "))
            elif not line:
                data = b"\n".join(self._data)
                self._data = []
                if data:
                    self._event(self._clean(data))
                if self.called is None:
                    passed.append(self._clean(self._held))
                self._held = b""
        self._rest = text[start:]
        return b"".join(passed)

    def _event(self, data: bytes) -> None:
        event = _parsed(data)
        if self.called is None:
            self.called = self._forbidden(event)
        if self.last is not None:
            return
        self.last = _last(event)
        if self.last is None and event.get("type") not in NO_OUTPUT_YET:
            self.output_seen = True


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(data))
    except (ValueError, RecursionError):
        return {}


def _last(event: Mapping[str, Any]) -> LastEvent | None:
    kind = event.get("type")
    response = _mapping(event.get("response"))
    usage = response.get("usage")
    if kind == "response.completed":
        return LastEvent("completed", usage)
    if kind == "response.incomplete":
        return LastEvent("incomplete", usage, reason=_reason(response))
    if kind == "response.failed":
        return LastEvent("failed", usage, error=_mapping(response.get("error")))
    if kind == "error":
        return LastEvent("failed", usage, error=_mapping(event.get("error")) or event)
    return None


def _reason(response: Mapping[str, Any]) -> str:
    return str(_mapping(response.get("incomplete_details")).get("reason", "unknown"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
