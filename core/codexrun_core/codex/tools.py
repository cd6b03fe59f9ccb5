"""The tools that a job type may allow, and which of them each of Codex's own names belongs to.

Runner, gate and the hook in Codex ask this one module, so that a name means the same in all three
layers. Standard library only, Python 3.9 compatible. Names: Codex 0.169 to 0.171, in classic and in
code mode.
"""

from __future__ import annotations

import re
from typing import Any, Iterable  # noqa: UP035 - the runner's floor is Python 3.9

SHELL = "shell"
APPLY_PATCH = "apply_patch"
WEB_SEARCH = "web_search"
VIEW_IMAGE = "view_image"
DEFAULT_TOOLS = (SHELL, APPLY_PATCH)  # what a job type allows that says nothing
MCP_PREFIX = "mcp:"
# No '-' and no '_' in a server's name: Codex turns one into the other, and two '_' end the name.
SERVER_PATTERN = r"[a-z][a-z0-9]{0,31}"
ENTRY_PATTERN = (
    rf"^(shell|apply_patch|web_search|view_image|mcp:{SERVER_PATTERN}(/[A-Za-z0-9_.-]{{1,64}})?)$"
)

# `Bash` is what Codex calls a command to its hooks.
_SHELLS = (
    "exec_command",
    "write_stdin",
    "shell",
    "shell_command",
    "local_shell",
    "container.exec",
    "unified_exec",
    "Bash",
)
_KNOWN = {
    **dict.fromkeys(_SHELLS, SHELL),
    APPLY_PATCH: APPLY_PATCH,
    VIEW_IMAGE: VIEW_IMAGE,
    WEB_SEARCH: WEB_SEARCH,
    "web_search_preview": WEB_SEARCH,
    "web_run": WEB_SEARCH,
}
# What a server publishes; Codex declares these to scripts also where there is no server.
_RESOURCES = ("list_mcp_resources", "list_mcp_resource_templates", "read_mcp_resource")
# Names by which scripts in code mode call what is not an MCP server's.
SCRIPT_TOOLS = ("exec_command", "write_stdin", APPLY_PATCH, VIEW_IMAGE)
# Nothing outside of the conversation comes of these. In code mode `exec` runs a script, and the
# script calls tools.
HARMLESS_TOOLS = frozenset(
    {
        "exec", "wait", "update_plan", "request_user_input", "request_user_input_async",
        "tool_search",
        "sleep", "curr_time", "clock__sleep", "clock__curr_time",
    }
)  # fmt: skip


def required_entry(name: str, arguments: Any = None) -> str | None:
    """Return the entry of allowedTools that a call of `name` needs; None for a harmless one. An
    unknown name needs itself.

    arguments: the call's, where they are known; some tools are as powerful as the server that they
    name.
    """
    if name in _RESOURCES:
        server = arguments.get("server") if isinstance(arguments, dict) else None
        return f"{MCP_PREFIX}{server}" if server else None
    if name in HARMLESS_TOOLS:
        return None
    if name in _KNOWN:
        return _KNOWN[name]
    server, _, tool = (
        name[len("mcp__") :].partition("__") if name.startswith("mcp__") else ("", "", "")
    )
    return f"{MCP_PREFIX}{server}/{tool}" if server and tool else name


def is_known(name: str) -> bool:
    """Return whether `name` is one of Codex's tools, or has the form of an MCP server's."""
    return required_entry(name) != name or name in _KNOWN


def permits(allowed: Iterable[str], entry: str | None) -> bool:
    """Return whether `allowed` (a job type's allowedTools) covers an entry that `required_entry`
    gave."""
    if entry is None:
        return True
    entries = [normalize(tool) for tool in allowed]
    entry = normalize(entry)
    return entry in entries or (entry.startswith(MCP_PREFIX) and entry.partition("/")[0] in entries)


def normalize(entry: str) -> str:
    """Spell a name as Codex's code mode does: whatever is no letter, digit or '_' becomes '_'."""
    head, slash, tool = entry.partition("/")
    return head + slash + re.sub(r"[^A-Za-z0-9_]", "_", tool)


def mcp_servers(allowed: Iterable[str]) -> dict[str, list[str] | None]:
    """Return the MCP servers that may be used, with the tools that may be called; None for all of a
    server's."""
    tools_by_server: dict[str, list[str] | None] = {}
    for entry in allowed:
        if entry.startswith(MCP_PREFIX):
            server, _, tool = entry[len(MCP_PREFIX) :].partition("/")
            if not tool:
                tools_by_server[server] = None
            elif tools_by_server.setdefault(server, []) is not None:
                tools_by_server[server] = [*(tools_by_server[server] or []), tool]
    return tools_by_server
