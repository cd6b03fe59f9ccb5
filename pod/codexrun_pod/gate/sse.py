"""Reads a stream of server-sent events as it passes: its last event, how much the model has said,
and calls of tools. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

END_OF_LINE = re.compile(rb"\r\n?|\n")
# The longest event has the whole answer, at most some megabytes. While it is read it takes ten
# times its bytes.
MAX_EVENT_BYTES = 8 * 1024 * 1024
SEARCH_CALL = "web_search_call"
# Events that tell the state of a response and nothing else.
STATES = frozenset({"response.created", "response.queued", "response.in_progress"})
HEARTBEATS = frozenset({"response.keep_alive", "response.keepalive", "response.ping"})
# Where the text of an item is, besides the `text` of the parts of its content and summary.
TEXT_KEYS = ("arguments", "input")


@dataclass(frozen=True)
class LastEvent:
    """The event that ends a response. usage: its `usage`, unread; reason: of incomplete; error: the
    event that says that it failed; tier: the service tier that the response was served at."""

    kind: Literal["completed", "incomplete", "failed"]
    usage: Any = None
    reason: str = "unknown"
    error: Mapping[str, Any] | None = None
    tier: str | None = None


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
        self.began = False  # there was an event that was no error
        self._has_responses = False  # events of the Responses API came
        self._has_others = False  # events without a type came
        self.progress = 0  # events that were more than a sign of life
        self.searches = 0  # calls of the provider's web search that have ended
        # The forbidden tool; nothing was given back from its event on.
        self.called: str | None = None
        self._forbidden = forbidden
        self._clean = clean
        self._states: set[str] = set()  # those of the response that have been told
        self._held = bytearray()  # of an event that is not whole yet
        self._line_start = 0  # in _held, of the line that has not ended
        self._end = b""  # a last \r, which may be half of a line's end
        self._data: list[bytes] = []
        self._name = ""  # of the event, from a line of its own
        self._item_bytes = 0  # of text, of items that have ended
        self._delta_bytes = 0  # of text, since then

    @property
    def text_bytes(self) -> int:
        """Return the bytes of text that have come, without the frame of the events."""
        return self._item_bytes + self._delta_bytes

    @property
    def is_foreign(self) -> bool:
        """Return whether the events are of another API, such as chat completions: none is of the
        Responses API, which Codex reads alone."""
        return self._has_others and not self._has_responses

    @property
    def unread(self) -> bytes:
        """Return the bytes that no event has ended, as they came: not cleaned."""
        return bytes(self._held + self._end)

    @property
    def is_too_large(self) -> bool:
        """Return whether an event, or one line of it, is longer than the gate reads."""
        return len(self._held) > MAX_EVENT_BYTES

    def feed(self, chunk: bytes) -> bytes:
        """Return what may be passed on. Sets `last` at the first event that ends a response, and
        `began` at the first that is no error; `progress` counts on."""
        text = self._end + chunk
        self._end = b""
        passed: list[bytes] = []
        start = 0
        for end in END_OF_LINE.finditer(text):
            if end.group() == b"\r" and end.end() == len(text):
                self._end = b"\r"
                break
            self._held += text[start : end.start()]
            line = bytes(self._held[self._line_start :])
            self._held += end.group()
            self._line_start = len(self._held)
            start = end.end()
            if line.startswith(b"data:"):
                self._data.append(line[5:].lstrip(b" "))
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("utf-8", "replace")
            elif not line:
                data = b"\n".join(self._data)
                if data:
                    self._event(self._clean(data))
                self._data = []
                self._name = ""
                if self.called is None:
                    passed.append(self._clean(bytes(self._held)))
                self._held.clear()
                self._line_start = 0
        self._held += text[start : len(text) - len(self._end)]
        return b"".join(passed)

    def _event(self, data: bytes) -> None:
        event = _parsed(data)
        self._has_others |= bool(event) and "type" not in event
        self._has_responses |= str(event.get("type")).startswith("response.")
        if self.called is None:
            self.called = self._forbidden(event)
        if self.last is not None:
            return
        self.last = _last(event, self._name)
        if self.last is not None or self._is_progress(event):
            self.progress += 1
        if self.last is None or self.last.kind != "failed":
            self.began = True
        self._count(event)

    def _is_progress(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event says more than that the connection is alive. For that there are
        events too: `keepalive` (https://github.com/openai/openai-node/issues/1964),
        `response.keep_alive` (https://github.com/OpenRouterTeam/python-sdk/issues/266), `ping`, an
        event without JSON, or the response's state once more
        (https://github.com/diegosouzapw/OmniRoute/issues/14330)."""
        kind = event.get("type")
        if not isinstance(kind, str) or not kind.startswith("response."):
            return False
        if kind in STATES:
            is_new = kind not in self._states
            self._states.add(kind)
            return is_new
        return kind not in HEARTBEATS and event.get("delta") != ""

    def _count(self, event: Mapping[str, Any]) -> None:
        if isinstance(delta := event.get("delta"), str):
            self._delta_bytes += _size(delta)
        if event.get("type") == "response.output_item.done":
            item = _mapping(event.get("item"))
            # Some servers send no deltas, and some items have none.
            self._item_bytes += max(self._delta_bytes, _item_bytes(item))
            self._delta_bytes = 0
            self.searches += item.get("type") == SEARCH_CALL
        output = _mappings(_mapping(event.get("response")).get("output"))
        in_output = sum(item.get("type") == SEARCH_CALL for item in output)
        self.searches = max(self.searches, in_output)


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(data))
    except (ValueError, RecursionError):
        return {}


def _last(event: Mapping[str, Any], name: str) -> LastEvent | None:
    """Return the last event, if it is one. name: of the event's own line."""
    kind = event.get("type")
    response = _mapping(event.get("response"))
    usage = response.get("usage")
    named = response.get("service_tier")
    tier = named if isinstance(named, str) else None
    if kind == "response.completed":
        return LastEvent("completed", usage, tier=tier)
    if kind == "response.incomplete":
        return LastEvent("incomplete", usage, reason=_reason(response), tier=tier)
    if kind == "response.failed":
        return LastEvent("failed", usage, error=event, tier=tier)
    if "error" in (kind, name) or kind == "response.error" or _is_bare_error(event):
        return LastEvent("failed", usage, error=event)
    return None


def _is_bare_error(event: Mapping[str, Any]) -> bool:
    """Return whether an event that names no type is an error, as compatible servers send in the
    middle of a stream: https://github.com/block/goose/pull/8031"""
    if event.get("object") == "error":
        return True
    return "type" not in event and bool(event.get("error"))


def _item_bytes(item: Mapping[str, Any]) -> int:
    """Return the bytes of text in an item of the output. Reasoning that is not shown comes
    encrypted, in base64."""
    parts = [*_mappings(item.get("content")), *_mappings(item.get("summary"))]
    texts = [*(item.get(key) for key in TEXT_KEYS), *(part.get("text") for part in parts)]
    return sum(map(_size, texts)) + _size(item.get("encrypted_content")) * 3 // 4


def _size(text: Any) -> int:
    return len(text.encode("utf-8", "backslashreplace")) if isinstance(text, str) else 0


def _reason(response: Mapping[str, Any]) -> str:
    return str(_mapping(response.get("incomplete_details")).get("reason", "unknown"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [part for part in value if isinstance(part, Mapping)] if isinstance(value, list) else []
