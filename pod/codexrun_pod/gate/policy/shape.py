"""Does a request have the shape of Codex's requests? Pure.

The table beside this module has what each supported version of Codex can send, and from where that
is known; dev/codex_requests.py makes it. Keys that it does not have are taken out, since a gateway
behind the gate may know them. Types that it does not have are refused, since a conversation with a
hole is not what the agent had.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from codexrun_pod.gate.policy.verdicts import quoted

TABLE = json.loads(Path(__file__).with_name("codex_requests.json").read_bytes())
# Codex sets no cap; one that is lower than the gate's does no harm.
REQUEST: Mapping[str, str] = TABLE["request"] | {"max_output_tokens": "gate"}
INCLUDE: Mapping[str, str] = TABLE["include"]
ITEMS: Mapping[str, Mapping[str, str]] = TABLE["items"]
PARTS: Mapping[str, Mapping[str, str]] = TABLE["parts"]
TOOLS: Mapping[str, Mapping[str, str]] = TABLE["tools"]
# By holder and key, as in "request.reasoning". Any other object is data, such as a tool's schema.
OBJECTS: Mapping[str, Mapping[str, str]] = TABLE["objects"]

PART_LISTS = ("content", "output", "summary")  # keys of items that hold parts, or plain text
CONTENT_KEYS = frozenset({"action", "arguments", "content", "input", "output", "result", "tools"})
# Codex has the first for its own API's files; the others are the Responses API's.
FILE_KEYS = ("file_id", "file_ids", "file_url")
URL_KEYS = ("image_url", "audio_url")
DATA_URL = "data:"


def refusal(body: Mapping[str, Any]) -> str | None:
    """Return why the request is none of Codex's, or None: items, parts and what they refer to."""
    if not isinstance(body.get("tool_choice"), str | None):
        return "tool_choice must be a text"
    conversation = body.get("input")
    if isinstance(conversation, str | None):
        return None
    if not isinstance(conversation, list):
        return "input must be a list of items"
    for item in conversation:
        kind = _kind_of_item(item)
        if kind not in ITEMS:
            return f"an input item of the type {quoted(kind)} is not allowed"
        if not isinstance(item.get("tools"), list | None):
            return f"tools of an input item of the type {quoted(kind)} must be a list"
        for key in PART_LISTS:
            if (reason := _parts_refusal(item.get(key))) is not None:
                return reason
    return None


def _parts_refusal(parts: Any) -> str | None:
    if isinstance(parts, str | None):
        return None
    if not isinstance(parts, list):
        return "the content of an input item must be a text or a list of parts"
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in PARTS:
            return f"a content part of the type {quoted(kind)} is not allowed"
        for key in FILE_KEYS:
            if part.get(key) is not None:
                return f"{key} is not allowed: a run sends the content of a file itself"
        for key in URL_KEYS:
            url = part.get(key)
            if url is not None and not (isinstance(url, str) and url.startswith(DATA_URL)):
                return f"{key} must be a data: URL; the model's provider fetches nothing for a run"
    return None


def drop_unknown(body: dict[str, Any]) -> list[str]:
    """Take out of an admissible request, in place, every key and `include` value that Codex does
    not send; return where each stood."""
    dropped: list[str] = []
    _keep(body, REQUEST, "request", dropped)
    _keep_included(body, dropped)
    for item in _dicts(body.get("input")):
        kind = str(_kind_of_item(item))
        if not _is_whole(item, kind):
            item.pop("id", None)
        _keep(item, ITEMS[kind], "item", dropped)
        for key in PART_LISTS:
            for part in _dicts(item.get(key)):
                _keep(part, PARTS[part["type"]], "part", dropped)
    for holder in tool_holders(body):
        for tool in _dicts(holder.get("tools")):
            _keep(tool, TOOLS[tool["type"]], "tool", dropped)
    return dropped


def tool_holders(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Iterate over everything in a request that may have `tools`: itself, items of the input
    (code-mode models, results of a tool search), namespaces, nested."""
    waiting = [body, *_dicts(body.get("input"))]
    while waiting:
        holder = waiting.pop()
        assert isinstance(holder, dict)
        yield holder
        waiting.extend(_dicts(holder.get("tools")))


def efforts(body: Mapping[str, Any]) -> Iterator[Any]:
    """Iterate over the reasoning efforts that a request asks for: its own, and those of items that
    change it on the way."""
    for holder in (body, *_dicts(body.get("input"))):
        reasoning = holder.get("reasoning")
        if isinstance(reasoning, dict) and reasoning.get("effort") is not None:
            yield reasoning["effort"]


def _kind_of_item(item: Any) -> str | None:
    """Return an item's type. Without one it is a message if it has a role, and else a reference to
    a stored item: https://platform.openai.com/docs/api-reference/responses/create#input"""
    if not isinstance(item, dict):
        return None
    kind = item.get("type", "message" if "role" in item else "item_reference")
    return kind if isinstance(kind, str) else None


def _is_whole(item: Mapping[str, Any], kind: str) -> bool:
    """Return whether an item has its content. Codex sends ids along with whole items; an id alone
    would name an item that the provider has stored."""
    keys = CONTENT_KEYS & ITEMS[kind].keys()
    if kind == "reasoning" or not keys:
        keys |= {"encrypted_content"}
    return any(item.get(key) for key in keys)


def _keep(holder: dict[str, Any], known: Mapping[str, str], path: str, dropped: list[str]) -> None:
    """Take out what is not known, and what is no object where Codex sends one."""
    for key in list(holder):
        place = f"{path}.{key}"
        value = holder[key]
        if key not in known or (place in OBJECTS and not isinstance(value, dict | None)):
            del holder[key]
            dropped.append(place)
        elif isinstance(value, dict) and place in OBJECTS:
            _keep(value, OBJECTS[place], place, dropped)


def _keep_included(body: dict[str, Any], dropped: list[str]) -> None:
    included = body.get("include")
    if included is None:
        return
    values = included if isinstance(included, list) else [included]
    body["include"] = [value for value in values if isinstance(value, str) and value in INCLUDE]
    dropped.extend(f"request.include.{value}" for value in values if value not in body["include"])


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
