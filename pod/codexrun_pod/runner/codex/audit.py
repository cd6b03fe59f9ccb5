"""Finds tools that Codex used although the job type does not allow them, in its events and in its
hook's record. The rules are pure."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.codex import events, tools
from codexrun_core.codex.events import Event, Item
from codexrun_pod.runner.codex.progress import Stop
from codexrun_pod.runner.codex.tool_hook import RECORD
from codexrun_pod.runner.files import read_regular

MAX_TOOL_CHARACTERS = 200  # of a tool's name, in a message
MAX_RECORD_BYTES = 4096

_ENTRIES = {
    events.COMMAND_EXECUTION: tools.SHELL,
    events.FILE_CHANGE: tools.APPLY_PATCH,
    events.WEB_SEARCH: tools.WEB_SEARCH,
}
# Items that say nothing of a tool, or of one that reaches nothing.
_TOOLLESS_ITEMS = frozenset(
    {events.AGENT_MESSAGE, events.REASONING, events.TODO_LIST, events.ERROR}
)


def entry_of(item: Item) -> str | None:
    """Return the entry of allowedTools that an item needs; None if it needs none. Unknown ones need
    themselves."""
    if item.type == events.MCP_TOOL_CALL:
        return f"{tools.MCP_PREFIX}{item.display('server')}/{item.display('tool')}"
    if item.type in _TOOLLESS_ITEMS or not isinstance(item.raw.get("type"), str):
        return None
    return _ENTRIES.get(item.type, item.type)


def find_forbidden_tool(event: Event, allowed: Sequence[str]) -> Stop | None:
    """Return a reason to end the run, if this event is about a tool that is not allowed."""
    if event.item is None:
        return None
    entry = entry_of(event.item)
    # A patch that a command applies is such an item too; whoever may run commands may write files.
    if tools.permits(allowed, entry) or (entry == tools.APPLY_PATCH and tools.SHELL in allowed):
        return None
    return _guardrail_stop(f"Codex used {entry}")


def find_refused_call(codex_home: Path) -> Stop | None:
    """Return a reason to end the run, if the hook has refused a call, or something is where its
    record would be."""
    try:
        record = read_regular(codex_home / RECORD, MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    except OSError:
        return Stop(
            "guardrail",
            "the file that records refused tool calls was replaced, so it is unknown whether Codex"
            " tried to use a tool that the job type does not allow (allowedTools)",
        )
    name = record.decode("utf-8", "replace").partition("\n")[0]
    return _guardrail_stop(f"Codex was about to use {name[:MAX_TOOL_CHARACTERS]}")


def _guardrail_stop(what: str) -> Stop:
    return Stop("guardrail", f"{what}, which the job type does not allow (allowedTools)")
