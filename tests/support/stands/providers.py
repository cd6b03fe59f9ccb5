"""Scripted servers that behave like the providers and proxies that people have.

Each plays the same work, for any prompt: a little reasoning and a command, then a final message, as
JSON where the request names a schema. What differs is how it is said, and what is refused.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from codex_stand import KEY
from gate_process import event

Json = dict[str, Any]

USAGE = {
    "input_tokens": 9000,
    "input_tokens_details": {"cached_tokens": 4000},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 9050,
}
BARE_USAGE = {"input_tokens": 9000, "output_tokens": 50, "total_tokens": 9050}
REVIEW = {"summary": "Nothing to find.", "findings": []}


LOGIN = b"<!doctype html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
BLOCKED = b"<html><head><title>Web Gateway: blocked</title></head><body>No.</body></html>"


class Provider(BaseHTTPRequestHandler):
    """A server of the Responses API without peculiarities; each one below has its own."""

    # Settings of the gate that the provider needs: rows "works with" of docs/model-endpoint.md.
    settings: ClassVar[Json] = {}
    # "{url}" of the server, which is a proxy where it stands in `proxy`.
    upstream = "{url}/v1"
    usage: ClassVar[Json | None] = USAGE
    complete = True  # whether the account of such a run is exact
    rate_limits = 0  # requests that are limited before one is answered
    headers_down: ClassVar[dict[str, str]] = {}
    alive: bytes = b""  # what shows, before each event, that the connection is alive
    end: bytes = b""  # behind the last event
    open_seconds = 0.0  # for which the connection stays open behind that
    coding: str | None = None

    server: "Zoo"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if self.refuse(body):
            return
        if len(self.server.requests) <= self.rate_limits:
            self.limit()
            return
        self.stream(*self.events(body))

    def refuse(self, body: Json) -> bool:
        """Answer with what is wrong with a request; False if nothing is."""
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self.error(401, code="invalid_api_key", message="Incorrect API key provided")
            return True
        return False

    def limit(self) -> None:
        """Answer that the rate limit is reached."""

    def events(self, body: Json) -> list[bytes]:
        items = self.items(body)
        done = [event("response.output_item.done", item=item) for item in items]
        response: Json = {"id": "resp_1", "status": "completed", "output": items}
        if self.usage is not None:
            response["usage"] = self.usage
        created = event("response.created", response={"id": "resp_1"})
        return [created, *done, event("response.completed", response=response)]

    def items(self, body: Json) -> list[Json]:
        if not any(item.get("type") == "function_call_output" for item in body["input"]):
            thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
            call = {"type": "function_call", "id": "fc_1", "call_id": "call_1"}
            return [thought, call | {"name": "exec_command", "arguments": '{"cmd": "true"}'}]
        is_review = "schema" in body.get("text", {}).get("format", {})
        text = json.dumps(REVIEW) if is_review else "Hello!"
        part = {"type": "output_text", "text": text}
        return [{"type": "message", "role": "assistant", "id": "msg_1", "content": [part]}]

    def stream(self, *events: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if self.coding:
            self.send_header("Content-Encoding", self.coding)
        for name, value in self.headers_down.items():
            self.send_header(name, value)
        self.end_headers()
        text = b"".join(self.alive + each for each in events) + self.end
        self.wfile.write(gzip.compress(text) if self.coding else text)
        self.wfile.flush()
        self.close_connection = True
        self.server.closing.wait(self.open_seconds)

    def error(self, status: int, headers: dict[str, str] | None = None, **error: Any) -> None:
        self.answer(status, {"error": error}, headers)

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def page(self, status: int, text: bytes, media_type: str = "text/html") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class OpenAI(Provider):
    """Limits requests in words alone (https://github.com/openai/codex/issues/9148), refuses caps
    beyond what the model can answer and schemas that are not strict
    (https://platform.openai.com/docs/guides/structured-outputs), and sends `keepalive`
    (https://github.com/openai/openai-node/issues/1964)."""

    rate_limits = 1
    alive = event("keepalive", sequence_number=3)
    headers_down: ClassVar[dict[str, str]] = {"x-ratelimit-remaining-requests": "99"}

    def limit(self) -> None:
        words = "Rate limit reached for gpt-5.5 on tokens per min. Please try again in 20ms."
        self.error(429, code="rate_limit_exceeded", type="tokens", message=words)

    def refuse(self, body: Json) -> bool:
        if super().refuse(body):
            return True
        schema = body.get("text", {}).get("format", {}).get("schema", {})
        if schema and schema.get("additionalProperties") is not False:
            words = "Invalid schema for response_format 'codex_output_schema'"
            self.error(400, code="invalid_json_schema", message=words)
            return True
        if body.get("max_output_tokens", 0) > 128_000:
            self.error(400, code="integer_above_max_value", message="max_output_tokens is above")
            return True
        return False


class Azure(Provider):
    """Wants its own header and a version in the query
    (https://learn.microsoft.com/azure/ai-foundry/openai/reference), looks ids of reasoning up
    although nothing is stored (https://github.com/openai/codex/issues/35739), and names the time to
    wait in a header and in words (https://github.com/weaviate/weaviate/issues/3095)."""

    # dropReasoningIds stands for the host's name, which a server on loopback has not.
    settings: ClassVar[Json] = {
        "authHeader": "api-key",
        "queryParams": {"api-version": "preview"},
        "dropReasoningIds": True,
    }
    upstream = "{url}/openai/v1"
    rate_limits = 1

    def limit(self) -> None:
        words = (
            "exceeded token rate limit of your current pricing tier. Please retry after 1 second."
        )
        self.error(429, {"Retry-After": "1"}, code="429", message=words)

    def refuse(self, body: Json) -> bool:
        if urlsplit(self.path).path != "/openai/v1/responses":
            self.answer(404, {"error": {"code": "404", "message": "Resource not found"}})
        elif self.headers.get("api-key") != KEY:
            words = "Access denied due to invalid subscription key or wrong API endpoint."
            self.error(401, code="401", message=words)
        elif "api-version=preview" not in urlsplit(self.path).query:
            self.answer(404, {"error": {"code": "404", "message": "Resource not found"}})
        elif body["model"] != "gpt-5.5":
            words = "The API deployment for this resource does not exist."
            self.error(404, code="DeploymentNotFound", message=words)
        elif any(item.get("id", "").startswith("rs_") for item in body["input"]):
            words = "Item with id 'rs_1' not found. Items are not persisted when `store` is false."
            self.error(400, code=None, type="invalid_request_error", message=words)
        else:
            return False
        return True


class VLLM(Provider):
    """Counts without details, takes no more than the context holds
    (https://github.com/vllm-project/vllm/issues/42474), and ends with `[DONE]`
    (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html). Its errors had no
    `error` until 0.10.1
    (https://github.com/foundation-model-stack/fms-guardrails-orchestrator/issues/511)."""

    usage: ClassVar[Json | None] = BARE_USAGE
    end = b"data: [DONE]\n\n"
    context = 131_072

    def refuse(self, body: Json) -> bool:
        requested = 9000 + body.get("max_output_tokens", 0)
        is_too_long = requested > self.context
        if is_too_long:
            words = (
                f"This model's maximum context length is {self.context} tokens; you requested"
                f" {requested}"
            )
            error = {"object": "error", "message": words, "type": "BadRequestError", "code": 400}
            self.answer(400, error)
        return is_too_long


class ShortVLLM(VLLM):
    """Started with a --max-model-len that no conversation of Codex fits in."""

    context = 8192


class OldVLLM(VLLM):
    """Knows functions alone among tools, and quotes what it does not know
    (https://github.com/vllm-project/vllm/issues/42475)."""

    def refuse(self, body: Json) -> bool:
        unknown = [
            f" {{'type': 'literal_error', 'loc': ('body', 'tools', {number}, 'FunctionTool',"
            f" 'type'), 'msg': \"Input should be 'function'\", 'input': {tool['type']!r}}}"
            for number, tool in enumerate(body["tools"])
            if tool["type"] != "function"
        ]
        if unknown:
            words = "\n".join([f"{len(unknown)} validation errors:", *unknown])
            self.error(400, message=words, type="Bad Request", param=None, code=400)
        return bool(unknown)


class SingleTurnVLLM(VLLM):
    """Takes no conversation that has a call of a tool in it
    (https://github.com/vllm-project/vllm/issues/45273)."""

    def refuse(self, body: Json) -> bool:
        calls = [item for item in body["input"] if item["type"] == "function_call"]
        if calls:
            words = f"1 validation error:\n {{'loc': ('body', 'input', 'str'), 'input': {calls}}}"
            self.error(400, message=words, type="Bad Request", param=None, code=400)
        return bool(calls)


class LiteLLM(Provider):
    """Streams without usage (https://github.com/BerriAI/litellm/issues/38176), tells its provider's
    rate limit as one of its own (https://github.com/jasonacox/TinyLLM/issues/17), adds headers
    about the call (https://docs.litellm.ai/docs/proxy/response_headers), and passes on events that
    the Responses API does not have (https://github.com/BerriAI/litellm/issues/29254)."""

    usage: ClassVar[Json | None] = None
    alive = (
        event("response.reasoning_content.delta", delta="hm", item_id="x")
        + b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": []}\n\n'
    )
    complete = False
    rate_limits = 1
    headers_down: ClassVar[dict[str, str]] = {
        f"llm_provider-header-{number}": "x" * 3000 for number in range(9)
    }

    def limit(self) -> None:
        words = (
            "litellm.RateLimitError: AzureException RateLimitError. Please retry after 1 seconds"
        )
        self.error(429, code="429", type="throttling_error", message=words)


class SpentLiteLLM(LiteLLM):
    """The key has a budget at the proxy (https://docs.litellm.ai/docs/proxy/users)."""

    def refuse(self, body: Json) -> bool:
        words = "Budget has been exceeded! Current cost: 10.5, Max budget: 10.0"
        self.error(400, code="400", type="budget_exceeded", param=None, message=words)
        return True


class BalancedLiteLLM(LiteLLM):
    """Hands the second request to another deployment than the first
    (https://github.com/BerriAI/litellm/issues/18094)."""

    rate_limits = 0

    def refuse(self, body: Json) -> bool:
        has_thought = any(item["type"] == "reasoning" for item in body["input"])
        if has_thought:
            inner = {
                "message": "The encrypted content gAAA...Za4= could not be verified.",
                "type": "invalid_request_error",
                "code": "invalid_encrypted_content",
            }
            words = (
                "litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException -"
                f" {json.dumps({'error': inner}, indent=1)}. Received Model Group={body['model']}"
            )
            self.error(400, code="400", type=None, param=None, message=words)
        return has_thought


class WrappingLiteLLM(LiteLLM):
    """Tells a refusal of its provider as a fault of its own
    (https://github.com/BerriAI/litellm/issues/36182)."""

    def refuse(self, body: Json) -> bool:
        inner = {
            "code": "validation_error",
            "message": "Invalid Value: 'tools.namespace'. User-defined namespace 'functions'"
            " collides with an existing tool namespace.",
            "type": "invalid_request_error",
        }
        words = f"litellm.APIConnectionError: MantleException - {json.dumps({'error': inner})}"
        self.error(500, code="500", type=None, param=None, message=words)
        return True


class ChattingLiteLLM(LiteLLM):
    """Passes the events of chat completions on
    (https://github.com/7836246/cursor2api/issues/116 has the like of it)."""

    rate_limits = 0

    def events(self, body: Json) -> list[bytes]:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"delta": {}}]}
        return [f"data: {json.dumps(chunk)}\n\n".encode(), b"data: [DONE]\n\n"]

    alive = b""


class OpenRouter(Provider):
    """Tells under status 200 that a provider behind it has failed, and shows that it is alive by
    comments (https://openrouter.ai/docs/api/reference/errors-and-debugging,
    https://openrouter.ai/docs/api/reference/streaming)."""

    upstream = "{url}/api/v1"
    rate_limits = 1
    alive = b": OPENROUTER PROCESSING\n\n"
    headers_down: ClassVar[dict[str, str]] = {"X-Generation-Id": "gen-1"}

    def limit(self) -> None:
        metadata = {"provider_name": "Somebody", "raw": "upstream is overloaded"}
        self.error(200, code=502, message="Provider returned error", metadata=metadata)


class ModeratedOpenRouter(OpenRouter):
    def refuse(self, body: Json) -> bool:
        words = "Your chosen model requires moderation and your input was flagged"
        self.error(403, code=403, message=words, metadata={"reasons": ["violence"]})
        return True


class SpentOpenRouter(OpenRouter):
    def refuse(self, body: Json) -> bool:
        self.error(402, code=402, message="Insufficient credits")
        return True


class Ollama(Provider):
    """Wants no key, and counts without details (https://docs.ollama.com/api/openai-compatibility).
    Its errors are texts (https://docs.ollama.com/api/errors)."""

    usage: ClassVar[Json | None] = BARE_USAGE

    def refuse(self, body: Json) -> bool:
        is_unknown = body["model"] != "gpt-5.5"
        if is_unknown:
            self.answer(404, {"error": f"model '{body['model']}' not found"})
        return is_unknown


class OldOllama(Ollama):
    """Has no /v1/responses."""

    def refuse(self, body: Json) -> bool:
        self.page(404, b"404 page not found", "text/plain")
        return True


class CorporateProxy(Provider):
    """An HTTP proxy before a provider: it compresses what nobody asked it to
    (https://github.com/graphql-hive/gateway/issues/2259), adds large headers
    (https://github.com/aio-libs/aiohttp/issues/2304), buffers the answer
    (https://github.com/elazarl/goproxy/issues/475), and does not close the connection."""

    settings: ClassVar[Json] = {"proxy": "{url}"}
    upstream = "http://model.example.com/v1"
    headers_down: ClassVar[dict[str, str]] = {
        "Via": "1.1 gateway",
        "Set-Cookie": "session=" + "c" * 40_000,
    }
    coding = "gzip"
    open_seconds = 60.0

    def refuse(self, body: Json) -> bool:
        if self.path != "http://model.example.com/v1/responses":
            self.answer(400, {"error": {"message": "this is a proxy"}})
            return True
        return super().refuse(body)


class LoginProxy(CorporateProxy):
    def refuse(self, body: Json) -> bool:
        self.page(200, LOGIN)
        return True


class BlockingProxy(CorporateProxy):
    def refuse(self, body: Json) -> bool:
        self.page(403, BLOCKED)
        return True


PROVIDERS: tuple[type[Provider], ...] = (
    OpenAI,
    Azure,
    VLLM,
    LiteLLM,
    OpenRouter,
    Ollama,
    CorporateProxy,
)


class Zoo(ThreadingHTTPServer):
    """One provider on loopback; keeps the requests."""

    daemon_threads = True

    def __init__(self, provider: type[Provider]) -> None:
        super().__init__(("127.0.0.1", 0), provider)
        self.provider = provider
        self.requests: list[Json] = []
        self.closing = threading.Event()

    @property
    def gate_settings(self) -> Json:
        """Return what `Pod.start_gate` takes for this provider."""
        url = f"http://127.0.0.1:{self.server_port}"
        given = {"upstream": self.provider.upstream, **self.provider.settings}
        return {
            name: value.format(url=url) if isinstance(value, str) else value
            for name, value in given.items()
        }


@contextmanager
def serve(provider: type[Provider]) -> Iterator[Zoo]:
    with Zoo(provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
