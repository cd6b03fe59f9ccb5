"""The gate over HTTP, between a client and an upstream that the tests script."""

import asyncio
import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from gate_app import gate_settings, listening
from loglines import wrong_lines

from codexrun_pod.gate import exchange, server
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.input_size import InputSize
from codexrun_pod.gate.server import Gate
from codexrun_pod.gate.settings import from_env

KEY = "sk-secret-0123456789"
BODY = {"model": "m", "stream": True, "store": False, "input": "hello"}
# Bytes of what the model is shown of it.
BOUND = len('{"model":"m"}"hello"')
USAGE = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}


def event(kind, **fields):
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()


COMPLETED = event("response.completed", response={"id": "r", "usage": USAGE})
DELTA = event("response.output_text.delta", delta="x")


class Upstream:
    """Answers each request with the next script: a coroutine function of the request."""

    def __init__(self):
        self.scripts = []
        self.requests = []
        self.running = self.most_at_once = 0

    async def handle(self, request):
        self.requests.append((dict(request.headers), json.loads(await request.read())))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            return await self.scripts.pop(0)(request)
        finally:
            self.running -= 1


def streams(*chunks, pause=0.0, cut=False):
    async def script(request):
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "x-request-id": "q", "Set-Cookie": "c"}
        )
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(pause)
        if cut:
            request.transport.abort()
        return response

    return script


def hangs(released, *chunks):
    """Begins to answer, and is silent until `released` is set."""

    async def script(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks or (DELTA,):
            await response.write(chunk)
        await released.wait()
        return response

    return script


async def streams_for_ever(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(DELTA * 1000)


def answers(status, body, **headers):
    async def script(_):
        return web.Response(
            status=status, text=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    return script


class Stand:
    def __init__(self, base, gate, upstream, ledger, client):
        self.base = base
        self.gate = gate
        self.upstream = upstream
        self.ledger = ledger
        self.client = client

    async def post(self, **change):
        async with self.client.post(f"{self.base}/v1/responses", json={**BODY, **change}) as answer:
            return answer.status, await answer.read(), answer.headers

    @property
    def account(self):
        return self.ledger.account

    def message(self):
        return json.loads((self.ledger.settings.state_dir / "message").read_bytes())


def settings(tmp_path, upstream, **more):
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    return gate_settings(tmp_path, {"KEY": key}, upstreamURL=f"{upstream}/v1/", **more)


@pytest.fixture(autouse=True)
def every_line_of_log_has_the_documented_shape(capfdbinary):
    yield
    printed = capfdbinary.readouterr().out.decode().split("\n")
    assert not wrong_lines(line for line in printed if line)


@pytest.fixture
async def stand(tmp_path):
    upstream = Upstream()
    app = web.Application()
    app.router.add_post("/v1/responses", upstream.handle)
    async with listening(app) as there:
        ledger = Ledger(settings(tmp_path, there))
        gate = Gate(ledger)
        client = aiohttp.ClientSession(max_field_size=2**17)
        async with listening(gate.application()) as here, client:
            yield Stand(here, gate, upstream, ledger, client)
        await gate.session.close()


async def test_a_stream_passes_unchanged_and_is_metered(stand):
    stand.upstream.scripts = [streams(DELTA, DELTA, COMPLETED, b": the rest\n\n")]
    status, body, headers = await stand.post()
    assert (status, body) == (200, DELTA + DELTA + COMPLETED + b": the rest\n\n")
    assert headers["x-request-id"] == "q"
    assert "Set-Cookie" not in headers
    sent, request = stand.upstream.requests[0]
    assert sent["Authorization"] == f"Bearer {KEY}"
    assert request == BODY
    told = stand.message()
    assert (
        told["requests"],
        told["completed"],
        told["usage"]["totalTokens"],
        told["complete"],
    ) == (1, 1, 120, True)


async def test_chunks_pass_as_they_come(stand):
    more = asyncio.Event()

    async def holds(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(DELTA)
        await more.wait()
        await response.write(COMPLETED)
        return response

    stand.upstream.scripts = [holds]
    stand.ledger.last_byte -= 1000
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        assert await answer.content.readany() == DELTA  # the upstream has no more said than this
        activity = await (await stand.client.get(f"{stand.base}/activity")).json()
        assert activity["idleSeconds"] < 500
        more.set()
        await answer.read()


def timers_to(port):
    """Return the kinds of timers of the connections to a port: proc(5), tcp."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[5][:2] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]


async def test_a_silent_connection_is_kept_alive(stand):
    """By TCP: whatever stands between forgets a connection that says nothing while a model
    thinks."""
    released = asyncio.Event()
    stand.upstream.scripts = [hangs(released, DELTA)]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        port = urlsplit(stand.ledger.settings.endpoint.responses).port
        assert timers_to(port) == ["02"], "of keep-alive probes"
        released.set()


async def test_without_a_key_file_no_key_is_sent(stand, tmp_path):
    (tmp_path / "key").unlink()
    stand.upstream.scripts = [streams(COMPLETED)]
    await stand.post()
    assert "Authorization" not in stand.upstream.requests[0][0]


async def test_a_key_that_is_no_header_is_said_so(stand, tmp_path):
    (tmp_path / "key").write_text("two\nlines")
    status, body, _ = await stand.post()
    assert status == 400
    assert b"one line of printable ASCII without spaces" in body
    assert b"two" not in body
    assert stand.upstream.requests == []


async def test_a_renewed_key_is_used_at_once(stand, tmp_path):
    stand.upstream.scripts = [streams(COMPLETED), streams(COMPLETED)]
    await stand.post()
    (tmp_path / "key").write_text("sk-new")
    await stand.post()
    assert stand.upstream.requests[1][0]["Authorization"] == "Bearer sk-new"


async def test_an_error_passes_is_remembered_and_never_quotes_the_key(stand, capfdbinary):
    """The status of one that would come again is one that Codex does not try again."""
    said = json.dumps({"error": {"message": f"Incorrect key {KEY}", "code": "invalid_api_key"}})
    stand.upstream.scripts = [answers(401, said), answers(429, "slow down", Retry_After="700")]
    status, body, _ = await stand.post()
    assert (status, body) == (400, said.replace(KEY, "***").encode())
    assert stand.account.last_error.class_ == "auth"
    status, body, headers = await stand.post(input="another")
    assert (status, body, headers["Retry-After"]) == (400, b"slow down", "700")
    told = stand.message()
    assert (told["lastError"]["class"], told["requests"], told["usage"]["totalTokens"]) == (
        "rate_limit",
        2,
        0,
    )
    assert told["lastError"]["resetAt"]
    assert KEY.encode() not in capfdbinary.readouterr().out


@pytest.mark.parametrize("words", ["cap too large", "max_output_tokens is above 128"])
async def test_a_refused_cap_names_the_field_that_helps(stand, words):
    """Servers say it in many ways: https://github.com/vllm-project/vllm/issues/42474"""
    stand.ledger.settings = replace(stand.ledger.settings, max_tokens=5000)
    stand.upstream.scripts = [answers(400, json.dumps({"error": {"message": words}}))]
    await stand.post()
    assert stand.upstream.requests[0][1]["max_output_tokens"] == 5000
    message = stand.message()["lastError"]["message"]
    assert words in message
    assert "max_output_tokens was 5000" in message
    assert "limits.maxTokens" in message
    assert "set the job type's maxOutputTokens" in message


async def test_any_other_400_does_not(stand):
    stand.upstream.scripts = [answers(400, "x" * 5000)]
    await stand.post()
    assert "maxOutputTokens" not in stand.message()["lastError"]["message"]


async def test_a_completed_response_clears_the_error(stand):
    stand.upstream.scripts = [answers(500, "no"), streams(COMPLETED)]
    await stand.post()
    assert stand.message()["lastError"]["status"] == 500
    await stand.post()
    assert "lastError" not in stand.message()


async def test_requests_at_the_same_time_end_the_run(stand):
    stand.upstream.scripts = [streams(DELTA, DELTA, COMPLETED, pause=1.0)] * 10
    answers_ = await asyncio.gather(*(stand.post() for _ in range(10)))
    assert sorted(status for status, _, _ in answers_) == [200] + [400] * 9
    assert stand.upstream.most_at_once == 1
    assert (stand.account.requests, stand.account.completed, stand.account.usage.total) == (
        1,
        1,
        120,
    )
    assert stand.message()["stop"]["class"] == "guardrail"
    assert "parallel requests" in stand.message()["stop"]["message"]


async def test_a_request_waits_for_one_whose_client_has_left(stand):
    """Codex tries again after a cut, while the gate still reads on for the usage of the first
    try."""
    stand.upstream.scripts = [streams(DELTA, DELTA, COMPLETED, pause=0.7), streams(COMPLETED)]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        answer.close()
    status, _, _ = await stand.post()
    assert (status, stand.account.completed, stand.account.usage.total) == (200, 2, 240)
    assert stand.account.stop is None


CALL = event(
    "response.output_item.done",
    item={"type": "function_call", "name": "view_image", "arguments": "{}"},
)


async def test_a_forbidden_call_never_arrives_and_is_paid(stand):
    stand.upstream.scripts = [streams(DELTA, CALL, DELTA, COMPLETED, pause=0.05)]
    status, body, _ = await stand.post()
    assert status == 200
    assert body.startswith(DELTA)
    assert b"function_call" not in body
    (told,) = [
        json.loads(line[6:])
        for line in body[len(DELTA) :].splitlines()
        if line.startswith(b"data: ")
    ]
    assert (told["type"], told["response"]["error"]["code"]) == ("response.failed", "guardrail")
    await until(lambda: stand.account.in_flight is None)
    assert (stand.account.usage.total, stand.account.complete) == (120, True)
    assert stand.message()["stop"]["class"] == "guardrail"
    assert "'view_image'" in stand.message()["stop"]["message"]
    status, body, _ = await stand.post()
    assert (status, json.loads(body)["error"]["code"]) == (400, "guardrail")


async def test_a_stream_that_goes_on_is_followed_for_a_client_that_left(stand, monkeypatch):
    """However long, or an agent could leave what it does not want to be counted."""
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.1)
    stand.upstream.scripts = [streams(*[DELTA] * 8, COMPLETED, pause=0.2)]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        answer.close()
    await until(lambda: stand.account.in_flight is None)
    assert (stand.account.usage.total, stand.account.complete) == (120, True)


async def test_a_redirect_is_not_followed(stand):
    stand.upstream.scripts = [answers(307, "", Location="http://127.0.0.1:9/v2/responses")]
    status, body, headers = await stand.post()
    assert status == 400
    assert b"set model.upstreamURL to http://127.0.0.1:9/v2" in body
    assert "Location" not in headers
    assert stand.account.last_error.class_ == "model_error"


FAILED = event("response.failed", response={"error": {"code": "c", "message": "refused by policy"}})
INVALID = event(
    "response.failed", response={"error": {"code": "invalid_prompt", "message": "refused"}}
)
WRONG_KIND = json.dumps({"error": {"message": "model not enabled for this key"}})
LOGIN = "<html><title>Sign in</title></html>"
NO_STREAMS = [
    # name, type of the answer, its text, words of the error, what is charged
    ("JSON", "application/json", WRONG_KIND, b"model not enabled for this key", 0),
    ("a web page", "text/html; charset=utf-8", LOGIN, b"Sign in", 0),
    (
        "a whole response, which is paid",
        "application/json",
        json.dumps({"object": "response", "usage": USAGE}),
        b"the response is not an event stream",
        120,
    ),
]


@pytest.mark.parametrize(
    ("kind", "text", "words", "charged"),
    [n[1:] for n in NO_STREAMS],
    ids=[n[0] for n in NO_STREAMS],
)
async def test_status_200_without_a_stream_is_an_error_in_its_own_words(
    stand, kind, text, words, charged
):
    stand.upstream.scripts = [answers(200, text, Content_Type=kind)]
    status, body, headers = await stand.post()
    assert (status, headers["Content-Type"]) == (400, "application/json; charset=utf-8")
    assert words in body
    assert (stand.account.usage.total, stand.account.complete) == (charged, True)
    assert stand.message()["lastError"]["retryable"] is False


async def test_a_whole_response_is_paid_whatever_its_header_says(stand):
    whole = json.dumps({"object": "response", "usage": USAGE})
    stand.upstream.scripts = [streams(whole.encode())]
    with contextlib.suppress(aiohttp.ClientError):
        await stand.post()
    assert (stand.account.usage.total, stand.account.complete) == (120, True)


FILTERED = event(
    "response.incomplete",
    response={"usage": USAGE, "incomplete_details": {"reason": "content_filter"}},
)


@pytest.mark.parametrize(
    "answer",
    [INVALID, WRONG_KIND.encode(), FILTERED],
    ids=["an event", "no event", "an answer that was filtered"],
)
async def test_what_a_stream_refused_for_good_is_not_asked_again(stand, answer):
    """Codex tries again whatever came inside of a stream; the conversation may still go on
    otherwise, as after its compaction."""
    stand.upstream.scripts = [streams(answer), streams(COMPLETED)]
    with contextlib.suppress(aiohttp.ClientError):
        await stand.post()
    status, body, _ = await stand.post()
    assert (status, json.loads(body)["error"]["code"]) == (400, "refused")
    assert stand.account.last_error.message.encode() in body
    assert (stand.account.requests, stand.account.stop) == (1, None)
    status, _, _ = await stand.post(input="shorter")
    assert (status, stand.account.completed) == (200, 1)


async def test_a_stream_that_failed_is_ended_although_its_connection_stays_open(stand):
    """https://github.com/openai/codex/issues/10550"""
    released = asyncio.Event()
    stand.upstream.scripts = [hangs(released, FAILED)]
    status, body, _ = await asyncio.wait_for(stand.post(), 30)
    assert (status, body) == (200, FAILED)
    assert "refused by policy" in stand.account.last_error.message


async def test_signs_of_life_are_no_activity(stand):
    alive = b": keep-alive\n\n"
    stand.upstream.scripts = [streams(alive, event("keepalive"), b"\n", alive, pause=0.1)]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        begun = stand.ledger.last_byte
        with contextlib.suppress(aiohttp.ClientError):
            await answer.read()
    assert stand.ledger.last_byte == begun


def limited(seconds):
    return answers(429, "", Retry_After=str(seconds))


async def test_a_provider_that_names_a_time_is_waited_for(stand):
    """https://github.com/openai/codex/issues/9148"""
    stand.upstream.scripts = [limited(1), limited(0), streams(COMPLETED)]
    asked = asyncio.create_task(stand.post())
    await until(lambda: stand.account.waiting_until is not None)
    assert stand.ledger.usage()["waitingUntil"] == stand.account.waiting_until
    activity = await (await stand.client.get(f"{stand.base}/activity")).json()
    assert activity["idleSeconds"] == 0, "waiting is no stall"
    assert stand.message()["lastError"]["class"] == "rate_limit"
    assert (await asked)[0] == 200
    assert (stand.account.requests, stand.account.waited) == (3, 2.0)
    assert "waitingUntil" not in stand.ledger.usage()
    assert "lastError" not in stand.message()


async def test_a_rate_limit_inside_of_a_stream_is_waited_for_before_the_next_request(stand):
    words = {"code": "rate_limit_exceeded", "message": "Please try again in 1s."}
    failed = event("response.failed", response={"error": words})
    stand.upstream.scripts = [streams(failed), streams(COMPLETED)]
    status, body, _ = await stand.post()
    assert (status, body) == (200, failed), "Codex waits for it too"
    began = asyncio.get_running_loop().time()
    assert (await stand.post())[0] == 200
    assert asyncio.get_running_loop().time() - began > 0.5
    assert stand.account.waited == 1.0


async def test_a_wait_beyond_the_limit_ends_it_with_the_time(stand):
    stand.ledger.settings = replace(stand.ledger.settings, max_wait_seconds=1.5)
    stand.upstream.scripts = [limited(1), limited(1)]
    status, body, _ = await stand.post()
    assert (status, json.loads(body)["error"]["code"]) == (400, "rate_limit")
    told = stand.message()["lastError"]
    assert (told["class"], told["retryable"]) == ("rate_limit", True)
    assert told["resetAt"] in told["advice"]
    assert "limits.maxWaitSeconds" in told["advice"]


async def test_a_wait_that_an_earlier_gate_has_granted_is_no_stall(stand):
    until_then = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    stand.ledger.settle(replace(stand.account, waiting_until=until_then))
    stand.ledger.last_byte -= 1000
    stand.upstream.scripts = [streams(COMPLETED)]
    asked = asyncio.create_task(stand.post())
    await until(lambda: stand.gate.current is not None)
    activity = await (await stand.client.get(f"{stand.base}/activity")).json()
    assert activity["idleSeconds"] == 0
    assert (await asked)[0] == 200


async def test_nobody_waits_for_a_client_that_left(stand, monkeypatch):
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.05)
    stand.upstream.scripts = [limited(100)]
    asked = asyncio.create_task(stand.post())
    await until(lambda: stand.account.waiting_until is not None)
    asked.cancel()
    await until(lambda: stand.gate.current is None)
    assert (stand.account.requests, stand.account.in_flight) == (1, None)


def head(size, count=1):
    return {f"X-Codex-Filler-{n}": "x" * size for n in range(count)}


@pytest.mark.parametrize(
    ("headers", "status"), [(head(60_000), 200), (head(60_000, 5), 400)], ids=["many", "too many"]
)
async def test_the_head_of_an_answer_has_bounds(stand, headers, status):
    async def script(_):
        return web.Response(
            body=COMPLETED, headers={"Content-Type": "text/event-stream", **headers}
        )

    stand.upstream.scripts = [script]
    (answered, body, down), error = await stand.post(), stand.account.last_error
    assert answered == status
    if status == 200:
        assert (stand.account.completed, len(down["X-Codex-Filler-0"])) == (1, 60_000)
    else:
        assert b"may be at most 64 KiB long, and all headers together 256 KiB" in body
        assert (error.class_, error.retryable) == ("model_error", False)


async def test_a_line_of_an_answer_has_a_bound(stand):
    stand.upstream.scripts = [answers(200, "", Set_Cookie="secret" * 11_000)]
    status, body, _ = await stand.post()
    assert status == 400
    assert b"may be at most 64 KiB long" in body
    assert b"secret" not in body


async def test_a_cut_stream_is_cut_for_the_client_too(stand):
    stand.upstream.scripts = [streams(DELTA, pause=0.1, cut=True)]
    with pytest.raises(aiohttp.ClientError):
        await stand.post()
    assert stand.account.last_error.class_ == "model_error"
    assert (stand.account.complete, stand.account.usage.output) == (False, 1), "1 byte of text"
    told = stand.message()["usage"]
    assert stand.account.usage.input == -(-BOUND // 3)
    assert told["totalTokens"] < told["atMostTokens"] <= BOUND + 1000, "of a second"


@pytest.mark.parametrize("pause", [0.0, 0.1], ids=["at once", "a moment later"])
async def test_what_comes_together_with_its_cut_has_come(stand, pause):
    """aiohttp gives the first bytes up when the cut comes with them."""
    stand.upstream.scripts = [streams(event("response.created"), pause=pause, cut=True)]
    with pytest.raises(aiohttp.ClientError):
        await stand.post()
    assert (stand.account.complete, stand.account.usage.input) == (False, -(-BOUND // 3))


async def test_a_cut_before_anything_came_is_free(stand):
    stand.upstream.scripts = [streams(cut=True)]
    with contextlib.suppress(aiohttp.ClientError):
        await stand.post()
    assert (stand.account.complete, stand.account.usage.total) == (True, 0)
    assert stand.account.last_error.class_ == "model_error"


async def test_a_stream_that_just_ends_is_no_completed_one(stand):
    stand.upstream.scripts = [streams(DELTA)]
    with contextlib.suppress(aiohttp.ClientError):
        await stand.post()
    assert stand.account.completed == 0
    assert "ended before response.completed" in stand.account.last_error.message


async def test_a_client_that_leaves_is_metered_to_the_end(stand):
    stand.upstream.scripts = [streams(DELTA, DELTA, DELTA, COMPLETED, pause=0.3)]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        answer.close()
    await until(lambda: stand.account.completed == 1)
    assert (stand.account.usage.total, stand.account.complete, stand.account.last_error) == (
        120,
        True,
        None,
    )


async def test_the_next_request_waits_for_what_was_left_and_no_longer_than_a_stall(
    stand, monkeypatch
):
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.05)
    stand.ledger.settings = replace(stand.ledger.settings, stall_seconds=0.5)
    released = asyncio.Event()
    stand.upstream.scripts = [hangs(released)]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        answer.close()
    status, body, _ = await stand.post()
    assert (status, json.loads(body)["error"]["code"]) == (400, "stall")
    await until(lambda: stand.account.in_flight is None)
    told = stand.message()
    assert told["stop"]["class"] == "stall"
    assert "limits.stallSeconds" in told["stop"]["message"]
    assert (told["complete"], told["requests"]) == (False, 1)
    assert told["usage"]["inputTokens"] == BOUND
    assert told["usage"]["totalTokens"] == told["usage"]["atMostTokens"]
    assert stand.account.last_error is None, "leaving is not the model's fault"
    released.set()


@pytest.mark.parametrize(
    ("seconds", "charged"),
    [(30.0, "estimate"), (0.0, "at most")],
    ids=["because of the stop", "long before it"],
)
async def test_a_stop_charges_what_it_breaks_off_by_when_the_client_left(
    stand, monkeypatch, seconds, charged
):
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(exchange, "LEFT_WITH_THE_RUN_SECONDS", seconds)
    monkeypatch.setattr(server, "LAST_IDLE_SECONDS", 0.2)
    released = asyncio.Event()
    stand.upstream.scripts = [hangs(released)]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        answer.close()
    await until(lambda: stand.gate.current.client_left_at is not None)
    await server._last_response(stand.gate)
    told = stand.message()["usage"]
    assert told["inputTokens"] == (-(-BOUND // 3) if charged == "estimate" else BOUND)
    assert told["atMostTokens"] >= BOUND + 1000
    released.set()


async def test_an_answer_ends_at_its_last_event_whoever_leaves_the_connection_open(stand):
    """https://github.com/Wei-Shaw/sub2api/issues/6473"""
    released = asyncio.Event()
    stand.upstream.scripts = [hangs(released, DELTA, COMPLETED), streams(COMPLETED)]
    try:
        for _ in range(2):
            status, body, _ = await stand.post()
            assert (status, body.endswith(COMPLETED)) == (200, True)
    finally:
        released.set()
    assert (stand.account.completed, stand.account.complete) == (2, True)
    assert stand.account.stop is None


async def test_a_stop_ends_an_answer_that_never_pauses(stand, monkeypatch):
    monkeypatch.setattr(server, "LAST_RESPONSE_SECONDS", 0.2)
    stand.upstream.scripts = [streams_for_ever]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        await asyncio.wait_for(server._last_response(stand.gate), 20)
    assert stand.account.in_flight is None
    assert stand.message()["complete"] is False


async def test_a_gate_that_is_killed_in_an_answer_has_not_said_that_all_is_counted(stand):
    released = asyncio.Event()
    stand.upstream.scripts = [streams(COMPLETED), hangs(released)]
    await stand.post()
    assert stand.message()["complete"] is True
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        assert stand.message()["complete"] is False
        released.set()


async def test_a_client_that_leaves_at_the_last_event_is_the_normal_end(stand):
    stand.upstream.scripts = [
        streams(DELTA + COMPLETED, b"data: more\n\n", pause=0.3),
        streams(COMPLETED),
    ]
    async with stand.client.post(f"{stand.base}/v1/responses", json=BODY) as answer:
        await answer.content.readany()
        answer.close()
    await stand.post()
    assert (stand.account.completed, stand.account.complete) == (2, True)


async def test_a_client_that_left_the_queue_costs_nothing(stand):
    stand.upstream.scripts = [streams(DELTA, COMPLETED, pause=0.5), streams(COMPLETED)]
    first = asyncio.create_task(stand.post())
    await until(lambda: stand.upstream.running == 1)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stand.post(), 0.2)
    await first
    # Behind the one that left: had that been sent, it would have been before this.
    await stand.post()
    assert (stand.account.requests, len(stand.upstream.requests)) == (2, 2)


async def test_nobody_listens_upstream(tmp_path):
    ledger = Ledger(settings(tmp_path, "http://127.0.0.1:9"))
    gate = Gate(ledger)
    async with listening(gate.application()) as here, aiohttp.ClientSession() as client:
        answer = await client.post(f"{here}/v1/responses", json=BODY)
        assert answer.status == 502
        assert "127.0.0.1:9" in (await answer.json())["error"]["message"]
    await gate.session.close()
    assert (ledger.account.usage.total, ledger.account.complete) == (0, True)
    assert ledger.account.last_error.class_ == "model_error"


async def test_a_refusal_for_good_is_in_the_message(stand):
    status, body, _ = await stand.post(model="other")
    assert status == 400
    assert json.loads(body)["error"]["type"] == "codexrun_refused"
    assert stand.message()["stop"]["class"] == "guardrail"
    status, body, _ = await stand.post()
    assert (status, json.loads(body)["error"]["code"]) == (400, "guardrail"), (
        "once stopped, always stopped"
    )


async def test_a_stop_file_refuses_and_is_no_stop_of_the_gates(stand, tmp_path):
    (tmp_path / "stopping").touch()
    status, body, _ = await stand.post()
    assert (status, json.loads(body)["error"]["code"]) == (400, "stopping")
    assert "stop" not in stand.message()
    assert stand.message()["cutShort"] is True, "Codex may end of this before its signal comes"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/responses"), ("POST", "/v1/chat/completions"), ("GET", "/v1/models")],
)
async def test_everything_else_is_not_there(stand, method, path):
    async with stand.client.request(method, f"{stand.base}{path}") as answer:
        assert answer.status in (404, 405)
    assert stand.upstream.requests == []


async def test_asking_an_endpoint_that_hangs_is_no_activity(stand):
    """Codex tries again for half an hour; the runner has to see the silence all the same."""
    released = asyncio.Event()

    async def hang(request):
        await released.wait()
        return await streams(COMPLETED)(request)

    stand.upstream.scripts = [hang]
    stand.ledger.last_byte -= 100
    request = asyncio.create_task(stand.post())
    await until(lambda: stand.upstream.running == 1)
    answer = await (await stand.client.get(f"{stand.base}/activity")).json()
    assert answer["idleSeconds"] > 100
    released.set()
    await request


async def test_health_names_the_run(stand):
    answer = await (await stand.client.get(f"{stand.base}/healthz")).json()
    assert answer == {"service": "codexrun-gate", "runId": "r", "attempt": 1}


def test_what_a_killed_gate_had_in_flight_is_charged(tmp_path):
    state = settings(tmp_path, "http://unused")
    first = Ledger(state)
    flight = meter.InFlight("m", InputSize(at_most=1000, estimate=340), max_output=500)
    first.save(meter.sent(first.account, flight))
    second = Ledger(state)
    assert (second.account.usage.total, second.account.complete, second.account.requests) == (
        1500,
        False,
        1,
    )
    assert Ledger(state).account == second.account, "and only once"
    assert json.loads((tmp_path / "message").read_bytes())["complete"] is False


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"requests": 1, "other": 2}', b"\xff"])
def test_a_state_file_that_is_broken_makes_the_account_incomplete(tmp_path, text):
    (tmp_path / "account.json").write_bytes(text)
    assert Ledger(settings(tmp_path, "http://unused")).account.complete is False


@pytest.mark.parametrize("step", ["write_text", "unlink", "rename"])
def test_an_account_outlives_a_kill_at_every_step_of_its_writing(tmp_path, monkeypatch, step):
    state = settings(tmp_path, "http://unused")
    first = Ledger(state)
    flight = meter.InFlight("m", InputSize(at_most=1000, estimate=340), max_output=500)
    first.save(meter.sent(first.account, flight))

    class Killed(BaseException):
        pass

    def die(*_args, **_options):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, step, die)
        with pytest.raises(Killed):
            first.save(first.account)
    second = Ledger(state)
    assert (second.account.usage.total, second.account.requests) == (1500, 1)


@pytest.mark.parametrize("given", ["", "{", "[]", "{}", '{"runId": "r"}'])
def test_an_environment_that_makes_no_sense_is_said_so(given):
    with pytest.raises(ValueError, match="CODEXRUN_GATE: "):
        from_env({"CODEXRUN_GATE": given})


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - polls what has no event
            await asyncio.sleep(0.02)


async def test_a_request_that_memory_could_not_hold_is_refused(stand):
    status, body, _ = await stand.post(input="x" * (17 * 1024 * 1024))
    assert status == 400
    assert b"16777216 bytes" in body
    assert stand.upstream.requests == []
