"""What the demo model can answer, as data: items, an ending, an error, or silence. Pure."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from codexrun_demo_model.conversation import Json, ModelRequest

Ending = Literal["completed", "failed", "incomplete", "cut", "silence"]


@dataclass(frozen=True)
class Usage:
    """Tokens of one response; cached is a part of input, reasoning a part of output."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0

    @property
    def wire(self) -> Json:
        """Return it as the Responses API sends it."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": 0},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer.

    status, headers, body: an HTTP error, when status is not 200. items: output items of the stream;
    seconds: how long the stream drips before them, a chunk a second. ending: how the stream ends;
    `error` is what response.failed or response.incomplete says. usage: fixed tokens; None counts
    them from the bytes; "none" leaves usage out of the response. answers: False takes the request
    and never sends headers.
    """

    items: tuple[Json, ...] = ()
    ending: Ending = "completed"
    error: Json | None = None
    seconds: int = 0
    usage: Usage | Literal["none"] | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: Json | None = None
    answers: bool = True


def say(text: str, **more: Any) -> Reply:
    """Reply with a message, which ends the turn."""
    return Reply(items=(message(text),), **more)


def message(text: str) -> Json:
    """Build an assistant's message item."""
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }


def run(model_request: ModelRequest, command: str, *, wait_seconds: int = 10, **more: Any) -> Reply:
    """A shell command, called as the request's model calls tools: directly, or from a script in
    code mode.

    wait_seconds: after that the tool answers with a session id while the command runs on (Codex
    allows 30 at most).
    """
    arguments = {"cmd": command, "yield_time_ms": wait_seconds * 1000}
    return Reply(items=(tool_call(model_request, "exec_command", arguments),), **more)


def wait_for(model_request: ModelRequest, session: int) -> Reply:
    """Wait up to 30 s for a command that still runs."""
    return Reply(
        items=(
            tool_call(
                model_request,
                "write_stdin",
                {"session_id": session, "chars": "", "yield_time_ms": 30_000},
            ),
        )
    )


def tool_call(model_request: ModelRequest, tool: str, arguments: Json) -> Json:
    """Build a call of one of Codex's tools, in the form of the request's model."""
    call = f"call_{model_request.step}_{model_request.attempt}"
    text = json.dumps(arguments)
    if not model_request.code_mode:
        return {
            "type": "function_call",
            "id": f"fc_{call}",
            "call_id": call,
            "name": tool,
            "arguments": text,
        }
    # A command that outlives the script's own limit would be lost: the pragma raises it to the
    # command's.
    limit = int(arguments.get("yield_time_ms", 0)) + 1000
    show = "image(r)" if tool == "view_image" else "text(JSON.stringify(r))"
    script = (
        f'// @exec: {{"yield_time_ms": {limit}}}\nconst r = await tools.{tool}({text}); {show};'
    )
    return {"type": "custom_tool_call", "name": "exec", "call_id": call, "input": script}


def http_error(status: int, code: str | None, text: str, *headers: tuple[str, str]) -> Reply:
    """Reply with an error before any stream, in OpenAI's shape."""
    kind = {401: "invalid_request_error", 429: code or "requests"}.get(status, "server_error")
    return Reply(
        status=status,
        headers=headers,
        body={"error": {"message": text, "type": kind, "param": None, "code": code}},
    )


def failed(code: str, text: str) -> Reply:
    """Reply with a stream that ends with response.failed."""
    return Reply(ending="failed", error={"code": code, "message": text})
