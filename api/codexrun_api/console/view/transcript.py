"""What did Codex do? Turns of entries, read from lines of the log. Pure.

An item is told twice or more (started, updated, completed); its entry stands where it was first
seen, in its newest state. Kinds that are not known here are shown as they are, as JSON: a newer
Codex hides nothing.
"""

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from codexrun_core.schemas.nesting import MAX_SHOWN_LEVELS, is_deeper

Json = dict[str, Any]

_SHELL = re.compile(r"^(?:/\S*/)?(?:ba|z|da)?sh -l?c (.*)$", re.DOTALL)
MAX_UNWRAPPED = 4_000  # characters of a command
MAX_PRETTY, MAX_PRETTY_DEPTH = (
    20_000,
    32,
)  # characters and levels of a JSON value that is shown with its structure
KNOWN = (
    "agent_message",
    "reasoning",
    "command_execution",
    "file_change",
    "mcp_tool_call",
    "todo_list",
    "web_search",
    "error",
)


@dataclass
class Entry:
    kind: str  # one of KNOWN, or: remark, stderr, json
    key: str  # the same for the same entry whenever it is read
    at: datetime | None
    item: Json = field(default_factory=dict)
    text: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    open: bool = False  # it goes on

    @property
    def seconds(self) -> float | None:
        return (self.ended - self.began).total_seconds() if self.began and self.ended else None

    # What an item says is the agent's word: any of it may be missing, or of another type than it
    # should be.

    def word(self, name: str) -> str:
        value = self.item.get(name)
        return (
            value
            if isinstance(value, str)
            else ""
            if value is None
            else json.dumps(value, ensure_ascii=False)
        )

    @property
    def command(self) -> str:
        return unwrapped(self.word("command"))

    @property
    def exit_code(self) -> int | None:
        code = self.item.get("exit_code")
        return code if isinstance(code, int) else None

    @property
    def bad(self) -> bool:
        return self.item.get("status") in ("failed", "declined") or bool(self.item.get("error"))

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """Kind, path and diff of each changed file."""
        return [
            (_word(c, "kind"), _word(c, "path"), _word(c, "diff") or _word(c, "unified_diff"))
            for c in self._parts("changes")
        ]

    @property
    def steps(self) -> list[tuple[str, bool]]:
        """Of a plan, each with whether it is done."""
        return [
            (_word(step, "text"), step.get("completed") is True) for step in self._parts("items")
        ]

    def _parts(self, name: str) -> list[Json]:
        parts = self.item.get(name)
        return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []

    @property
    def pretty(self) -> str:
        return _pretty(self.item)


@dataclass
class Turn:
    number: int
    key: str
    at: datetime | None = None
    entries: list[Entry] = field(default_factory=list)
    usage: Json | None = None
    failed: str = ""
    open: bool = True

    @property
    def tokens(self) -> tuple[int, int] | None:
        """In and out."""
        if self.usage is None:
            return None
        given, made = (self.usage.get(name) for name in ("input_tokens", "output_tokens"))
        return (given if isinstance(given, int) else 0, made if isinstance(made, int) else 0)


@dataclass
class Transcript:
    turns: list[Turn]
    thread_id: str = ""

    @property
    def doing(self) -> str:
        """The command that is being run, for one line."""
        entries = [
            e
            for turn in self.turns
            for e in turn.entries
            if e.open and e.kind == "command_execution"
        ]
        return " ".join(entries[-1].command.split())[:80] if entries else ""


def read(lines: Iterable[tuple[int, bytes]]) -> Transcript:
    """From lines with their offsets in the log."""
    reader = _Reader()
    for offset, raw in lines:
        reader.take(offset, raw)
    return reader.done()


class _Reader:
    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.items: dict[str, Entry] = {}
        self.thread = ""

    def take(self, offset: int, raw: bytes) -> None:
        if not raw.strip():
            return
        try:
            line = json.loads(raw)
            if isinstance(line, dict) and not is_deeper(line, MAX_SHOWN_LEVELS):
                self._line(offset, line)
                return
        except (ValueError, RecursionError):
            pass
        self._add(Entry("stderr", f"e{offset}", None, text=raw.decode("utf-8", "replace")))

    def _line(self, offset: int, line: Json) -> None:
        at, event = _time(line.get("ts")), line.get("event")
        if isinstance(event, dict):
            self._event(offset, at, event)
        elif line.get("src") == "runner":
            self._runner(offset, at, line)
        else:
            self._text(offset, at, str(line.get("text", "")))

    def _event(self, offset: int, at: datetime | None, event: Json) -> None:
        item = event.get("item")
        match event.get("type"):
            case "item.started" | "item.updated" | "item.completed" if isinstance(item, dict):
                self._item(offset, at, item, ended=event["type"] == "item.completed")
            case "thread.started":
                self.thread = str(event.get("thread_id", ""))
                self.items.clear()  # their ids begin anew
            case "turn.started":
                self.items.clear()
                self.turns.append(
                    Turn(sum(turn.number > 0 for turn in self.turns) + 1, f"t{offset}", at)
                )
            case "turn.completed":
                self._turn().usage = (
                    event.get("usage") if isinstance(event.get("usage"), dict) else {}
                )
                self._close()
            case "turn.failed":
                error = event.get("error")
                self._turn().failed = (
                    str(error.get("message", "")) if isinstance(error, dict) else str(error)
                )
                self._close()
            case "error":
                self._add(Entry("error", f"e{offset}", at, {"message": event.get("message", "")}))
            case _:
                self._add(Entry("json", f"e{offset}", at, event, text=_pretty(event)))

    def _item(self, offset: int, at: datetime | None, item: Json, *, ended: bool) -> None:
        name = str(item.get("id", offset))
        entry = self.items.get(name)
        if entry is None:
            kind = str(item.get("type"))
            entry = Entry(
                kind if kind in KNOWN else "json", f"e{offset}", at, began=None if ended else at
            )
            self.items[name] = entry
            self._add(entry)
        entry.item, entry.open = item, not ended
        entry.ended = at if ended else None
        if entry.kind == "json":
            entry.text = _pretty(item)

    def _runner(self, offset: int, at: datetime | None, line: Json) -> None:
        text = str(line.get("text", ""))
        if line.get("phase") == "admit" or text in ("runner.started", "run.started"):
            self.items.clear()
        more = [
            f"{key} {line[key]}"
            for key in ("reason", "message", "exit_code")
            if line.get(key) not in (None, "")
        ]
        self._add(Entry("remark", f"e{offset}", at, line, text=" · ".join([text, *more])))

    def _text(self, offset: int, at: datetime | None, text: str) -> None:
        last = self.turns[-1].entries[-1] if self.turns and self.turns[-1].entries else None
        if last and last.kind == "stderr":
            last.text += f"\n{text}"
        else:
            self._add(Entry("stderr", f"e{offset}", at, text=text))

    def _add(self, entry: Entry) -> None:
        self._turn().entries.append(entry)

    def _turn(self) -> Turn:
        if not self.turns:
            self.turns.append(Turn(0, "t0"))  # before the first, or the log is read from its middle
        return self.turns[-1]

    def _close(self) -> None:
        turn = self._turn()
        turn.open = False
        for entry in turn.entries:
            entry.open = False  # Codex ends what is left when its turn ends

    def done(self) -> Transcript:
        return Transcript(
            [
                turn
                for turn in self.turns
                if turn.entries or turn.usage or turn.failed or turn.number
            ],
            self.thread,
        )


def unwrapped(command: str) -> str:
    """`pytest -x` of `/bin/bash -lc 'pytest -x'`. A very long one stays as it is: shlex takes
    quadratic time."""
    match = _SHELL.match(command) if len(command) <= MAX_UNWRAPPED else None
    if match is None:
        return command
    try:
        words = shlex.split(match[1])
    except ValueError:
        return command
    return words[0] if len(words) == 1 else command


def _word(part: Json, name: str) -> str:
    value = part.get(name)
    return value if isinstance(value, str) else ""


def _pretty(value: Json) -> str:
    """As JSON with its structure; without it what is longer or deeper than a page shows: its
    indentation would outgrow it."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > MAX_PRETTY or _depth(text) > MAX_PRETTY_DEPTH:
        return text
    return json.dumps(value, ensure_ascii=False, indent=2)


def _depth(text: str) -> int:
    """How deep this JSON is nested at most: brackets within its texts count too."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
