"""The demo model over HTTP."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web

from codexrun_demo_model.server import application


@pytest.fixture
async def model():
    """Posts a prompt: (status, body)."""
    runner = web.AppRunner(application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(base) as client:
        yield client
    await runner.cleanup()


async def ask(model, prompt, thread="th", **body):
    request = {"model": "m", "stream": True, "input": prompt, **body}
    async with model.post("/v1/responses", json=request, headers={"thread-id": thread}) as answer:
        return answer.status, await answer.text()


async def test_what_was_sent_is_in_the_stats(model):
    for _ in range(2):
        status, _ = await ask(model, "scenario: runaway", thread="a")
        assert status == 200
    await ask(model, "scenario: 500", thread="b")
    stats = await (await model.get("/stats")).json()
    assert stats["threads"]["a"] == {
        "requests": 2,
        "charged": 2,
        "inputTokens": 2000,
        "cachedInputTokens": 800,
        "outputTokens": 300,
        "reasoningTokens": 100,
        "totalTokens": 2300,
    }
    assert stats["threads"]["b"] == {"requests": 1}
    assert stats["total"]["requests"] == 3


async def test_it_only_streams(model):
    status, text = await ask(model, "hi", stream=False)
    assert status == 400
    assert "stream: true" in text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"input": 7}', b'{"input": [7]}'])
async def test_nonsense_is_a_400(model, body):
    async with model.post("/v1/responses", data=body) as answer:
        assert answer.status == 400


async def test_a_refusal_carries_its_headers(model):
    request = {"stream": True, "input": "scenario: 429-retry-after"}
    async with model.post("/v1/responses", json=request) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")


async def test_a_cut_stream_breaks_off(model):
    with pytest.raises(aiohttp.ClientError):
        await ask(model, "scenario: cut")


@pytest.mark.parametrize("scenario", ["stall", "no-headers"])
async def test_silence_lasts_until_the_client_leaves(model, scenario):
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ask(model, f"scenario: {scenario}"), 0.5)
        pytest.fail("it answered")


async def test_health_and_models(model):
    assert (await (await model.get("/healthz")).json()) == {"status": "ok"}
    assert (await (await model.get("/v1/models")).json())["data"]
