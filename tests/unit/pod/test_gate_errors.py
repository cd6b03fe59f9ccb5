"""Which class an upstream's error is, and until when."""

import json
from datetime import UTC, datetime

import pytest

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
    ("503 that is no JSON", 503, {"Retry-After": "5"}, "<html>busy</html>", "model_error", None),
    ("400", 400, {}, body("context_length_exceeded"), "model_error", None),
    ("400 of a policy", 400, {}, body("cyber_policy", "invalid_request"), "model_error", None),
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
    error = errors.from_answer(status, headers, text, NOON)
    assert (error.class_, error.status, error.reset_at) == (class_, status, reset)
    assert error.message.startswith(f"HTTP {status}: ")


def test_what_the_provider_says_is_passed_on_but_not_endlessly():
    assert "said so" in errors.from_answer(500, {}, body(), NOON).message
    assert "busy" in errors.from_answer(503, {}, "<html>busy</html>", NOON).message
    assert (
        "no such model" in errors.from_answer(404, {}, '{"error": "no such model"}', NOON).message
    )
    assert len(errors.from_answer(500, {}, "x" * 9999, NOON).message) == 400
    assert errors.from_answer(500, {}, '{"error": [1]}', NOON).class_ == "model_error"


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
    ("a policy", {"code": "bio_policy", "message": "flagged"}, "model_error", None),
    ("nothing said", {}, "model_error", None),
    ("a code that is a list", {"code": ["quota"]}, "model_error", None),
    ("a code that is a list", {"code": ["quota"]}, "model_error", None),
]


@pytest.mark.parametrize(
    ("event", "class_", "reset"), [e[1:] for e in EVENTS], ids=[e[0] for e in EVENTS]
)
def test_a_failed_response(event, class_, reset):
    error = errors.from_event(event, NOON)
    assert (error.class_, error.status, error.reset_at) == (class_, None, reset)


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
