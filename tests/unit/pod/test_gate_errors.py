"""Which class an upstream's error is, and until when."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codexrun_pod.gate import errors
from codexrun_pod.gate.header_filter import down, up

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def body(code=None, message="said so", type_="requests", **more):
    return json.dumps({"error": {"code": code, "message": message, "type": type_, **more}})


ANSWERS = [
    # name, status, headers, body, class, reset
    ("401", 401, {}, body("invalid_api_key"), "auth", None),
    ("403", 403, {}, body(), "auth", None),
    ("429", 429, {}, body("rate_limit_exceeded"), "rate_limit", None),
    ("429 with seconds", 429, {"Retry-After": "20"}, body(), "rate_limit", "2026-11-24T12:00:20Z"),
    (
        "429 with a date",
        429,
        {"Retry-After": "Tue, 24 Nov 2026 12:05:00 GMT"},
        body(),
        "rate_limit",
        "2026-11-24T12:05:00Z",
    ),
    (
        "429 with a date gone by",
        429,
        {"Retry-After": "Tue, 24 Nov 2026 11:05:00 GMT"},
        body(),
        "rate_limit",
        "2026-11-24T12:00:00Z",
    ),
    ("429 with nonsense", 429, {"Retry-After": "soon"}, body(), "rate_limit", None),
    (
        "429 with a time in its text",
        429,
        {},
        body(message="Please try again in 90s."),
        "rate_limit",
        "2026-11-24T12:01:30Z",
    ),
    (
        "a usage limit with seconds",
        429,
        {},
        body(type_="usage_limit_reached", resets_in_seconds=3600),
        "rate_limit",
        "2026-11-24T13:00:00Z",
    ),
    (
        "a usage limit with a time",
        429,
        {},
        body(type_="usage_limit_reached", resets_at=NOON.timestamp() + 60),
        "rate_limit",
        "2026-11-24T12:01:00Z",
    ),
    ("quota", 429, {}, body("insufficient_quota"), "quota", None),
    ("quota as a type", 429, {}, body(type_="insufficient_quota"), "quota", None),
    ("quota with another status", 402, {}, body("billing_hard_limit_reached"), "quota", None),
    ("500", 500, {}, body(), "model_error", None),
    (
        "503 that is no JSON",
        503,
        {"Retry-After": "5"},
        "<html>busy</html>",
        "model_error",
        "2026-11-24T12:00:05Z",
    ),
    ("400", 400, {}, body("context_length_exceeded"), "model_error", None),
    ("400 of a policy", 400, {}, body("cyber_policy", "invalid_request"), "policy", None),
    ("404 with a text for an error", 404, {}, '{"error": "no such model"}', "model_error", None),
    ("a redirect", 302, {}, "", "model_error", None),
    ("an error that is a list", 500, {}, '{"error": [1]}', "model_error", None),
]


@pytest.mark.parametrize(
    ("status", "headers", "text", "class_", "reset"),
    [a[1:] for a in ANSWERS],
    ids=[a[0] for a in ANSWERS],
)
def test_an_http_error(status, headers, text, class_, reset):
    error = errors.read(text, NOON, status=status, headers=headers)
    assert (error.class_, error.status, error.reset_at) == (class_, status, reset)
    assert error.message.startswith(f"HTTP {status}: ")


def test_what_the_provider_says_is_passed_on_but_not_endlessly():
    assert "said so" in errors.read(body(), NOON, status=500).message
    assert "busy" in errors.read("<html>busy</html>", NOON, status=503).message
    assert "no such model" in errors.read('{"error": "no such model"}', NOON, status=404).message
    assert len(errors.read("x" * 9999, NOON, status=500).message) == 400
    assert errors.read('{"error": [1]}', NOON, status=500).class_ == "model_error"


EVENTS = [
    (
        "rate limit",
        {"code": "rate_limit_exceeded", "message": "try again in 1.5s"},
        "rate_limit",
        "2026-11-24T12:00:01Z",
    ),
    ("quota", {"code": "insufficient_quota", "message": "no"}, "quota", None),
    ("server", {"code": "server_error", "message": "no"}, "model_error", None),
    ("context", {"code": "context_length_exceeded", "message": "no"}, "model_error", None),
    ("a policy", {"code": "bio_policy", "message": "flagged"}, "policy", None),
    ("nothing said", {}, "model_error", None),
    ("a code that is a list", {"code": ["quota"]}, "model_error", None),
    ("a code that is a list", {"code": ["quota"]}, "model_error", None),
]


@pytest.mark.parametrize(
    ("event", "class_", "reset"), [e[1:] for e in EVENTS], ids=[e[0] for e in EVENTS]
)
def test_a_failed_response(event, class_, reset):
    error = errors.read(event, NOON)
    assert (error.class_, error.status, error.reset_at) == (class_, None, reset)


AZURE = "exceeded token rate limit of your current AIServices S0 pricing tier."
PAGE = "<!doctype html><html><head><title>Web Gateway</title></head><body><p>no</p></body></html>"
SCHEMA = "Invalid schema for response_format 'codex_output_schema'"
CONTEXT = "This model's maximum context length is 32768 tokens. However, you requested 39197"


# https://github.com/BerriAI/litellm/issues/36182
COLLISION = "Invalid Value: 'tools.namespace'. User-defined namespace 'functions' collides"
RELAYED = body("validation_error", COLLISION, "invalid_request_error")
# https://github.com/BerriAI/litellm/issues/18094
ENCRYPTED = (
    '{\n "error": {\n "message": "The encrypted\ncontent gAAA...Za4= could not be verified.",\n'
    ' "type": "invalid_request_error",\n "param":\nnull,\n'
    ' "code": "invalid_encrypted_content"\n }\n}'
)
# https://github.com/vllm-project/vllm/issues/42475
LITERAL = (
    "1 validation error:\n {'type': 'literal_error', 'loc': ('body', 'tools', 11, 'FunctionTool',"
    " 'type'), 'msg': \"Input should be 'function'\", 'input': 'namespace'}"
)


def vllm_before_0_10(message, type_, code):
    """https://github.com/foundation-model-stack/fms-guardrails-orchestrator/issues/511"""
    return json.dumps({"object": "error", "message": message, "type": type_, "code": code})


# name, status, body, class, another try has a chance, words of the message, words of the advice
SHAPES = [
    ("OpenAI: no key", 401, body("invalid_api_key"), "auth", False, "said so", "modelSecretRef"),
    ("OpenAI: no rights", 403, body(), "auth", False, "said so", "use of this model"),
    ("OpenAI: unknown model", 404, body("model_not_found"), "model_error", False, "", "this model"),
    ("OpenAI: a schema", 400, body(None, SCHEMA), "model_error", False, SCHEMA, "outputSchema"),
    (
        "OpenAI: a parameter",
        400,
        body("invalid_value"),
        "model_error",
        False,
        "",
        "the message describes",
    ),
    ("OpenAI: full", 400, body("context_length_exceeded"), "model_error", False, "", "context"),
    ("OpenAI: busy", 503, body("server_is_overloaded"), "model_error", True, "", "retry"),
    (
        "503, whatever its words",
        503,
        body(message="The model is not available, try again later"),
        "model_error",
        True,
        "",
        "retry",
    ),
    ("OpenAI: a prompt", 400, body("invalid_prompt"), "policy", False, "", "change the prompt"),
    ("OpenAI: quota", 429, body("insufficient_quota"), "quota", False, "", "settle the invoice"),
    ("OpenAI: a rate", 429, body("rate_limit_exceeded"), "rate_limit", True, "", "later"),
    ("Azure: a rate", 429, body("429", AZURE), "rate_limit", True, AZURE, "later"),
    ("Azure: deployment", 404, body("DeploymentNotFound"), "model_error", False, "", "deployment"),
    ("Azure: the filter", 400, body("content_filter"), "policy", False, "", "change the prompt"),
    (
        "Azure: the filter, inside",
        400,
        body(None, innererror={"code": "ResponsibleAIPolicyViolation"}),
        "policy",
        False,
        "said so",
        "change the prompt",
    ),
    (
        "Azure API Management",
        404,
        '{"statusCode": 404, "message": "Resource not found"}',
        "model_error",
        False,
        "Resource not found",
        "model.upstreamURL",
    ),
    (
        "vLLM: context",
        400,
        body(400, CONTEXT, "BadRequestError"),
        "model_error",
        False,
        CONTEXT,
        "context",
    ),
    (
        "vLLM before 0.10.1: context",
        400,
        vllm_before_0_10(CONTEXT, "BadRequestError", 400),
        "model_error",
        False,
        CONTEXT,
        "context",
    ),
    (
        "vLLM: unknown model",
        404,
        vllm_before_0_10("The model `a` does not exist.", "NotFoundError", 404),
        "model_error",
        False,
        "The model `a` does not exist.",
        "this model",
    ),
    (
        "vLLM: a field",
        422,
        '{"detail": [{"loc": ["body", "tools"], "msg": "Input should be a list"}]}',
        "model_error",
        False,
        "body.tools: Input should be a list",
        "the problem that the message describes",
    ),
    (
        "vLLM: no such path",
        404,
        '{"detail": "Not Found"}',
        "model_error",
        False,
        "Not Found",
        "URL",
    ),
    (
        "LiteLLM: budget",
        429,
        body("429", "Budget has been exceeded! Current cost: 10.5", "budget_exceeded"),
        "quota",
        False,
        "Current cost",
        "settle the invoice",
    ),
    (
        "LiteLLM: budget as another's error",
        400,
        body("400", "litellm.BadRequestError: OpenAIException - Budget has been exceeded!", None),
        "quota",
        False,
        "Budget",
        "settle the invoice",
    ),
    (
        "LiteLLM: a policy",
        500,
        body("500", "litellm.ContentPolicyViolationError: violates our usage policies", None),
        "policy",
        False,
        "violates",
        "change the prompt",
    ),
    (
        "LiteLLM: its provider's refusal, under another status",
        500,
        body("500", f"litellm.APIConnectionError: MantleException - {RELAYED}", None),
        "model_error",
        False,
        "collides",
        "a tool in the form that Codex sends",
    ),
    (
        "LiteLLM: a code of its provider",
        400,
        body("400", f"litellm.ContentPolicyViolationError: AzureException - {ENCRYPTED}", None),
        "model_error",
        False,
        "could not be verified",
        "to the same deployment",
    ),
    (
        "LiteLLM: a code of its provider, as Python prints it",
        400,
        body(
            "400",
            "litellm.BadRequestError: Error code: 400 - {'error': {'message': 'too large',"
            " 'type': 'invalid_request_error', 'code': 'context_length_exceeded'}}",
            None,
        ),
        "model_error",
        False,
        "too large",
        "a larger context window",
    ),
    (
        "LiteLLM: any other refusal of its provider, under another status",
        500,
        body(
            "500",
            "litellm.APIConnectionError: " + body(None, "Unexpected role", "invalid_request_error"),
            None,
        ),
        "model_error",
        False,
        "Unexpected role",
        "the problem that the message describes",
    ),
    (
        "LiteLLM: what passes at its provider",
        500,
        body("500", "litellm.APIConnectionError: " + body(None, "busy", "server_error"), None),
        "model_error",
        True,
        "busy",
        "retry",
    ),
    (
        "vLLM: a kind of tool",
        400,
        body(400, LITERAL, "Bad Request"),
        "model_error",
        False,
        "Input should be 'function'",
        "a tool in the form that Codex sends",
    ),
    (
        "vLLM: a kind of tool, for gpt-oss",
        400,
        body(400, "tool type namespace not supported", "BadRequestError"),
        "model_error",
        False,
        "namespace",
        "a tool in the form that Codex sends",
    ),
    (
        "llama.cpp: a kind of tool",
        400,
        body(400, "'type' of tool must be 'function'", "invalid_request_error"),
        "model_error",
        False,
        "of tool",
        "a tool in the form that Codex sends",
    ),
    (
        "LM Studio: a kind of tool, named by its place alone",
        400,
        body("invalid_string", "Invalid", "invalid_request_error", param="tools.8.type"),
        "model_error",
        False,
        "Invalid (tools.8.type)",
        "a tool in the form that Codex sends",
    ),
    (
        "Azure: an empty description",
        400,
        body("empty_string", "Invalid 'input[0].tools[0].description': empty string."),
        "model_error",
        False,
        "empty string",
        "a tool in the form that Codex sends",
    ),
    (
        "vLLM: the conversation of a second turn",
        400,
        body(400, "1 validation error: {'type': 'string_type', 'loc': ('body', 'input', 'str')}"),
        "model_error",
        False,
        "('body', 'input', 'str')",
        "the problem that the message describes",
    ),
    (
        "OpenRouter: credits",
        402,
        body(402, "Insufficient credits"),
        "quota",
        False,
        "",
        "settle the invoice",
    ),
    (
        "OpenRouter: moderation",
        403,
        body(403, "Your chosen model requires moderation and your input was flagged"),
        "policy",
        False,
        "moderation",
        "change the prompt",
    ),
    (
        "OpenRouter: its provider",
        502,
        body(502, "Provider returned error", metadata={"raw": "upstream is down"}),
        "model_error",
        True,
        "Provider returned error: upstream is down",
        "retry",
    ),
    ("OpenRouter: under 200", 200, body(502, "is down"), "model_error", True, "is down", "retry"),
    (
        "Ollama: unknown model",
        404,
        """{"error": "model 'gpt-5.5' not found"}""",
        "model_error",
        False,
        "model 'gpt-5.5' not found",
        "this model",
    ),
    ("Ollama before /v1/responses", 404, "404 page not found", "model_error", False, "404", "URL"),
    (
        "Runpod: unknown model under 200",
        200,
        vllm_before_0_10("The model `a` does not exist.", "NotFoundError", 404),
        "model_error",
        False,
        "does not exist",
        "this model",
    ),
    (
        "a relay under 200",
        200,
        json.dumps({"error": {"message": "model not enabled for this key"}}),
        "model_error",
        False,
        "model not enabled for this key",
        "the problem that the message describes",
    ),
    (
        "a whole response",
        200,
        '{"object": "response", "status": "completed", "error": null}',
        "model_error",
        False,
        "no message",
        "event stream",
    ),
    ("Gemini", 429, '[{"error": {"code": 429, "message": "m"}}]', "rate_limit", True, "m", "later"),
    ("a login page", 200, PAGE, "model_error", False, "a web page: Web Gateway", "model.proxy"),
    ("a page in its way", 403, PAGE, "model_error", False, "Web Gateway", "model.proxy"),
    ("a proxy's page for large", 413, PAGE, "model_error", False, "Web Gateway", "raise the limit"),
    ("a proxy's page for busy", 502, PAGE, "model_error", True, "Web Gateway", "retry"),
    ("a page without a title", 502, "<p>bad <b>gateway</b>", "model_error", True, "bad", "retry"),
    ("too slow for a proxy", 408, "", "model_error", True, "no message", "retry"),
    (
        "nothing at all",
        400,
        "",
        "model_error",
        False,
        "no message",
        "the problem that the message describes",
    ),
]


@pytest.mark.parametrize(
    ("status", "text", "class_", "retryable", "words", "advice"),
    [shape[1:] for shape in SHAPES],
    ids=[shape[0] for shape in SHAPES],
)
def test_each_shape_of_an_error_is_told_as_what_it_is(
    status, text, class_, retryable, words, advice
):
    error = errors.read(text, NOON, status=status)
    assert (error.class_, error.retryable) == (class_, retryable)
    assert words in error.message
    assert advice in error.advice


# name, event, class, another try has a chance, words of the message
STREAMED = [
    (
        "the error inside of the response",
        {"type": "response.failed", "response": {"error": {"code": "invalid_prompt"}}},
        "policy",
        False,
        "invalid_prompt",
    ),
    (
        "the error beside the response",
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": None},
            "error": {"code": "insufficient_quota", "message": "pay"},
        },
        "quota",
        False,
        "insufficient_quota: pay",
    ),
    (
        "an event of the error alone",
        {"type": "error", "code": "server_error", "message": "oops", "param": None},
        "model_error",
        True,
        "server_error: oops",
    ),
    (
        "the error inside of that",
        {"type": "error", "error": {"type": "invalid_request_error", "code": None, "message": "m"}},
        "model_error",
        True,
        "failed: m",
    ),
    ("a status as the code", {"error": {"code": 401, "message": "no"}}, "auth", False, "401: no"),
    ("a text", {"error": "model 'x' not found"}, "model_error", False, "model 'x' not found"),
    ("nothing", {}, "model_error", True, "no message"),
]


@pytest.mark.parametrize(
    ("event", "class_", "retryable", "words"),
    [shape[1:] for shape in STREAMED],
    ids=[shape[0] for shape in STREAMED],
)
def test_each_shape_of_an_event_is_told_as_what_it_is(event, class_, retryable, words):
    error = errors.read(event, NOON)
    assert (error.class_, error.retryable, error.status) == (class_, retryable, None)
    assert words in error.message


REDIRECTS = [
    (
        "to another URL of the API",
        "https://eu.example.com:8443/v1/responses?api-version=1",
        "https://eu.example.com:8443/v1/responses",
        "set model.upstreamURL to https://eu.example.com:8443/v1",
    ),
    (
        "to a login, whose query is nobody's business",
        "https://me:secret@sso.example.com/login?state=secret#secret",
        "https://sso.example.com/login",
        "asks for a login",
    ),
    ("to another path", "/v2/responses", "/v2/responses", "check model.upstreamURL"),
    ("to nowhere", "", "an unknown address", "check model.upstreamURL"),
    ("to nonsense", "http://[", "an unknown address", "check model.upstreamURL"),
]


@pytest.mark.parametrize(
    ("location", "target", "advice"), [r[1:] for r in REDIRECTS], ids=[r[0] for r in REDIRECTS]
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_names_its_target(status, location, target, advice):
    headers = {"Location": location} if location else {}
    error = errors.read("<html>moved</html>", NOON, status=status, headers=headers)
    assert (error.class_, error.retryable) == ("model_error", False)
    assert error.message == f"HTTP {status}: a redirect to {target}"
    assert advice in error.advice
    assert "secret" not in error.text


# name, headers, message or error, seconds
WAITS = [
    ("a header in seconds", {"Retry-After": "20"}, "", 20.0),
    ("one in milliseconds", {"retry-after-ms": "1500", "Retry-After": "2"}, "", 1.5),
    ("a header beats the words", {"Retry-After": "20"}, "try again in 5s", 20.0),
    (
        "the window of which nothing is left",
        {
            "x-ratelimit-remaining-requests": "9",
            "x-ratelimit-reset-requests": "1h",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        "",
        360.0,
    ),
    ("a time in milliseconds", {"X-RateLimit-Reset": "1795521610000"}, "", 10.0),
    ("milliseconds in words", {}, "Please try again in 20ms.", 0.02),
    ("minutes and seconds", {}, "Please try again in 6m0s. Visit", 360.0),
    ("Azure's words", {}, "Please retry after 9 seconds. Please go here", 9.0),
    ("Gemini's words", {}, "Please retry in 30.5s.", 30.5),
    ("hours", {}, "Try again in 1 hour 30 minutes", 5400.0),
    ("a time of day", {}, "try again at 2026-11-24T12:00:30Z", 30.0),
    ("Gemini's field", {}, {"details": [{"retryDelay": "30s"}]}, 30.0),
    ("LiteLLM's field", {}, {"retry_after": 7}, 7.0),
    (
        "OpenRouter's headers inside",
        {},
        {"metadata": {"headers": {"X-RateLimit-Reset": "1795521605000"}}},
        5.0,
    ),
    ("nothing", {}, "Rate limit reached", None),
    ("a number of tries", {}, "failed after 3 retries", None),
    ("more than a life", {"Retry-After": "9e99"}, "", None),
    ("nonsense", {"Retry-After": "soon", "x-ratelimit-reset": "nan"}, "", None),
    ("a number beyond all floats", {}, {"resets_in_seconds": 10**400}, None),
    ("a negative one", {}, {"resets_in_seconds": -(10**400)}, None),
    ("a time beyond all floats", {}, {"resets_at": 10**400}, None),
    (
        "a window of which something is left",
        {"x-ratelimit-remaining": "57", "x-ratelimit-reset": "1795525200"},
        "",
        None,
    ),
]


@pytest.mark.parametrize(
    ("headers", "says", "seconds"), [w[1:] for w in WAITS], ids=[w[0] for w in WAITS]
)
def test_the_time_that_a_provider_names(headers, says, seconds):
    text = json.dumps({"error": says if isinstance(says, dict) else {"message": says}})
    error = errors.read(text, NOON, status=429, headers=headers)
    assert error.class_ == "rate_limit"
    assert error.wait_seconds == seconds
    assert (error.reset_at is None) is (seconds is None)


def test_a_bill_is_not_waited_for():
    text = body("insufficient_quota", "You exceeded your current quota; try again in 5s")
    assert errors.read(text, NOON, status=429).wait_seconds is None


KEYS = (
    *("error", "response", "code", "message", "type", "detail", "details", "metadata"),
    *("headers", "retry_after", "resets_at", "status", "raw", "loc", "msg"),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(json_values, st.none() | st.integers(100, 599))
def test_any_json_is_some_error(value, status):
    told = value if status is None and isinstance(value, dict) else json.dumps(value)
    error = errors.read(told, NOON, status=status)
    assert 0 < len(error.message) <= 400
    assert json.dumps(error.json)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=50))
def test_any_text_is_some_error(text, header):
    error = errors.read(text, NOON, status=429, headers={"Retry-After": header, "Location": header})
    assert error.class_ in ("rate_limit", "quota", "policy", "model_error")


@pytest.mark.parametrize("start", ["<title>", "<script", "1" * 9, "retry in 1s", "model ", "[{"])
def test_a_long_error_is_read_at_once(start):
    """No pattern looks at a character more than some times."""
    text = start * (1024 * 1024 // len(start))
    assert len(errors.read(text, NOON, status=429).message) <= 400


def test_headers_up_carry_the_key_and_nothing_of_the_agents_choice():
    given = {
        "thread-id": "t",
        "X-Codex-Turn-Metadata": "{}",
        "User-Agent": "codex",
        "Authorization": "Bearer mine",
        "OpenAI-Organization": "org",
        "OpenAI-Beta": "x",
        "Cookie": "c",
        "Host": "127.0.0.1",
        "Content-Length": "5",
        "Accept-Encoding": "gzip",
    }
    assert up(given, {"api-key": "sk-1"}) == {
        "thread-id": "t",
        "X-Codex-Turn-Metadata": "{}",
        "User-Agent": "codex",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "api-key": "sk-1",
    }
    assert "Authorization" not in up(given, {})


def test_headers_down():
    given = {
        "Content-Type": "text/event-stream",
        "Set-Cookie": "c",
        "Retry-After": "1",
        "Content-Encoding": "gzip",
    }
    assert down(given) == {"Content-Type": "text/event-stream", "Retry-After": "1"}
