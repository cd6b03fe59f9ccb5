"""A run's log in words: each line becomes a few lines for people, or none. Pure.

What is not known is shown as it is: a new kind of event must never vanish.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from codexrun_core.codex import events
from codexrun_core.codex.events import Event, Item, PlanStep, TurnUsage

Json = dict[str, Any]
Kind = Literal[
    "turn",
    "command",
    "good",
    "bad",
    "warn",
    "file",
    "say",
    "plan",
    "usage",
    "note",
    "output",
    "dim",
]

LEVELS = {"error": ("bad",), "warning": ("bad", "warn")}
MAX_OUTPUT_LINES = 10  # of a command; --raw has all
NO_MESSAGE = "no message"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)")


@dataclass(frozen=True)
class DisplayLine:
    """One line for people, of a kind that decides its colour."""

    kind: Kind
    text: str
    ts: str = ""

    def plain(self) -> str:
        """Return the line with its mark, without colour."""
        return MARKS.get(self.kind, "") + self.text


MARKS: dict[str, str] = {
    "command": "$ ",
    "file": "± ",
    "output": "  | ",
    "plan": "  ",
    "good": "  ",
    "bad": "  ",
    "usage": "  ",
    "dim": "  ",
}
ASCII_MARKS = {"file": "~ "}


class Reader:
    """Reads a log from its first line; what came before decides how the next one reads."""

    def __init__(self, max_output_lines: int = MAX_OUTPUT_LINES) -> None:
        self._max_output_lines = max_output_lines
        self.turns = 0
        self.last_command = ""  # for a status line
        self._reconnecting = False
        self._open_commands: set[str] = set()  # ids of their items

    def read(self, line: bytes) -> list[DisplayLine]:
        """Return a line of the log, without its end, in words."""
        text = line.decode("utf-8", "replace")
        try:
            entry = json.loads(text)
            lines = self._entry(entry) if isinstance(entry, dict) else None
        except (ValueError, RecursionError):  # an agent may print anything
            lines = None
        if lines is None:
            return [DisplayLine("note", clean(text))] if text.strip() else []
        ts = str(entry.get("ts", ""))
        return [
            DisplayLine(line.kind, clean(part), ts)
            for line in lines
            for part in line.text.split("\n")
        ]

    def _entry(self, entry: Json) -> list[DisplayLine]:
        event = entry.get("event")
        if isinstance(event, dict):
            return self._event(Event(event))
        text = str(entry.get("text", ""))
        if entry.get("src") in ("runner", "clone"):
            return _runner(text, entry)
        if entry.get("src") == "stderr":
            return [DisplayLine("dim", text)] if text.strip() else []
        return [DisplayLine("note", text or _compact(entry))]

    def _event(self, event: Event) -> list[DisplayLine]:
        was_reconnecting = self._reconnecting
        self._reconnecting = event.type == events.ERROR and events.is_reconnect(event.message)
        match event.type:
            case events.THREAD_STARTED:
                return [DisplayLine("dim", f"thread {event.thread_id}")]
            case events.TURN_STARTED:
                self.turns += 1
                return [DisplayLine("turn", f"turn {self.turns}")]
            case events.TURN_COMPLETED:
                return [DisplayLine("usage", _usage(event.usage))]
            case events.TURN_FAILED:
                return [DisplayLine("bad", f"turn failed: {event.message or NO_MESSAGE}")]
            case events.ERROR:
                text = event.message or NO_MESSAGE
                if not events.is_reconnect(text):
                    return [DisplayLine("bad", text)]
                # Codex tells of each try; the first one of a row stands for all.
                return [] if was_reconnecting else [DisplayLine("warn", text)]
            case events.ITEM_STARTED | events.ITEM_UPDATED | events.ITEM_COMPLETED if event.item:
                return self._item(event.type, event.item)
        return [DisplayLine("note", _compact(event.raw))]

    def _item(self, event_type: str, item: Item) -> list[DisplayLine]:
        completed = event_type == events.ITEM_COMPLETED
        match item.type:
            case events.COMMAND_EXECUTION:
                return self._command(item, completed=completed)
            case events.TODO_LIST if item.steps or not completed:
                return [DisplayLine("plan", _plan_step(step)) for step in item.steps]
            case events.AGENT_MESSAGE if completed:
                return [DisplayLine("say", item.display("text"))]
            case events.REASONING if completed:
                return [DisplayLine("dim", item.display("text"))]
            case events.FILE_CHANGE if item.changes and completed:
                failed = " (failed)" if item.status == events.FAILED else ""
                return [
                    DisplayLine("file", f"{change.kind or 'change'} {change.path or '?'}{failed}")
                    for change in item.changes
                ]
            case events.MCP_TOOL_CALL if completed:
                if item.raw.get("error"):
                    message = item.error_message or NO_MESSAGE
                    return [DisplayLine("bad", f"{_tool(item)}: {message}")]
                return [DisplayLine("good", f"{_tool(item)}: done")]
            case events.MCP_TOOL_CALL if event_type == events.ITEM_STARTED:
                arguments = _compact(item.raw.get("arguments"))
                return [DisplayLine("command", f"{_tool(item)} {arguments}")]
            case events.WEB_SEARCH if completed:
                return [DisplayLine("command", f"search: {item.display('query')}")]
            case events.ERROR:
                return [DisplayLine("warn", item.display("message"))]
        # What is known and goes on is worth no line; what has ended and was not read above is.
        return [DisplayLine("note", _compact(item.raw))] if completed else []

    def _command(self, item: Item, *, completed: bool) -> list[DisplayLine]:
        lines = []
        if item.id not in self._open_commands:
            self._open_commands.add(item.id)
            lines.append(DisplayLine("command", item.command))
            self.last_command = item.command.split("\n")[0]
        if not completed:
            return lines
        self._open_commands.discard(item.id)
        text = item.output.rstrip("\n")
        output = text.split("\n") if text else []
        if len(output) > self._max_output_lines:
            hidden = len(output) - self._max_output_lines
            lines.append(
                DisplayLine(
                    "output", f"... {hidden} earlier lines hidden; `codexrun logs --raw` shows all"
                )
            )
        lines += [DisplayLine("output", line) for line in output[-self._max_output_lines :]]
        if item.status == events.DECLINED:
            return [*lines, DisplayLine("bad", "declined")]
        code = item.exit_code
        end = f"exit {'?' if code is None else code}"
        return [*lines, DisplayLine("good" if code == 0 else "bad", end)]


def reaches_level(line: DisplayLine, level: str | None) -> bool:
    """Tell whether a line is at least of that level."""
    if level is None or level == "debug":
        return True
    if level in LEVELS:
        return line.kind in LEVELS[level]
    return line.kind != "dim"


def clean(text: str) -> str:
    """Return text without anything that a terminal would obey: it is the agent's."""
    return "".join(
        c if c.isprintable() or c == "\t" else "" for c in _ESCAPES.sub("", text)
    ).expandtabs(4)


def _runner(text: str, entry: Json) -> list[DisplayLine]:
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    match text:
        case "run.started":
            prompt = entry.get("prompt_version") or ""
            model = entry.get("model") or "?"
            return [DisplayLine("dim", f"prompt {prompt}, model {model}")]
        case "workspace.cloned":
            return [
                DisplayLine("dim", f"cloned {entry.get('url')} at {entry.get('commit')}{reason}")
            ]
        case "codex.starting":
            return [DisplayLine("dim", "Codex starts")]
        case "":
            return [DisplayLine("note", _compact(entry))]
    bad = entry.get("status") == "failed" or text.endswith((".broken", "workspace.failed"))
    return [DisplayLine("bad" if bad else "dim", f"{text}{reason}")]


def _usage(usage: TurnUsage | None) -> str:
    if usage is None:
        return "turn completed"
    return (
        f"turn completed: {usage.input_tokens} tokens in ({usage.cached_input_tokens} cached),"
        f" {usage.output_tokens} out"
    )


def _tool(item: Item) -> str:
    return f"{item.display('server')}.{item.display('tool')}"


def _plan_step(step: PlanStep) -> str:
    return f"[{'x' if step.completed else ' '}] {step.text}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
