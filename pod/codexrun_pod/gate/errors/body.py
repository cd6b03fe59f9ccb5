"""Reads what an error says, in every shape that servers and proxies give it. Pure.

{"error": {"message", "code", "type"}}: OpenAI, Azure, LiteLLM, OpenRouter, newer vLLM.
{"object": "error", "message", "type", "code"}: older vLLM
(https://github.com/vllm-project/vllm/issues/12886).
{"error": "…"}: Ollama (https://docs.ollama.com/api/errors).
{"detail": "…"}, {"detail": [{"msg", "loc"}]}: FastAPI
(https://fastapi.tiangolo.com/tutorial/handling-errors/).
{"statusCode", "message"}: Azure API Management.
[{"error": {…}}]: Gemini.
{"type": "response.failed", "response": {"error": {…}}}, {"type": "error", …}: events of a stream,
with the error inside of the response or beside it.
A web page: proxies and firewalls.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_TITLE_CHARS = 200
# Of what is searched: where an error is longer, its beginning says what it is about.
MAX_MESSAGE_CHARS = 4096
MAX_PAGE_CHARS = 8192
# Where an error holds another one, which says more.
INNER_KEYS = ("innererror", "inner_error", "metadata")
CODE_KEYS = ("code", "type", "status", "reason", "error_type")
# The error of a provider, as JSON or as Python prints it, in the message of a relay before it
# (https://github.com/BerriAI/litellm/issues/18094,
# https://github.com/BerriAI/litellm/issues/36182).
RELAYED = re.compile(r"""\\?["']error\\?["']\s*:\s*\{(.{0,2000}?)\}""", re.S)
RELAYED_CODE = re.compile(r"""\\?["'](?:code|type)\\?["']\s*:\s*\\?["']([\w.-]+)""")
TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1", re.I | re.S)
NOT_SHOWN = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.I | re.S)


@dataclass(frozen=True)
class ErrorBody:
    """What an error says. codes: its codes and types, in lower case; status: HTTP's, as a body
    names it; values: what else stands in it, by key. is_page: it is a web page, whose title is the
    message."""

    message: str = ""
    codes: frozenset[str] = frozenset()
    status: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    is_page: bool = False
    is_json: bool = False


def read(body: Any) -> ErrorBody:
    """Read the body of an HTTP answer (a text), or an event (an object)."""
    if not isinstance(body, str):
        return _from_json(body)
    text = body.strip()
    if text.startswith("<"):
        return ErrorBody(message=_page_title(text[:MAX_PAGE_CHARS]), is_page=True)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict | list):
        return _from_json(value)
    return ErrorBody(message=text[:MAX_MESSAGE_CHARS])


def _from_json(body: Any) -> ErrorBody:
    layers = list(_layers(body))
    codes: list[str] = []
    message = ""
    status = None
    values: dict[str, Any] = {}
    for layer in layers:
        message = message or _message(layer)
        for key in CODE_KEYS:
            code = layer.get(key)
            if isinstance(code, str):
                codes.append(code.lower())
        if status is None:
            status = _status(layer)
        values = {**layer, **values}
    if isinstance(raw := values.get("raw"), str) and raw not in message:  # OpenRouter's provider
        message = f"{message}: {raw}" if message else raw
    if relayed := RELAYED.search(message[:MAX_MESSAGE_CHARS]):
        codes += map(str.lower, RELAYED_CODE.findall(relayed[1]))
    param = values.get("param")  # what is wrong, where the message may say "Invalid" alone
    if isinstance(param, str) and param and param not in message:
        message = f"{message} ({param})" if message else param
    message = message[:MAX_MESSAGE_CHARS]
    return ErrorBody(message, frozenset(codes), status, values, is_json=True)


def _layers(body: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Iterate over the objects that may say something about the error, the most likely first."""
    if isinstance(body, list):
        body = next((part for part in body if isinstance(part, dict)), {})
    if not isinstance(body, Mapping) or depth > 4:
        return
    response = body.get("response")
    if isinstance(response, Mapping) and response.get("error") is not None:
        yield from _layers({"error": response["error"]}, depth + 1)
    error = body.get("error")
    if isinstance(error, str) and error:
        yield {"message": error}
    elif error is not None:
        yield from _layers(error, depth + 1)
    yield body
    for key in INNER_KEYS:
        yield from _layers(body.get(key), depth + 1)
    details = body.get("details")
    for detail in details if isinstance(details, list) else ():
        yield from _layers(detail, depth + 1)


def _message(layer: Mapping[str, Any]) -> str:
    for key in ("message", "detail", "error_description", "msg"):
        text = layer.get(key)
        if isinstance(text, str) and text.strip():
            return text.strip()
        if isinstance(text, list):
            return "; ".join(filter(None, map(_problem, text)))
    return ""


def _problem(part: Any) -> str:
    """Return what FastAPI says of one field."""
    if not isinstance(part, Mapping):
        return ""
    where = part.get("loc")
    path = ".".join(map(str, where)) if isinstance(where, list) else ""
    return f"{path}: {part.get('msg', '')}" if path else str(part.get("msg", ""))


def _status(layer: Mapping[str, Any]) -> int | None:
    """Return the HTTP status that a body names: OpenRouter and LiteLLM give it as the code."""
    for key in ("code", "status", "statusCode", "status_code"):
        value = layer.get(key)
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value[:4])
        if isinstance(value, int) and not isinstance(value, bool) and 300 <= value <= 599:
            return value
    return None


def _page_title(page: str) -> str:
    titles = (NOT_SHOWN.sub(" ", match.group(2)) for match in TITLE.finditer(page))
    text = next((title for title in titles if title.strip()), NOT_SHOWN.sub(" ", page))
    return " ".join(html.unescape(text).split())[:MAX_TITLE_CHARS]
