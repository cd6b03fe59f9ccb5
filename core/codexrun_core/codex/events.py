"""The events of `codex exec --json`: their names, and one reader of their shapes for runner,
console and command line.

Shapes: Codex 0.169 to 0.171. An event comes from outside, so any part of it may be missing or of
another type than it should be; reading it never raises. Unknown kinds are for the reader's caller
to show or to ignore. Standard library only, Python 3.9 compatible.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any, Mapping, NamedTuple  # noqa: UP035 - the runner's floor is Python 3.9

THREAD_STARTED = "thread.started"
TURN_STARTED = "turn.started"
TURN_COMPLETED = "turn.completed"
TURN_FAILED = "turn.failed"
ITEM_STARTED = "item.started"
ITEM_UPDATED = "item.updated"
ITEM_COMPLETED = "item.completed"
ERROR = "error"  # an event, such as a try to reconnect, and an item, such as a warning

ITEM_EVENTS = frozenset({ITEM_STARTED, ITEM_UPDATED, ITEM_COMPLETED})

AGENT_MESSAGE = "agent_message"
REASONING = "reasoning"
COMMAND_EXECUTION = "command_execution"
FILE_CHANGE = "file_change"
MCP_TOOL_CALL = "mcp_tool_call"
TODO_LIST = "todo_list"
WEB_SEARCH = "web_search"

ITEM_TYPES = frozenset(
    {
        AGENT_MESSAGE,
        REASONING,
        COMMAND_EXECUTION,
        FILE_CHANGE,
        MCP_TOOL_CALL,
        TODO_LIST,
        WEB_SEARCH,
        ERROR,
    }
)

# An item's status.
FAILED = "failed"
DECLINED = "declined"

MAX_UNWRAPPED_CHARACTERS = 4_000  # of a command; shlex takes quadratic time

_SHELL = re.compile(r"^(?:/\S*/)?(?:ba|z|da)?sh -l?c (.*)$", re.DOTALL)
_ITEM_PREFIX = "item."


class TurnUsage(NamedTuple):
    """The tokens of a turn, as Codex counts them; cached input is part of input."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0


class FileChange(NamedTuple):
    """One file of a patch. kind: add, delete or update; diff: empty if Codex does not give it."""

    kind: str
    path: str
    diff: str


class PlanStep(NamedTuple):
    """One step of Codex's plan."""

    text: str
    completed: bool


@dataclass(frozen=True)
class Item:
    """What an event is about: a message, a command, a change of files and so on."""

    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The same in all events of one item; begins anew with each turn and thread."""
        return self.display("id")

    @property
    def type(self) -> str:
        """One of ITEM_TYPES, another one of a newer Codex, or empty."""
        return _string(self.raw.get("type"))

    @property
    def status(self) -> str:
        return _string(self.raw.get("status"))

    @property
    def failed(self) -> bool:
        """Whether it failed or was not allowed, as Codex says."""
        return self.status in (FAILED, DECLINED) or bool(self.raw.get("error"))

    @property
    def text(self) -> str:
        """What the agent says or thinks; empty unless it is a string."""
        return _string(self.raw.get("text"))

    @property
    def command(self) -> str:
        """The command without the shell that Codex wraps around every one."""
        return unwrap_shell(self.display("command"))

    @property
    def output(self) -> str:
        """What a command has printed so far."""
        return self.display("aggregated_output")

    @property
    def exit_code(self) -> int | None:
        """A command's; None while it runs."""
        code = self.raw.get("exit_code")
        return code if isinstance(code, int) else None

    @property
    def changes(self) -> tuple[FileChange, ...]:
        return tuple(
            FileChange(
                _string(part.get("kind")),
                _string(part.get("path")),
                _string(part.get("diff")) or _string(part.get("unified_diff")),
            )
            for part in _objects(self.raw.get("changes"))
        )

    @property
    def steps(self) -> tuple[PlanStep, ...]:
        return tuple(
            PlanStep(_string(part.get("text")), part.get("completed") is True)
            for part in _objects(self.raw.get("items"))
        )

    @property
    def error_message(self) -> str:
        """Why it failed; empty if it did not say."""
        return _error_message(self.raw)

    def display(self, name: str) -> str:
        """Return a field for people: a string as it is, nothing as nothing, all else as JSON."""
        return _display(self.raw.get(name))


@dataclass(frozen=True)
class Event:
    """One line of Codex's output."""

    raw: Mapping[str, Any]

    @property
    def type(self) -> str:
        """One of the names above, another one of a newer Codex, or empty."""
        return _string(self.raw.get("type"))

    @property
    def item(self) -> Item | None:
        item = self.raw.get("item")
        return Item(item) if isinstance(item, dict) else None

    @property
    def step(self) -> str:
        """What happened to the item: started, updated or completed; empty for other events."""
        kind = self.type
        return kind[len(_ITEM_PREFIX) :] if kind.startswith(_ITEM_PREFIX) else ""

    @property
    def thread_id(self) -> str:
        return _string(self.raw.get("thread_id"))

    @property
    def message(self) -> str:
        """What an error or a failed turn says; empty if it says nothing."""
        own = _display(self.raw.get("message")) if self.type == ERROR else ""
        return own or _error_message(self.raw)

    @property
    def usage(self) -> TurnUsage | None:
        """A completed turn's, if it says."""
        usage = self.raw.get("usage")
        if not isinstance(usage, dict):
            return None
        return TurnUsage(*(_count(usage.get(name)) for name in TurnUsage._fields))


def is_reconnect(message: str) -> bool:
    """Return whether an error only says that Codex connects again: `Reconnecting... 2/5 (...)`."""
    return message.startswith("Reconnecting")


def unwrap_shell(command: str) -> str:
    """Return `pytest -x` of `/bin/bash -lc 'pytest -x'`, and every other command as it is."""
    match = _SHELL.match(command) if len(command) <= MAX_UNWRAPPED_CHARACTERS else None
    if match is None:
        return command
    try:
        words = shlex.split(match[1])
    except ValueError:
        return command
    return words[0] if len(words) == 1 else command


def _error_message(raw: Mapping[str, Any]) -> str:
    error = raw.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return _display(message) or _display(raw.get("message"))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _display(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "(nested too deeply)"


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _objects(value: Any) -> list[dict[str, Any]]:
    parts = value if isinstance(value, list) else []
    return [part for part in parts if isinstance(part, dict)]
