"""Did Codex use a tool that the job type does not allow? What its events and its hook say. The
rules are pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.codex import tools
from codexrun_pod.runner.codex.progress import Stop
from codexrun_pod.runner.codex.tool_hook import RECORD

# Items that say nothing of a tool, or of one that reaches nothing.
PLAIN_ITEMS = frozenset({"agent_message", "reasoning", "todo_list", "error"})


def entry_of(item: Mapping[str, Any]) -> str | None:
    """The entry of allowedTools that an item of the event stream needs; None if it needs none.
    Unknown ones need themselves."""
    kind = item.get("type")
    if kind == "command_execution":
        return tools.SHELL
    if kind == "file_change":
        return tools.APPLY_PATCH
    if kind == "web_search":
        return tools.WEB_SEARCH
    if kind == "mcp_tool_call":
        return f"{tools.MCP_PREFIX}{item.get('server')}/{item.get('tool')}"
    return None if kind in PLAIN_ITEMS or not isinstance(kind, str) else kind


def forbidden(event: Mapping[str, Any], allowed: Sequence[str]) -> Stop | None:
    """A reason to end the run, if this event is about a tool that is not allowed."""
    item = event.get("item")
    if not isinstance(item, dict):
        return None
    entry = entry_of(item)
    # A patch that a command applies is such an item too; whoever may run commands may write files.
    if tools.permits(allowed, entry) or (entry == tools.APPLY_PATCH and tools.SHELL in allowed):
        return None
    return _stop(f"Codex used {entry}")


def refused_by_hook(codex_home: Path) -> Stop | None:
    """The same for a call that the hook has refused."""
    try:
        names = (codex_home / RECORD).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    return _stop(f"Codex was about to use {names[0][:200]}")


def _stop(what: str) -> Stop:
    return Stop("guardrail", f"{what}, which the job type does not allow (allowedTools)")
