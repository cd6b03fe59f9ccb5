"""One line of the log, as people read it. Pure."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from codexrun_api.console.view import safe_html
from codexrun_api.console.view.transcript import unwrapped
from codexrun_core.schemas.nesting import MAX_SHOWN_LEVELS, is_deeper

LONGEST = 4000  # characters of one line; the raw log has the rest


@dataclass(frozen=True)
class Line:
    number: int
    at: datetime | None
    src: str  # runner, codex, stderr; empty for what is none of ours
    label: str
    text: Markup
    bad: bool
    warn: bool
    cut: int  # bytes that are not shown

    @property
    def clock(self) -> str:
        return self.at.strftime("%H:%M:%S") if self.at else ""


def line(number: int, raw: bytes, whole: int, *, json_form: bool = False) -> Line:
    """`whole`: the line's length, if `raw` is only its beginning."""
    said = None if whole > len(raw) else _parsed(raw)
    if said is None or json_form:
        text = raw.decode("utf-8", "replace")
        src = str(said.get("src", "")) if said else ""
        label, bad = "", False
    else:
        src = str(said.get("src", ""))[:16]
        label, text, bad = _gist(said)
    level = said.get("level") if said else None
    return Line(
        number=number,
        at=_time(said.get("ts")) if said else None,
        src=src,
        label=label,
        text=safe_html.ansi(text[:LONGEST]),
        bad=bad or level in ("error", "critical"),
        warn=level == "warning",
        cut=whole - len(raw) + max(0, len(text) - LONGEST),
    )


def _gist(said: dict[str, Any]) -> tuple[str, str, bool]:
    """Label, text, and whether it is bad news."""
    event = said.get("event")
    if isinstance(event, dict):
        return _event(event)
    text = str(said.get("text", ""))
    if said.get("src") != "runner":
        return "", text, said.get("src") == "stderr" and "error" in text.lower()
    kept = ("reason", "message", "exit_code", "duration_ms", "cost_tokens")
    more = [f"{key}={said[key]}" for key in kept if said.get(key) not in (None, "")]
    return str(said.get("phase", "")), " ".join([text, *more]), said.get("status") == "failed"


def _event(event: dict[str, Any]) -> tuple[str, str, bool]:
    kind, item = str(event.get("type", "event")), event.get("item")
    if not isinstance(item, dict):
        error = event.get("error")
        message = event.get("message") or (
            error.get("message") if isinstance(error, dict) else None
        )
        if message is not None:
            return kind, str(message), True
        rest = {key: value for key, value in event.items() if key != "type"}
        return kind, json.dumps(rest, ensure_ascii=False) if rest else "", False
    label = f"{item.get('type', 'item')} {kind.removeprefix('item.')}"
    bad = item.get("status") in ("failed", "declined")
    match item.get("type"):
        case "agent_message" | "reasoning":
            return label, str(item.get("text", "")), False
        case "error":
            return label, str(item.get("message", "")), True
        case "command_execution":
            code = item.get("exit_code")
            output = str(item.get("aggregated_output") or "")
            said = f"$ {unwrapped(str(item.get('command', '')))}" + (
                "" if code is None else f"  (exit {code})"
            )
            return label, f"{said}\n{output}".rstrip("\n"), bad
        case _:
            rest = {key: value for key, value in item.items() if key not in ("id", "type")}
            return label, json.dumps(rest, ensure_ascii=False), bad


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and not is_deeper(said, MAX_SHOWN_LEVELS) else None


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
