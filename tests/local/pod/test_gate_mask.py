"""A provider may quote what it was sent, an agent's Secret among it: the gate, which does not hold
that, neither keeps nor tells it."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from gate_app import gate_settings, listening
from programs import free_port

from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.server import Gate
from codexrun_pod.masking import Mask
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.main import give_mask

SECRET = 'canary/"team"+t0ken=58'
BODY = {"model": "m", "stream": True, "store": False, "input": "hello"}
BASE64 = base64.b64encode(b"x" + SECRET.encode()).decode()
PRICES = {
    "m": {
        "inputMicroUSDPerMTok": 1_000_000,
        "cachedInputMicroUSDPerMTok": 100_000,
        "outputMicroUSDPerMTok": 1_000_000,
    }
}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(kind: str, **fields: object) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()


COMPLETED = event("response.completed", response={"id": "r"})
FAILED = event("response.failed", response={"error": {"message": SECRET}})


def says(message: str, status: int = 400, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        body = {"error": {"message": message, "code": "some_code"}}
        return web.json_response(body, status=status, headers=headers)

    return answer


def streams(*events: bytes, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        head = {"Content-Type": "text/event-stream", **headers}
        return web.Response(body=b"".join(events), headers=head)

    return answer


def page(_: web.Request) -> Awaitable[web.StreamResponse]:
    async def answer() -> web.StreamResponse:
        return web.Response(
            status=403, text=f"<title>{SECRET} is blocked</title>", content_type="text/html"
        )

    return answer()


def shows(place: str) -> Answer:
    """Quotes it in what is no text of an error."""
    response = {
        "reason": {"status": "incomplete", "incomplete_details": {"reason": SECRET}},
        "tier": {"service_tier": SECRET, "usage": {"input_tokens": 1, "output_tokens": 1}},
    }[place]
    kind = "response.incomplete" if place == "reason" else "response.completed"
    return streams(event(kind, response=response))


ANSWERS: dict[str, list[Answer]] = {
    "an error": [says(f"Invalid value: {SECRET!r}.")],
    "half of it behind the cut of the text": [says("x" * 385 + SECRET)],
    "as base64": [says(f"invalid input {BASE64}")],
    "in a URL": [says(f"no such thing: {quote(SECRET, safe='')}")],
    "as JSON in a text": [says(json.dumps({"input": SECRET}))],
    "a fault": [says(SECRET, 500)],
    "an error under status 200": [says(SECRET, 200)],
    "waited for": [says(SECRET, 429, **{"Retry-After": "1"}), streams(COMPLETED)],
    "not waited for": [says(SECRET, 429, **{"Retry-After": "999"})],
    "a stream that failed": [streams(FAILED)],
    "an error inside of no stream": [streams(json.dumps({"error": {"message": SECRET}}).encode())],
    "the reason of an incomplete response": [shows("reason")],
    "the tier that was served": [shows("tier")],
    "a page": [page],
    "a redirect": [says("", 307, Location=f"/{quote(SECRET, safe='')}")],
    "a content coding": [streams(COMPLETED, **{"Content-Encoding": SECRET})],
}  # fmt: skip


class Stand:
    def __init__(self, gate: Gate, url: str, client: aiohttp.ClientSession) -> None:
        self.gate = gate
        self.url = url
        self.client = client
        self.answers: list[Answer] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        return await self.answers.pop(0)(request)

    async def give_mask(self, digests: object) -> int:
        async with self.client.put(f"{self.url}/mask", json=digests) as answer:
            return answer.status


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await made.answer(request)

    app = web.Application()
    app.router.add_post("/v1/responses", answer)
    async with listening(app) as there:
        settings = gate_settings(
            tmp_path, upstreamURL=f"{there}/v1", prices=PRICES, maxCostCents=None, maxWaitSeconds=9
        )
        gate = Gate(Ledger(settings))
        async with listening(gate.application()) as here, aiohttp.ClientSession() as client:
            made = Stand(gate, here, client)
            yield made
        await gate.session.close()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def digests(secret: str = SECRET) -> object:
    return Mask({"TOKEN": secret}).digests(b"k" * 32)


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_a_provider_quotes_is_neither_kept_nor_told(
    stand: Stand, tmp_path: Path, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert await stand.give_mask(digests()) == 200
    stand.answers = list(ANSWERS[name])
    async with stand.client.post(f"{stand.url}/v1/responses", json=BODY) as answer:
        with contextlib.suppress(aiohttp.ClientPayloadError):  # a stream that is none is broken off
            await answer.read()
    assert stand.answers == []
    places = {**files(tmp_path), "stdout": capfdbinary.readouterr().out}
    assert any(b"***" in content for content in places.values()), "it was told of"
    # its two halves: neither may be cut off from the other
    for part in (SECRET[:8], SECRET[-8:], quote(SECRET, safe="")[:12], BASE64[4:14]):
        for place, content in places.items():
            assert part.encode() not in content, (part, place)


async def test_the_first_mask_stands_and_outlives_the_gate(stand: Stand) -> None:
    assert await stand.give_mask(digests()) == 200
    assert await stand.give_mask(digests("another-one")) == 409
    assert await stand.give_mask({}) == 409
    ledger = Ledger(stand.gate.ledger.settings)
    assert ledger.masked([f"a {SECRET} b", 7]) == ["a *** b", 7]


async def test_no_mask_is_taken_once_the_agent_has_begun(stand: Stand) -> None:
    stand.answers = [streams(COMPLETED)]
    async with stand.client.post(f"{stand.url}/v1/responses", json=BODY) as answer:
        await answer.read()
    assert await stand.give_mask(digests()) == 409
    assert stand.gate.ledger.masked(SECRET) == SECRET


@pytest.mark.parametrize("given", [[], {"key": 1}, {"key": "00", "forms": [["a", 1, "b"]]}])
async def test_what_is_no_mask_is_refused_and_another_may_follow(
    stand: Stand, given: object
) -> None:
    assert await stand.give_mask(given) == 400
    assert await stand.give_mask(digests()) == 200


def test_a_run_goes_on_where_its_gate_takes_no_mask(tmp_path: Path) -> None:
    """As one of an earlier version, which has no such route."""
    with (tmp_path / "log").open("wb") as file:
        log = Log(file.fileno())
        log.mask = Mask({"TOKEN": SECRET})
        give_mask(cast(Any, SimpleNamespace(gate_port=free_port())), log)
        log.close()
    (line,) = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (line["text"], line["level"]) == ("mask.not_taken", "warning")


async def test_a_mask_that_cannot_be_read_again_is_said(
    stand: Stand, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "mask.json").write_text("{")
    Ledger(stand.gate.ledger.settings)
    assert b"mask.lost" in capfdbinary.readouterr().out
