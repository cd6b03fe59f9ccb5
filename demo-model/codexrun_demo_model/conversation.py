"""Reads one request of Codex: which scenario, which step of it, in which form tools are
called.

Shapes as Codex 0.169 sends them: tools are in `tools`, or for models in code mode in an
`additional_tools` input item.
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Json = dict[str, Any]

CHOICE = re.compile(r"\bscenario:[ \t]*([a-z0-9-]+)")
REMEMBERED_TURNS = (
    10_000  # oldest forgotten first; a turn of Codex is far shorter than ten thousand others
)


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """One request, as scenarios see it.

    step: distinct requests of this turn before this one; a repeated request (Codex's retry) has the
    same step. attempt: how often this very request came before. body_bytes: size of the request;
    max_output_tokens: the client's cap, if it gave one. output: text of the last tool result, if
    the conversation ends with one. items: the conversation.
    """

    scenario: str = "hello"
    prompt: str = ""
    thread: str = ""
    step: int = 0
    attempt: int = 0
    compaction: bool = False
    code_mode: bool = False
    output: str | None = None
    body_bytes: int = 0
    max_output_tokens: int | None = None
    items: tuple[Json, ...] = ()


def read(body: Json, headers: Mapping[str, str], body_bytes: int) -> ModelRequest:
    """Read a request without its place in the turn (`Turns.place` adds that)."""
    items = body["input"] if isinstance(body.get("input"), list) else [_user(body.get("input", ""))]
    texts = [_text(item.get("content")) for item in items if item.get("role") == "user"]
    chosen = next((text for text in texts if CHOICE.search(text)), None)
    last = items[-1] if items else {}
    return ModelRequest(
        scenario=CHOICE.findall(chosen)[-1] if chosen else "hello",
        prompt=chosen
        or next((t for t in reversed(texts) if not t.startswith(("<", "# AGENTS.md"))), ""),
        thread=headers.get("thread-id", ""),
        compaction=metadata(headers).get("request_kind") == "compaction",
        code_mode=not any(tool.get("name") == "exec_command" for tool in body.get("tools", [])),
        output=_text(last.get("output"))
        if str(last.get("type", "")).endswith("_call_output")
        else None,
        body_bytes=body_bytes,
        max_output_tokens=body.get("max_output_tokens"),
        items=tuple(items),
    )


def metadata(headers: Mapping[str, str]) -> Json:
    """Return Codex's `x-codex-turn-metadata`, empty when absent or broken."""
    try:
        value = json.loads(headers.get("x-codex-turn-metadata", "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Turns:
    """Counts the steps of each turn.

    Tool results in the input are no measure: a compaction drops them and a scenario would never
    end. Neither is the number of requests: Codex repeats one when its connection breaks. So:
    distinct inputs per thread and turn.
    """

    def __init__(self) -> None:
        """Start without any turn."""
        self._turns: OrderedDict[tuple[str, str], dict[str, int]] = OrderedDict()
        self._scenarios: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def place(
        self, model_request: ModelRequest, body: Json, headers: Mapping[str, str]
    ) -> ModelRequest:
        """`model_request` with step and attempt, and with the thread's scenario where a compaction
        dropped its text."""
        if model_request.thread:
            first = self._scenarios.setdefault(
                model_request.thread, (model_request.scenario, model_request.prompt)
            )
            model_request = replace(model_request, scenario=first[0], prompt=first[1])
            _forget_oldest(self._scenarios)
        if model_request.compaction:
            return model_request
        turn = self._turns.setdefault(
            (model_request.thread, str(metadata(headers).get("turn_id", ""))), {}
        )
        _forget_oldest(self._turns)
        print_of_input = hashlib.sha256(json.dumps(body.get("input")).encode()).hexdigest()
        attempt = turn.get(print_of_input, 0)
        turn[print_of_input] = attempt + 1
        step = list(turn).index(print_of_input) if model_request.thread else _results(body)
        return replace(model_request, step=step, attempt=attempt)


def _results(body: Json) -> int:
    """Count the steps of a client that sends no thread id (curl): the tool results it shows."""
    items = body["input"] if isinstance(body.get("input"), list) else []
    return sum(str(item.get("type", "")).endswith("_call_output") for item in items)


def _user(text: object) -> Json:
    return {"type": "message", "role": "user", "content": text}


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _forget_oldest(memory: OrderedDict[Any, Any]) -> None:
    while len(memory) > REMEMBERED_TURNS:
        memory.popitem(last=False)
