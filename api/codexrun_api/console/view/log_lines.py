"""One line of the log, as people read it. Pure."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from codexrun_api.console.view import safe_html
from codexrun_core.codex import events
from codexrun_core.codex.events import Event, Item
from codexrun_core.schemas.nesting import MAX_SHOWN_LEVELS, is_deeper

Json = dict[str, Any]

MAX_LINE_CHARACTERS = 4000  # at first; the whole line is asked for by itself
MAX_WHOLE_LINE_BYTES = 1024 * 1024  # the raw log has the rest
MAX_SRC_CHARACTERS = 16
_QUOTE, _BACKSLASH = b'"\\'
_CLOSING = {b"{"[0]: b"}"[0], b"["[0]: b"]"[0]}
# an escape without its end, or the first half of a character of two
_CUT_ESCAPE = re.compile(rb"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}))?")
_RUNNER_FIELDS = ("reason", "message", "commit", "exit_code", "duration_ms", "cost_tokens")


@dataclass(frozen=True)
class Line:
    """A line for people. cut: how many bytes of it are not shown."""

    number: int
    at: datetime | None
    src: str  # runner, codex, stderr; empty for a line of another form
    label: str
    text: Markup
    bad: bool
    warn: bool
    cut: int

    @property
    def clock(self) -> str:
        return self.at.strftime("%H:%M:%S") if self.at else ""


def read_line(
    number: int,
    raw: bytes,
    size: int,
    *,
    json_form: bool = False,
    max_characters: int = MAX_LINE_CHARACTERS,
) -> Line:
    """Return a line of the log for people. size: of the whole line, if `raw` is its beginning."""
    entry = _parse(_closed(raw) if size > len(raw) else raw)
    if entry is None or json_form:
        text = raw.decode("utf-8", "replace")
        src = str(entry.get("src", "")) if entry else ""
        label = ""
        bad = False
    else:
        src = str(entry.get("src", ""))[:MAX_SRC_CHARACTERS]
        label, text, bad = _summary(entry)
    level = entry.get("level") if entry else None
    return Line(
        number=number,
        at=_time(entry.get("ts")) if entry else None,
        src=src,
        label=label,
        text=safe_html.ansi(text[:max_characters]),
        bad=bad or level in ("error", "critical"),
        warn=level == "warning",
        cut=size - len(raw) + max(0, len(text) - max_characters),
    )


def _summary(entry: Json) -> tuple[str, str, bool]:
    """Return label, text, and whether it is bad news."""
    event = entry.get("event")
    if isinstance(event, dict):
        return _event(Event(event))
    text = str(entry.get("text", ""))
    if entry.get("src") not in ("runner", "clone"):
        return "", text, entry.get("src") == "stderr" and "error" in text.lower()
    details = [f"{key}={entry[key]}" for key in _RUNNER_FIELDS if entry.get(key) not in (None, "")]
    return str(entry.get("phase", "")), " ".join([text, *details]), entry.get("status") == "failed"


def _event(event: Event) -> tuple[str, str, bool]:
    if event.item:
        return _item(event, event.item)
    label = event.type or "event"
    if event.message or event.type in (events.ERROR, events.TURN_FAILED):
        return label, event.message, True
    others = {key: value for key, value in event.raw.items() if key != "type"}
    return label, json.dumps(others, ensure_ascii=False) if others else "", False


def _item(event: Event, item: Item) -> tuple[str, str, bool]:
    label = f"{item.type or 'item'} {event.step or event.type}"
    match item.type:
        case events.AGENT_MESSAGE | events.REASONING:
            return label, item.display("text"), False
        case events.ERROR:
            return label, item.display("message"), True
        case events.COMMAND_EXECUTION:
            code = "" if item.exit_code is None else f"  (exit {item.exit_code})"
            return label, f"$ {item.command}{code}\n{item.output}".rstrip("\n"), item.failed
        case _:
            others = {key: value for key, value in item.raw.items() if key not in ("id", "type")}
            return label, json.dumps(others, ensure_ascii=False), item.failed


def _closed(raw: bytes) -> bytes:
    """Return the beginning of a JSON text with its open string, lists and objects closed, so that
    what it has can be read: of a command's output that is most of it. What cannot be closed is
    returned as no JSON at all."""
    closing = []
    in_string = escaped = False
    escapes = (len(raw), len(raw))  # where the last one begins, and the one before
    for at, byte in enumerate(raw):
        if in_string:
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
                escapes = (at, escapes[0])
            elif byte == _QUOTE:
                in_string = False
        elif byte == _QUOTE:
            in_string = True
        elif byte in _CLOSING:
            closing.append(_CLOSING[byte])
        elif byte in b"]}" and closing:
            closing.pop()
    if not in_string:
        return b""
    for escape in escapes:
        if _CUT_ESCAPE.fullmatch(raw, escape):
            raw = raw[:escape]
    text = raw.decode("utf-8", "ignore").encode()  # a character may have been cut in two
    return text + b'"' + bytes(reversed(closing))


def _parse(raw: bytes) -> Json | None:
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and not is_deeper(entry, MAX_SHOWN_LEVELS) else None


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
