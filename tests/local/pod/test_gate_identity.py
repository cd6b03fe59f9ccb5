"""No key at all: the gate exchanges the ServiceAccount's token, renews what it got, and no token
comes back to the agent."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from gate_app import gate_settings, listening
from multidict import CIMultiDict, CIMultiDictProxy

from codexrun_pod.gate import identity
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.endpoint import Endpoint
from codexrun_pod.gate.identity import TokenSource
from codexrun_pod.gate.server import Gate
from codexrun_pod.gate.settings import Identity

SUBJECT = "eyJhbGciOiJSUzI1NiJ9.the-service-accounts.signature"
BODY = {"model": "m", "stream": True, "store": False, "input": "hello"}
COMPLETED = (
    b'data: {"type":"response.completed","response":'
    b'{"id":"r","usage":{"input_tokens":100,"output_tokens":20}}}\n\n'
)


class Provider:
    """An exchange, and a model that takes what it has given out last."""

    def __init__(self) -> None:
        self.exchanges: list[dict[str, str]] = []
        self.life: int | None = 3600
        self.refusal: web.Response | None = None
        self.in_parts = False
        self.on_exchange: Callable[[], object] = lambda: None
        self.reached = asyncio.Event()
        self.held: asyncio.Event | None = None
        self.taken_back: set[str] = set()
        self.keys: list[str] = []

    async def exchange(self, request: web.Request) -> web.Response:
        fields = await (request.json() if "json" in request.content_type else request.post())
        self.exchanges.append(dict(fields))
        self.on_exchange()
        self.reached.set()
        if self.held is not None:
            await self.held.wait()
        if self.refusal is not None:
            return self.refusal
        answer: dict[str, Any] = {"access_token": f"short-lived-{len(self.exchanges)}"}
        if self.in_parts:
            return await self.send_in_parts(request, json.dumps(answer).encode())
        return web.json_response(
            answer | ({"expires_in": self.life} if self.life is not None else {})
        )

    async def send_in_parts(self, request: web.Request, body: bytes) -> web.Response:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for part in (body[:9], body[9:]):
            await answer.write(part)
            await asyncio.sleep(0.05)  # so that they come as two
        return cast(web.Response, answer)

    async def responses(self, request: web.Request) -> web.StreamResponse:
        key = request.headers["Authorization"]
        self.keys.append(key)
        if key in self.taken_back:
            return web.json_response({"error": {"message": f"unknown {key}"}}, status=401)
        return web.Response(body=COMPLETED, headers={"Content-Type": "text/event-stream"})


class Stand:
    def __init__(self, provider: Provider, gate: Gate, url: str, client: aiohttp.ClientSession):
        self.provider = provider
        self.gate = gate
        self.url = url
        self.client = client

    async def post(self) -> tuple[int, bytes]:
        async with self.client.post(f"{self.url}/v1/responses", json=BODY) as answer:
            return answer.status, await answer.read()

    @property
    def last_error(self) -> dict[str, Any]:
        message = (self.gate.ledger.settings.state_dir / "message").read_bytes()
        error: dict[str, Any] = json.loads(message)["lastError"]
        return error


@pytest.fixture(params=["json", "form"])
async def stand(tmp_path: Path, request: pytest.FixtureRequest):
    provider = Provider()
    app = web.Application()
    app.router.add_post("/oauth/token", provider.exchange)
    app.router.add_post("/v1/responses", provider.responses)
    token = tmp_path / "token"
    token.write_text(SUBJECT + "\n")
    async with listening(app) as there:
        identity = {
            "tokenURL": f"{there}/oauth/token",
            "parameters": {"identity_provider_id": "idp_1"},
            "encoding": request.param,
        }
        settings = gate_settings(
            tmp_path, {"IDENTITY": token}, upstreamURL=f"{there}/v1", identity=identity
        )
        gate = Gate(Ledger(settings))
        async with listening(gate.application()) as here, aiohttp.ClientSession() as client:
            yield Stand(provider, gate, here, client)
        await gate.session.close()


@pytest.mark.parametrize(
    "life", [3600, None, 10**400], ids=["an hour", "unknown", "beyond all floats"]
)
async def test_the_token_is_exchanged_once_and_used(stand: Stand, life: int | None) -> None:
    stand.provider.life = life
    assert [(await stand.post())[0] for _ in range(2)] == [200, 200]
    assert stand.provider.keys == ["Bearer short-lived-1"] * 2
    assert stand.provider.exchanges == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": SUBJECT,
            "identity_provider_id": "idp_1",
        }
    ]


async def test_a_token_is_renewed_before_it_ends(stand: Stand, tmp_path: Path) -> None:
    stand.provider.life = 0
    await stand.post()
    (tmp_path / "token").write_text("a-renewed-subject-token")
    await stand.post()
    assert stand.provider.keys == ["Bearer short-lived-1", "Bearer short-lived-2"]
    assert stand.provider.exchanges[1]["subject_token"] == "a-renewed-subject-token"


async def test_a_token_that_was_taken_back_is_renewed_once(stand: Stand) -> None:
    await stand.post()
    stand.provider.taken_back = {"Bearer short-lived-1"}
    assert (await stand.post())[0] == 200
    assert stand.gate.ledger.account.completed == 2
    stand.provider.taken_back |= {"Bearer short-lived-2", "Bearer short-lived-3"}
    status, body = await stand.post()
    assert status == 400
    assert b"short-lived-3" not in body, "nothing of a token comes back"
    assert stand.last_error["class"] == "auth"
    assert len(stand.provider.exchanges) == 3


RENEWALS = [
    # the exchange's answer, class, another try has a chance
    (web.HTTPServiceUnavailable, "model_error", True),
    (web.HTTPTooManyRequests, "rate_limit", True),
    (None, "model_error", True),
    (web.HTTPBadRequest, "auth", False),
]


@pytest.mark.parametrize(
    ("refusal", "class_", "retryable"),
    RENEWALS,
    ids=["it is away", "it is limited", "it is silent", "it refuses"],
)
async def test_a_renewal_that_fails_says_why(
    stand: Stand,
    monkeypatch: pytest.MonkeyPatch,
    refusal: type[web.HTTPError] | None,
    class_: str,
    retryable: bool,
) -> None:
    await stand.post()
    stand.provider.taken_back = {"Bearer short-lived-1"}
    if refusal is None:
        monkeypatch.setattr(identity, "EXCHANGE_SECONDS", 0.1)
        stand.provider.held = asyncio.Event()
    else:
        stand.provider.refusal = web.Response(status=refusal.status_code)
    status, body = await stand.post()
    error = stand.last_error
    assert (error["class"], error["retryable"]) == (class_, retryable)
    assert error["message"].startswith("cannot exchange the ServiceAccount's token: ")
    assert status == (502 if retryable else 400)
    assert b"short-lived-1" not in body, "nothing of a token comes back"
    assert stand.gate.ledger.account.complete, "nothing was charged for it"
    if stand.provider.held is not None:
        stand.provider.held.set()
    stand.provider.refusal = None
    assert (await stand.post())[0] == (200 if retryable else 400)


async def test_an_answer_that_comes_in_parts_is_read_whole(stand: Stand) -> None:
    stand.provider.in_parts = True
    assert (await stand.post())[0] == 200
    assert stand.provider.keys == ["Bearer short-lived-1"]


async def test_an_exchange_that_is_limited_is_waited_for_once(stand: Stand) -> None:
    stand.provider.refusal = web.json_response({}, status=429, headers={"Retry-After": "1"})
    waiting: list[str | None] = []
    stand.provider.on_exchange = lambda: waiting.append(stand.gate.ledger.account.waiting_until)
    assert (await stand.post())[0] == 502
    stand.provider.refusal = None
    assert (await stand.post())[0] == 200
    assert waiting == [None, None], "not asked before the time that it has named"
    assert stand.gate.ledger.account.waited == 1.0


async def test_a_stop_does_not_wait_for_a_token(stand: Stand) -> None:
    stand.provider.held = asyncio.Event()
    asked = asyncio.create_task(stand.post())
    await asyncio.wait_for(stand.provider.reached.wait(), 5)
    exchange = stand.gate.current
    assert exchange is not None
    exchange.abandon = "estimate"
    assert (await asyncio.wait_for(asked, 10))[0] == 503
    stand.provider.held.set()


REFUSALS = [
    # name, status, body, class, another try has a chance
    (
        "a subject that is not trusted",
        400,
        {"error": "invalid_grant", "error_description": f"no mapping for {SUBJECT}"},
        "auth",
        False,
    ),
    ("no rights", 403, {"error": {"message": "not enabled"}}, "auth", False),
    ("no such path", 404, {}, "auth", False),
    ("a server that fails", 503, {"error": "busy"}, "model_error", True),
    ("no token", 200, {"token_type": "Bearer"}, "model_error", False),
    ("a token that is no header", 200, {"access_token": "a\nb"}, "model_error", False),
    ("an error under 200", 200, {"error": "invalid_grant"}, "auth", False),
]


@pytest.mark.parametrize(
    ("status", "body", "class_", "retryable"),
    [r[1:] for r in REFUSALS],
    ids=[r[0] for r in REFUSALS],
)
async def test_an_exchange_that_fails_says_so_without_the_token(
    stand: Stand, status: int, body: Any, class_: str, retryable: bool, capfdbinary: Any
) -> None:
    stand.provider.refusal = web.json_response(body, status=status)
    answered, text = await stand.post()
    error = stand.last_error
    assert (error["class"], error["retryable"]) == (class_, retryable)
    assert answered == (502 if retryable else 400)
    assert error["message"].startswith("cannot exchange the ServiceAccount's token: ")
    assert "model.identity" in error["advice"]
    assert stand.provider.keys == []
    printed = capfdbinary.readouterr().out
    assert SUBJECT.encode() not in text + printed + json.dumps(error).encode()


async def test_without_a_serviceaccount_s_token_nothing_is_sent(
    stand: Stand, tmp_path: Path
) -> None:
    (tmp_path / "token").unlink()
    status, body = await stand.post()
    assert status == 502
    assert b"the token file cannot be read: No such file or directory" in body
    assert stand.provider.exchanges == stand.provider.keys == []


async def test_an_exchange_that_nobody_answers_may_pass(stand: Stand) -> None:
    settings = stand.gate.ledger.settings
    assert settings.identity is not None
    object.__setattr__(settings.identity, "token_url", "http://127.0.0.1:9/")
    assert (await stand.post())[0] == 502
    assert "the request to the token endpoint failed" in stand.last_error["message"]


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SUBJECT)
    loop = asyncio.get_running_loop()
    connection = BaseProtocol(loop)
    connection.connection_made(asyncio.Transport())
    content = aiohttp.StreamReader(connection, 2**16, loop=loop)

    class Pieces:
        """A session, and its one answer."""

        status = 200
        headers = CIMultiDictProxy(CIMultiDict[str]())

        def __init__(self) -> None:
            self.content = content

        @contextlib.asynccontextmanager
        async def post(self, *_: Any, **__: Any):
            content.feed_data(b'{"access_token": ')
            loop.call_soon(content.feed_data, b'"short-lived"}')
            loop.call_soon(content.feed_eof)
            yield self

    identity = Identity(token_url="http://x/token", token_file=tmp_path / "token")
    source = TokenSource(identity, Endpoint(upstream="http://x/v1"))
    assert await source.token(Pieces()) == "short-lived"  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", ['{"access_token": "short-lived-1"', '["short-lived-1"]'])
async def test_no_token_is_quoted_from_an_answer_that_is_none(stand: Stand, cut: str) -> None:
    stand.provider.refusal = web.Response(text=cut)
    _, answer = await stand.post()
    assert b"short-lived" not in answer
    assert "short-lived" not in json.dumps(stand.last_error)
    assert "access_token" in stand.last_error["message"]
