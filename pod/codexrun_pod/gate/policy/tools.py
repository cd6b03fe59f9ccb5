"""Which tools the model is offered, and whether it calls one that the job type does not allow.
Pure.

In code mode the model is offered one tool, `exec`, whose description declares the others, and a
call of one of them stands in the source of a script. The gate reads names in both; a name that a
script puts together at run time it cannot see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from codexrun_core.codex import tools
from codexrun_pod.gate.policy.shape import tool_holders
from codexrun_pod.gate.policy.verdicts import MAX_QUOTED_CHARS, quoted

CODE_MODE = "exec"
# In the description of `exec`: declare const tools: { view_image(args: ...
DECLARED = re.compile(r"\bdeclare const tools: \{\s*([A-Za-z0-9_$]+)\s*\(")
WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
ESCAPE = re.compile(r"\\u\{?([0-9a-fA-F]{1,6})\}?|\\x([0-9a-fA-F]{2})")
# Codex runs these. All others the provider runs: billed on their own, and out of every policy of
# the pod's reach.
RUN_BY_CODEX = frozenset({"function", "custom", "namespace", "tool_search"})
SEARCH = "web_search"
# Items of a response that are calls by their type alone.
CALL_TYPES = {
    "local_shell_call": tools.SHELL,
    "shell_call": tools.SHELL,
    "apply_patch_call": tools.APPLY_PATCH,
    "web_search_call": tools.WEB_SEARCH,
    "tool_search_call": None,
}
NAMED_CALLS = ("function_call", "custom_tool_call")
# Of a tool's name, and of its namespace's: longer than any that allowedTools can have, and than
# Codex's own. With the rest of it each look at a name would copy as much as a request may have.
MAX_NAME_CHARS = 128


def refusal(body: Mapping[str, Any], allowed: Collection[str]) -> str | None:
    """Return why a request must not go to the model for the tools in it, or None."""
    for holder in tool_holders(body):
        offered = holder.get("tools")
        if not isinstance(offered, list | None):
            return "tools must be a list"
        for tool in offered or ():
            kind = tool.get("type") if isinstance(tool, dict) else None
            if kind == SEARCH and tools.WEB_SEARCH in allowed:
                continue
            if not isinstance(kind, str) or kind not in RUN_BY_CODEX:
                return f"the hosted tool {quoted(kind)} is not allowed"
            description = tool.get("description")
            if tool.get("name") == CODE_MODE and isinstance(description, str):
                for name in DECLARED.findall(description):
                    if not tools.permits(allowed, tools.required_entry(name)):
                        return (
                            f'the tool "{name}", which Codex offers to the model in code mode, is'
                            " not allowed"
                        )
    return None


def remove_forbidden(body: dict[str, Any], allowed: Collection[str]) -> frozenset[str]:
    """Remove the tools that are not allowed from a request, in place; return their names."""
    removed: set[str] = set()
    for holder in tool_holders(body):
        offered = holder.get("tools")
        if not isinstance(offered, list):
            continue
        allowed_tools = []
        for tool in offered:
            name = _full_name(tool, holder) if isinstance(tool, dict) else None
            if (
                name is None
                or tool.get("type") == "namespace"
                or tools.permits(allowed, tools.required_entry(name))
            ):
                allowed_tools.append(tool)
            else:
                removed.add(name)
        if len(allowed_tools) != len(offered):
            holder["tools"] = allowed_tools
    return frozenset(removed)


def forbidden_call(
    event: Mapping[str, Any], allowed: Collection[str], stripped: Collection[str]
) -> str | None:
    """Return the tool that an event of the response calls although it is not allowed, or None.

    A name that Codex does not have and that was not offered is passed on: Codex itself answers it
    with an error.
    """
    response = event.get("response")
    items = [
        event.get("item"),
        *(_dicts(response.get("output")) if isinstance(response, dict) else ()),
    ]
    for item in _dicts(items):
        if (name := _forbidden_item(item, allowed, stripped)) is not None:
            return name[:MAX_QUOTED_CHARS]
    return None


def _forbidden_item(
    item: Mapping[str, Any], allowed: Collection[str], stripped: Collection[str]
) -> str | None:
    kind = str(item.get("type", ""))
    if kind in CALL_TYPES:
        return None if tools.permits(allowed, CALL_TYPES[kind]) else kind
    if kind in NAMED_CALLS:
        name = _full_name(item, {"name": item.get("namespace")}) or ""
        if name == CODE_MODE:
            return _forbidden_in_script(
                str(item.get("input") or item.get("arguments") or ""), allowed
            )
        bad = not tools.permits(allowed, tools.required_entry(name, _arguments(item))) and (
            tools.is_known(name) or name in stripped
        )
        return name if bad else None
    return kind if kind.endswith("_call") or kind.startswith("mcp_") else None


def _forbidden_in_script(source: str, allowed: Collection[str]) -> str | None:
    """Return any word of the source that is the name of a tool which is not allowed, be it in a
    text or a comment."""
    words = set(WORD.findall(source)) | set(WORD.findall(ESCAPE.sub(_unescaped, source)))
    names = (
        word
        for word in sorted(words)
        if word in tools.SCRIPT_TOOLS or (word.startswith("mcp__") and tools.is_known(word))
    )
    return next(
        (name for name in names if not tools.permits(allowed, tools.required_entry(name))), None
    )


def _arguments(item: Mapping[str, Any]) -> Any:
    try:
        return json.loads(item.get("arguments") or "null")
    except (ValueError, TypeError, RecursionError):
        return None


def _unescaped(match: re.Match[str]) -> str:
    code = int(match.group(1) or match.group(2), 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else ""


def _full_name(tool: Mapping[str, Any], holder: Mapping[str, Any]) -> str | None:
    """Return a tool's full name: `alpha` in the namespace `mcp__t` is `mcp__t__alpha`; other
    namespaces say nothing. Both are cut."""
    name = tool.get("name")
    space = holder.get("name")
    if not isinstance(name, str):
        return None
    name = name[:MAX_NAME_CHARS]
    if isinstance(space, str) and space.startswith("mcp__"):
        return f"{space[:MAX_NAME_CHARS]}__{name}"
    return name


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
