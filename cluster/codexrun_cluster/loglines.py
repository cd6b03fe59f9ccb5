"""A line of a run's log for people: one short line an event, nothing for what says little."""

import json
from typing import Any

MAX_WIDTH = 160


def readable(line: str) -> str | None:
    """Return a line of the agent's log in words; None for what is not worth a line. Text that is no
    JSON stays as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return _cut(line)
    if not isinstance(entry, dict):
        return _cut(line)
    event = entry.get("event")
    if isinstance(event, dict):
        return _event(event)
    text = str(entry.get("text", ""))
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    return _cut(f"{entry.get('src', '?')}: {text}{reason}") if text else None


def _event(event: dict[str, Any]) -> str | None:
    kind = str(event.get("type", ""))
    if kind.startswith("item."):
        item = event.get("item")
        return _item(kind, item) if isinstance(item, dict) else None
    if kind == "turn.completed":
        usage = event.get("usage") or {}
        return (
            f"codex: turn completed, {usage.get('input_tokens', '?')} tokens in,"
            f" {usage.get('output_tokens', '?')} out"
        )
    if kind in ("turn.failed", "error"):
        error = event.get("error")
        message = error.get("message") if isinstance(error, dict) else event.get("message")
        return _cut(f"codex: {kind}: {message}")
    return f"codex: {kind.replace('.', ' ')}" if kind else None


def _item(kind: str, item: dict[str, Any]) -> str | None:
    ended = kind == "item.completed"
    item_type = item.get("type")
    if item_type == "command_execution":
        if ended:
            output = str(item.get("aggregated_output") or "").strip().replace("\n", " | ")
            return _cut(
                f"codex: command ended with {item.get('exit_code')}"
                + (f": {output}" if output else "")
            )
        return _cut(f"codex: $ {item.get('command')}") if kind == "item.started" else None
    if not ended:
        return None
    if item_type == "agent_message":
        return _cut(f"codex: says: {item.get('text')}")
    if item_type == "file_change":
        paths = ", ".join(str(c.get("path")) for c in item.get("changes") or [])
        return _cut(f"codex: changed {paths}")
    return _cut(f"codex: {item_type}: {item.get('text') or item.get('message') or ''}".rstrip(": "))


def _cut(text: str) -> str:
    line = text.rstrip("\n").replace("\n", " ")
    return line if len(line) <= MAX_WIDTH else line[: MAX_WIDTH - 3] + "..."
