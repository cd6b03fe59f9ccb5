"""Does a request have the shape of Codex's requests? Pure.

The table beside this module has what each supported version of Codex can send, and from where that
is known; dev/codex_requests.py makes it. Keys that it does not have are taken out, since a gateway
behind the gate may know them. Types that it does not have are refused, since a conversation with a
hole is not what the agent had; so is anything but a text where Codex sends one, since a server may
take a list there for content.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from codexrun_pod.gate.policy.verdicts import MAX_QUOTED_CHARS, quoted

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
# What Codex sends as something else than a text or an object of OBJECTS.
SCALARS = frozenset(
    {
        "request.stream", "request.store", "request.parallel_tool_calls",
        "request.text.format.strict", "item.action.timeout_ms",
        "tool.strict", "tool.defer_loading", "tool.external_web_access",
    }
)  # fmt: skip
TEXT_LISTS = frozenset(
    {
        "item.action.command", "item.action.queries", "item.encrypted_function_args",
        "tool.filters.allowed_domains", "tool.search_content_types",
    }
)  # fmt: skip
TEXT_MAPS = frozenset({"request.client_metadata", "item.action.env"})
# Any JSON: schemas, and what a model has said about its own text.
DATA = frozenset(
    {"request.text.format.schema", "tool.parameters", "part.annotations", "part.logprobs"}
)
# These have rules of their own, here or in the modules beside this one.
RULED = frozenset(
    {
        "request.input", "request.tools", "request.tool_choice", "request.include",
        "request.max_output_tokens", "item.tools", "tool.tools",
        *(f"item.{key}" for key in PART_LISTS),
    }
)  # fmt: skip
CONTENT_KEYS = frozenset({"action", "arguments", "content", "input", "output", "result", "tools"})
# Codex has the first for its own API's files; the others are the Responses API's.
FILE_KEYS = ("file_id", "file_ids", "file_url")
URL_KEYS = ("image_url", "audio_url")
DATA_URL = "data:"
MAX_NAMED_KEYS = 100  # of those taken out; more than a log line shows


def refusal(body: Mapping[str, Any]) -> str | None:
    """Return why the request is none of Codex's, or None: items, parts and what they refer to."""
    return next(_reasons(body), None)


def _reasons(body: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(body.get("tool_choice"), str | None):
        yield "tool_choice must be a string"
    yield from _wrong_values(body, REQUEST, "request")
    conversation = body.get("input")
    if not isinstance(conversation, str | list | None):
        yield "input must be a list of items"
    for item in conversation if isinstance(conversation, list) else ():
        kind = _kind_of_item(item)
        if kind is None or kind not in ITEMS:
            yield f"input items of type {quoted(kind)} are not allowed"
            return
        if not isinstance(item.get("tools"), list | None):
            yield f"tools of an input item of type {quoted(kind)} must be a list"
        # A search's are JSON of the model's; those of other calls are a text that has JSON in it.
        free = {"arguments"} if kind == "tool_search_call" else set()
        yield from _wrong_values(item, ITEMS[kind].keys() - free, "item")
        for key in PART_LISTS:
            yield from _wrong_parts(item.get(key))
    for holder in tool_holders(body):
        for tool in _dicts(holder.get("tools")):
            kind = tool.get("type")
            if isinstance(kind, str) and kind in TOOLS:
                yield from _wrong_values(tool, TOOLS[kind], "tool")


def _wrong_parts(parts: Any) -> Iterator[str]:
    if isinstance(parts, str | None):
        return
    if not isinstance(parts, list):
        yield "the content of an input item must be a string or a list of parts"
        return
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in PARTS:
            yield f"content parts of type {quoted(kind)} are not allowed"
            return
        for key in FILE_KEYS:
            if part.get(key) is not None:
                yield f"{key} is not allowed: a request must contain the content of its files"
        for key in URL_KEYS:
            url = part.get(key)
            if url is not None and not (isinstance(url, str) and _is_data_url(url)):
                yield f"{key} must be a data: URL; the provider does not fetch URLs for a run"
        yield from _wrong_values(part, PARTS[kind], "part")


def _is_data_url(url: str) -> bool:
    """Return whether a URL holds what it names. Its scheme is read in any case: RFC 3986, 3.1."""
    return url[: len(DATA_URL)].lower() == DATA_URL


def _wrong_values(holder: Mapping[str, Any], known: Collection[str], path: str) -> Iterator[str]:
    """Iterate over what is wrong with the values of known keys."""
    for key, value in holder.items():
        if key not in known or value is None:
            continue
        place = f"{path}.{key}"
        if place in RULED or place in DATA:
            continue
        if place in OBJECTS:
            if isinstance(value, dict):
                yield from _wrong_values(value, OBJECTS[place], place)
        elif (form := _missed_form(place, value)) is not None:
            yield f"{place.removeprefix('request.')} must be {form}"


def _missed_form(place: str, value: Any) -> str | None:
    """Return what a value should be, if it is something else."""
    if place in SCALARS:
        return "a boolean or a number" if isinstance(value, str | list | dict) else None
    if place in TEXT_LISTS:
        return None if isinstance(value, list) and _are_texts(value) else "a list of strings"
    if place in TEXT_MAPS:
        is_map = isinstance(value, dict) and _are_texts(value.values())
        return None if is_map else "an object whose values are strings"
    return None if isinstance(value, str) else "a string"


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def drop_unknown(body: dict[str, Any]) -> list[str]:
    """Take out of an admissible request, in place, every key and `include` value that Codex does
    not send; return where each stood, and its name, for the first MAX_NAMED_KEYS."""
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


def drop_reasoning_ids(body: Mapping[str, Any]) -> None:
    """Take the ids of reasoning items out, in place. Their content goes along encrypted."""
    for item in _dicts(body.get("input")):
        if _kind_of_item(item) == "reasoning":
            item.pop("id", None)


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
        value = holder[key]
        if key not in known:
            del holder[key]
            _note(dropped, path, key[:MAX_QUOTED_CHARS])
            continue
        place = f"{path}.{key}"
        if place in OBJECTS and not isinstance(value, dict | None):
            del holder[key]
            dropped.append(place)
        elif isinstance(value, dict) and place in OBJECTS:
            _keep(value, OBJECTS[place], place, dropped)


def _keep_included(body: dict[str, Any], dropped: list[str]) -> None:
    included = body.get("include")
    if included is None:
        return
    values = included if isinstance(included, list) else [included]
    known = []
    for value in values:
        if isinstance(value, str) and value in INCLUDE:
            known.append(value)
        else:
            _note(dropped, "request.include", quoted(value))
    body["include"] = known


def _note(dropped: list[str], path: str, name: str) -> None:
    """Note what is taken out; without its name where there are many: a request can have 300,000."""
    dropped.append(f"{path}.{name}" if len(dropped) < MAX_NAMED_KEYS else path)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
