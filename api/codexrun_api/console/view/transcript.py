"""The log as turns of entries: what Codex did. Pure.

An item comes twice or more (started, updated, completed); its entry stands where the item first
came, in its newest state. Kinds that are not known here are shown as they are, as JSON: a newer
Codex hides nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from codexrun_core.codex import events
from codexrun_core.codex.events import Event, FileChange, Item, PlanStep, TurnUsage
from codexrun_core.schemas.nesting import MAX_SHOWN_LEVELS, is_deeper

Json = dict[str, Any]

# Of a final message that is shown whole.
MAX_UNFOLDED_CHARACTERS = 4000
MAX_UNFOLDED_LINES = 60
# Of a JSON value that is shown with its structure.
MAX_PRETTY_CHARACTERS = 20_000
MAX_PRETTY_LEVELS = 32
MAX_DOING_CHARACTERS = 80

# Entries that are no item of Codex.
REMARK = "remark"  # the runner's
STDERR = "stderr"
JSON = "json"  # an event or item of an unknown type

# A runner begins anew, and so do the ids of items.
_RUNNER_STARTS = ("runner.started", "run.started")


@dataclass
class Entry:
    """One item of Codex, or one line of something else. `open`: it goes on."""

    kind: str  # one of events.ITEM_TYPES, or REMARK, STDERR or JSON
    key: str  # the same for the same entry whenever it is read
    at: datetime | None
    item: Item = field(default_factory=lambda: Item({}))
    text: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    open: bool = False

    @property
    def seconds(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def word(self, name: str) -> str:
        """Return a field of the item for people."""
        return self.item.display(name)

    @property
    def command(self) -> str:
        return self.item.command

    @property
    def exit_code(self) -> int | None:
        return self.item.exit_code

    @property
    def bad(self) -> bool:
        return self.item.failed

    @property
    def changes(self) -> tuple[FileChange, ...]:
        return self.item.changes

    @property
    def steps(self) -> tuple[PlanStep, ...]:
        return self.item.steps

    @property
    def pretty(self) -> str:
        return _pretty(self.item.raw)


@dataclass
class Turn:
    """One turn of Codex. number: 0 before the first one."""

    number: int
    key: str
    at: datetime | None = None
    entries: list[Entry] = field(default_factory=list)
    usage: TurnUsage | None = None
    failed: str = ""
    open: bool = True

    @property
    def tokens(self) -> tuple[int, int] | None:
        """Input and output tokens."""
        return (self.usage.input_tokens, self.usage.output_tokens) if self.usage else None


@dataclass
class Transcript:
    """All that was read of a log."""

    turns: list[Turn]
    thread_id: str = ""

    @property
    def doing(self) -> str:
        """The command that is being run, for one line."""
        running = [
            entry
            for turn in self.turns
            for entry in turn.entries
            if entry.open and entry.kind == events.COMMAND_EXECUTION
        ]
        if not running:
            return ""
        return " ".join(running[-1].command.split())[:MAX_DOING_CHARACTERS]


def read(lines: Iterable[tuple[int, bytes]]) -> Transcript:
    """Return the transcript of lines with their offsets in the log."""
    reader = _Reader()
    for offset, raw in lines:
        reader.read(offset, raw)
    return reader.transcript()


class _Reader:
    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.entries: dict[str, Entry] = {}  # by the ids of their items
        self.thread_id = ""

    def read(self, offset: int, raw: bytes) -> None:
        if not raw.strip():
            return
        try:
            line = json.loads(raw)
            if isinstance(line, dict) and not is_deeper(line, MAX_SHOWN_LEVELS):
                self._line(offset, line)
                return
        except (ValueError, RecursionError):
            pass
        self._add(Entry(STDERR, f"e{offset}", None, text=raw.decode("utf-8", "replace")))

    def _line(self, offset: int, line: Json) -> None:
        at = _time(line.get("ts"))
        event = line.get("event")
        if isinstance(event, dict):
            self._event(offset, at, Event(event))
        elif line.get("src") == "runner":
            self._runner(offset, at, line)
        else:
            self._text(offset, at, str(line.get("text", "")))

    def _event(self, offset: int, at: datetime | None, event: Event) -> None:
        item = event.item
        match event.type:
            case events.ITEM_STARTED | events.ITEM_UPDATED | events.ITEM_COMPLETED if item:
                self._item(offset, at, item, completed=event.type == events.ITEM_COMPLETED)
            case events.THREAD_STARTED:
                self.thread_id = event.thread_id
                self.entries.clear()  # their ids begin anew
            case events.TURN_STARTED:
                self.entries.clear()
                number = sum(turn.number > 0 for turn in self.turns) + 1
                self.turns.append(Turn(number, f"t{offset}", at))
            case events.TURN_COMPLETED:
                self._turn().usage = event.usage or TurnUsage()
                self._close_turn()
            case events.TURN_FAILED:
                self._turn().failed = event.message or "no message"
                self._close_turn()
            case events.ERROR:
                self._error(offset, at, event.message)
            case _:
                text = _pretty(event.raw)
                self._add(Entry(JSON, f"e{offset}", at, Item(event.raw), text=text))

    def _error(self, offset: int, at: datetime | None, message: str) -> None:
        """Codex tells of each try to connect again; the last one of a row stands for all."""
        last = self._turn().entries[-1] if self._turn().entries else None
        if (
            last
            and last.kind == events.ERROR
            and events.is_reconnect(message)
            and events.is_reconnect(last.word("message"))
        ):
            last.item = Item({"message": message})
            return
        self._add(Entry(events.ERROR, f"e{offset}", at, Item({"message": message})))

    def _item(self, offset: int, at: datetime | None, item: Item, *, completed: bool) -> None:
        item_id = item.id or str(offset)
        entry = self.entries.get(item_id)
        if entry is None:
            kind = item.type if item.type in events.ITEM_TYPES else JSON
            entry = Entry(kind, f"e{offset}", at, started_at=None if completed else at)
            self.entries[item_id] = entry
            self._add(entry)
        entry.item = item
        entry.open = not completed
        entry.finished_at = at if completed else None
        if entry.kind == JSON:
            entry.text = _pretty(item.raw)

    def _runner(self, offset: int, at: datetime | None, line: Json) -> None:
        text = str(line.get("text", ""))
        if line.get("phase") == "admit" or text in _RUNNER_STARTS:
            self.entries.clear()
        details = [
            f"{key} {line[key]}"
            for key in ("reason", "message", "exit_code")
            if line.get(key) not in (None, "")
        ]
        text = " · ".join([text, *details])
        self._add(Entry(REMARK, f"e{offset}", at, Item(line), text=text))

    def _text(self, offset: int, at: datetime | None, text: str) -> None:
        last = self.turns[-1].entries[-1] if self.turns and self.turns[-1].entries else None
        if last and last.kind == STDERR:
            last.text += f"\n{text}"
        else:
            self._add(Entry(STDERR, f"e{offset}", at, text=text))

    def _add(self, entry: Entry) -> None:
        self._turn().entries.append(entry)

    def _turn(self) -> Turn:
        if not self.turns:
            self.turns.append(Turn(0, "t0"))  # before the first, or the log is read from its middle
        return self.turns[-1]

    def _close_turn(self) -> None:
        turn = self._turn()
        turn.open = False
        for entry in turn.entries:
            entry.open = False  # Codex ends what is left when its turn ends

    def transcript(self) -> Transcript:
        turns = [
            turn
            for turn in self.turns
            if turn.number or turn.entries or turn.failed or any(turn.usage or ())
        ]
        return Transcript(turns, self.thread_id)


def _pretty(value: Mapping[str, Any]) -> str:
    """Return a value as JSON with its structure; without it what is longer or deeper than a page
    shows: its indentation would outgrow it."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > MAX_PRETTY_CHARACTERS or _depth(text) > MAX_PRETTY_LEVELS:
        return text
    return json.dumps(value, ensure_ascii=False, indent=2)


def _depth(text: str) -> int:
    """Return how many levels deep this JSON is nested at most: brackets within its texts count
    too."""
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


@dataclass(frozen=True)
class FinalMessage:
    """`text` is what is shown: the message itself, or its JSON with one value a line."""

    text: str
    is_json: bool

    @property
    def folded(self) -> bool:
        """Return whether only its beginning is shown at first."""
        return (
            len(self.text) > MAX_UNFOLDED_CHARACTERS or self.text.count("\n") > MAX_UNFOLDED_LINES
        )


def final_message(message: str) -> FinalMessage:
    """Return how a message is shown. JSON is an object or a list; a number is prose."""
    if message.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(message)
        except (ValueError, RecursionError):
            return FinalMessage(message, is_json=False)
        if not is_deeper(value, MAX_SHOWN_LEVELS):
            return FinalMessage(json.dumps(value, indent=2, ensure_ascii=False), is_json=True)
    return FinalMessage(message, is_json=False)
