"""How does a person read a run's log? Each line becomes a few lines of words, or none. Pure.

What is not known is shown as it is: a new kind of event must never vanish.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

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
MOST_OUTPUT = 10  # lines of a command's output that are shown; --raw has all
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)")


@dataclass(frozen=True)
class Said:
    """One line for people, of a kind that decides its colour."""

    kind: Kind
    text: str
    ts: str = ""

    def plain(self) -> str:
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

    def __init__(self, most_output: int = MOST_OUTPUT) -> None:
        self._most = most_output
        self.turns = 0
        self.last = ""  # the last command, for a status line
        self.tokens = 0
        self._commands: set[str] = set()

    def read(self, line: bytes) -> list[Said]:
        """A line of the log, without its end."""
        text = line.decode("utf-8", "replace")
        try:
            entry = json.loads(text)
            found = self._entry(entry) if isinstance(entry, dict) else None
        except (
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
        ):  # an agent may print anything
            found = None
        if found is None:
            return [Said("note", clean(text))] if text.strip() else []
        ts = str(entry.get("ts", ""))
        return [
            Said(said.kind, part, ts)
            for said in found
            for part in (clean(p) for p in said.text.split("\n"))
        ]

    def _entry(self, entry: Json) -> list[Said]:
        event = entry.get("event")
        if isinstance(event, dict):
            return self._event(event)
        text = str(entry.get("text", ""))
        if entry.get("src") == "runner":
            return _runner(text, entry)
        if entry.get("src") == "stderr":
            return [Said("dim", text)] if text.strip() else []
        return [Said("note", text or _compact(entry))]

    def _event(self, event: Json) -> list[Said]:
        kind = str(event.get("type", ""))
        match kind:
            case "thread.started":
                return [Said("dim", f"thread {event.get('thread_id', '')}")]
            case "turn.started":
                self.turns += 1
                return [Said("turn", f"turn {self.turns}")]
            case "turn.completed":
                return [Said("usage", self._usage(event.get("usage")))]
            case "turn.failed":
                return [Said("bad", f"turn failed: {_message(event)}")]
            case "error":
                text = _message(event)
                return [Said("warn" if text.startswith("Reconnecting") else "bad", text)]
            case "item.started" | "item.updated" | "item.completed":
                item = event.get("item")
                if isinstance(item, dict):
                    return self._item(kind.removeprefix("item."), item)
        return [Said("note", _compact(event))]

    def _usage(self, usage: Any) -> str:
        if not isinstance(usage, dict):
            return "turn completed"
        into, out, cached = (
            int(usage.get(f"{k}_tokens") or 0) for k in ("input", "output", "cached_input")
        )
        self.tokens = into + out
        return f"turn completed: {into} tokens in ({cached} cached), {out} out"

    def _item(self, step: str, item: Json) -> list[Said]:
        match item.get("type"):
            case "command_execution":
                return self._command(step, item)
            case "todo_list":
                return [
                    Said("plan", _todo(todo))
                    for todo in item.get("items") or []
                    if isinstance(todo, dict)
                ]
            case "agent_message" if step == "completed":
                return [Said("say", str(item.get("text", "")))]
            case "reasoning" if step == "completed":
                return [Said("dim", str(item.get("text", "")))]
            case "file_change" if step == "completed":
                changes = [
                    change for change in item.get("changes") or [] if isinstance(change, dict)
                ]
                failed = " (failed)" if item.get("status") == "failed" else ""
                return [
                    Said(
                        "file", f"{change.get('kind', 'change')} {change.get('path', '?')}{failed}"
                    )
                    for change in changes
                ]
            case "mcp_tool_call" if step == "completed":
                name = f"{item.get('server')}.{item.get('tool')}"
                return [
                    (
                        Said("bad", f"{name}: {_message(item)}")
                        if item.get("error")
                        else Said("good", f"{name}: done")
                    )
                ]
            case "mcp_tool_call" if step == "started":
                return [
                    Said(
                        "command",
                        f"{item.get('server')}.{item.get('tool')}"
                        f" {_compact(item.get('arguments'))}",
                    )
                ]
            case "web_search" if step == "completed":
                return [Said("command", f"search: {item.get('query', '')}")]
            case "error":
                return [Said("warn", str(item.get("message", "")))]
            case "agent_message" | "reasoning" | "file_change" | "mcp_tool_call" | "web_search":
                return []
        return [Said("note", _compact(item))] if step == "completed" else []

    def _command(self, step: str, item: Json) -> list[Said]:
        command, identity = _shown_command(str(item.get("command", ""))), str(item.get("id", ""))
        found = []
        if identity not in self._commands:
            self._commands.add(identity)
            found.append(Said("command", command))
            self.last = command.split("\n")[0]
        if step != "completed":
            return found
        self._commands.discard(identity)
        output = str(item.get("aggregated_output") or "").rstrip("\n")
        lines = output.split("\n") if output else []
        if len(lines) > self._most:
            found.append(
                Said("output", f"... {len(lines) - self._most} lines before these; --raw has all")
            )
        found += [Said("output", line) for line in lines[-self._most :]]
        code = item.get("exit_code")
        if item.get("status") == "declined":
            return [*found, Said("bad", "declined")]
        return [
            *found,
            Said("good" if code == 0 else "bad", f"exit {'?' if code is None else code}"),
        ]


def wanted(said: Said, level: str | None) -> bool:
    """Whether a line is at least of that level."""
    return (
        level is None
        or level == "debug"
        or (said.kind in LEVELS[level] if level in LEVELS else said.kind != "dim")
    )


def clean(text: str) -> str:
    """Nothing that a terminal would obey: the text is the agent's."""
    return "".join(
        c if c.isprintable() or c == "\t" else "" for c in _COLOUR.sub("", text)
    ).expandtabs(4)


def _runner(text: str, entry: Json) -> list[Said]:
    reason = f": {entry['reason']}" if entry.get("reason") else ""
    match text:
        case "run.started":
            return [
                Said(
                    "dim",
                    f"prompt {entry.get('prompt_version') or ''}, model"
                    f" {entry.get('model') or '?'}",
                )
            ]
        case "codex.starting":
            return [Said("dim", "codex starts")]
    bad = entry.get("status") == "failed" or text.endswith(".broken")
    return (
        [Said("bad" if bad else "dim", f"{text}{reason}")]
        if text
        else [Said("note", _compact(entry))]
    )


def _message(event: Json) -> str:
    error = event.get("error")
    return str(
        error.get("message")
        if isinstance(error, dict)
        else error or event.get("message") or "no message"
    )


def _todo(todo: Json) -> str:
    return f"[{'x' if todo.get('completed') else ' '}] {todo.get('text', '')}"


def _shown_command(command: str) -> str:
    """Without the shell that Codex wraps around every command."""
    match = re.fullmatch(
        r"(?:/usr)?(?:/bin/)?(?:ba|z)?sh -l?c '(.*)'|(?:/usr)?(?:/bin/)?(?:ba|z)?sh -l?c (\S+)",
        command,
        re.S,
    )
    if not match:
        return command
    return (
        match[1].replace("'\\''", "'").replace("'\"'\"'", "'") if match[1] is not None else match[2]
    )


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
