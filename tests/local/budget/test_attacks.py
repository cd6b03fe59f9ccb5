"""An agent that wants to use more than is counted: whatever it does with its connections, its
requests and its gate, what it is charged is no less than what the model has used."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from codex_stand import Pod, until
from gate_app import listening
from gate_process import event
from gatestand import BODY, PRICES, GateStand

from codexrun_pod.gate import exchange

CREATED = event("response.created", response={"id": "r"})
DELTA = event("response.output_text.delta", delta="x" * 30)
SEARCH = event("response.output_item.done", item={"type": "web_search_call"})
ANSWER = {"input": [{"role": "user", "content": "go on"}]}
CENT = 10_000  # micro-dollars


def completed(tokens_in: int, tokens_out: int, **more: Any) -> bytes:
    usage = {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    return event("response.completed", response={"id": "r", "usage": usage, **more})


Script = Callable[["Model", web.StreamResponse], Awaitable[None]]


class Model:
    """Answers each request with the next script, the last one for all that follow; `used` is what
    it has really used."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.bodies: list[dict[str, Any]] = []
        self.used = 0
        self.at_once = self.most_at_once = 0
        self.go_on = asyncio.Event()

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(json.loads(await request.read()))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await stream.prepare(request)
            with contextlib.suppress(ConnectionError):
                await script(self, stream)
        finally:
            self.at_once -= 1
        return stream


def says(*chunks: bytes, used: int = 0, thinks: bool = False, cut: bool = False) -> Script:
    """thinks: waits for `go_on` before the last chunk."""

    async def script(model: Model, stream: web.StreamResponse) -> None:
        for chunk in chunks[:-1]:
            await stream.write(chunk)
        if thinks:
            await model.go_on.wait()
        model.used += used
        await stream.write(chunks[-1])
        if cut:
            assert stream._req is not None
            assert stream._req.transport is not None
            stream._req.transport.close()

    return script


@contextlib.asynccontextmanager
async def stand_of(
    model: Model, folder: Path, **limits: Any
) -> AsyncIterator[tuple[GateStand, aiohttp.ClientSession]]:
    app = web.Application()
    app.router.add_post("/v1/responses", model.respond)
    async with (
        listening(app) as url,
        aiohttp.ClientSession() as client,
        GateStand(folder, url, limits).open() as stand,
    ):
        try:
            yield stand, client
        finally:
            model.go_on.set()


@pytest.fixture(autouse=True)
def gates_look_after_their_clients_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.05)


async def leave(stand: GateStand, client: aiohttp.ClientSession, **body: Any) -> None:
    """Go away as soon as the answer has begun."""
    post = client.post(f"{stand.base}/v1/responses", json={**BODY, **ANSWER, **body})
    async with post as answer:
        await answer.content.readany()
        answer.close()


async def idle(stand: GateStand) -> None:
    async with asyncio.timeout(20):
        while stand.gate is not None and stand.gate.current is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def noticed(stand: GateStand) -> None:
    """The gate has seen that the client has left."""
    async with asyncio.timeout(5):
        while not left_alone(stand):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def left_alone(stand: GateStand) -> bool:
    """Whether there is an answer that nobody waits for."""
    current = stand.gate.current if stand.gate is not None else None
    return current is not None and not current.attended


async def test_leaving_while_the_model_thinks_does_not_save_the_thoughts(tmp_path: Path) -> None:
    """Recorded: leave after response.created, and ask again; the gate gave up after 30 s."""
    thoughts = says(CREATED, completed(500, 100_000), used=100_500, thinks=True)
    model = Model(thoughts, says(completed(500, 1), used=501))
    async with stand_of(model, tmp_path, maxTokens=100_000) as (stand, client):
        await leave(stand, client)
        again = asyncio.create_task(stand.ask(client, ANSWER))
        done, _ = await asyncio.wait({again}, timeout=0.5)
        assert not done, "it waits for the first one"
        assert len(model.bodies) == 1
        model.go_on.set()
        assert await again == 400
        told = stand.message()
    assert (told["usage"]["totalTokens"], told["complete"]) == (model.used, True)
    assert told["stop"]["class"] == "budget"
    assert len(model.bodies) == 1


async def test_a_model_that_never_ends_what_was_left_ends_the_run(tmp_path: Path) -> None:
    """Recorded: the same without an end; 115 times an hour."""
    model = Model(says(CREATED, b"", thinks=True))
    async with stand_of(model, tmp_path, stallSeconds=0.3) as (stand, client):
        await leave(stand, client)
        assert [await stand.ask(client, ANSWER) for _ in range(5)] == [400] * 5
        await idle(stand)
        told = stand.message()
    assert (told["stop"]["class"], told["complete"]) == ("stall", False)
    assert told["usage"]["outputTokens"] >= 1000
    assert (len(model.bodies), model.most_at_once) == (1, 1)


async def test_killing_the_gate_does_not_save_the_thoughts(tmp_path: Path) -> None:
    """Recorded: the agent can make the kernel kill the gate; the next one charged the bytes."""
    model = Model(says(CREATED, completed(500, 100_000), thinks=True))
    app = web.Application()
    app.router.add_post("/v1/responses", model.respond)
    async with listening(app) as url, aiohttp.ClientSession() as client:
        pod = Pod(tmp_path, Path("unused"), url)
        try:
            await asyncio.to_thread(pod.start_gate, max_tokens=120_000)
            gate = f"http://127.0.0.1:{pod.gate_port}/v1/responses"
            async with client.post(gate, json={**BODY, **ANSWER}) as answer:
                await answer.content.readany()
                assert pod.gate is not None
                pod.gate.kill()
                await asyncio.to_thread(pod.gate.wait)
            pod.restart_gate()
            await asyncio.to_thread(
                until, lambda: pod.message("gate")["usage"]["totalTokens"], "it is charged"
            )
            told = pod.message("gate")
            assert (told["complete"], told["requests"]) == (False, 1)
            assert told["usage"]["outputTokens"] == 120_000, "the cap that was sent"
            asked = await asyncio.to_thread(until, lambda: listens(pod), "it listens")
            assert asked
            async with client.post(gate, json={**BODY, **ANSWER}) as answer:
                assert (await answer.json())["error"]["code"] == "budget"
        finally:
            model.go_on.set()
            await asyncio.to_thread(pod.clear)
    assert len(model.bodies) == 1


def listens(pod: Pod) -> bool:
    return (pod.root / "gate.log").read_bytes().count(b"gate.listening") == 2


async def test_failures_are_not_free_once_the_model_has_begun(tmp_path: Path) -> None:
    """Recorded: response.failed before visible output was free, thoughts included."""
    model = Model(says(CREATED, event("response.failed", response={"error": {"code": "x"}})))
    async with stand_of(model, tmp_path, maxTokens=1000) as (stand, client):
        statuses = [await stand.ask(client, {"input": "x" * 600}) for _ in range(10)]
        told = stand.message()
    assert statuses[-1] == 400
    assert told["usage"]["inputTokens"] >= len(model.bodies) * 600 // 3
    assert told["stop"]["class"] == "model_error", "no agent has used the budget up"
    assert "limits.maxTokens" in told["stop"]["message"]


async def test_searches_are_paid_from_the_money(tmp_path: Path) -> None:
    """Recorded: seven searches cost nothing, and maxCostCents did not hold."""
    model = Model(says(CREATED, SEARCH * 7, completed(100, 10)))
    prices = {"gpt-5.5": {**PRICES["gpt-5.5"], "webSearchMicroUSDPerThousandCalls": 1000 * CENT}}
    search = {"allowedTools": ["web_search"], "prices": prices, "maxCostCents": 10}
    async with stand_of(model, tmp_path, **search) as (stand, client):
        statuses = [await stand.ask(client, ANSWER) for _ in range(4)]
        told = stand.message()
    assert statuses == [200, 200, 400, 400]
    assert told["usage"]["costMicroUSD"] == 2 * (7 * CENT + 800)
    assert told["stop"]["class"] == "budget"


async def test_searches_without_a_known_fee_end_a_run_with_a_limit_in_money(
    tmp_path: Path,
) -> None:
    model = Model(says(CREATED, SEARCH, completed(100, 10)))
    limits = {"allowedTools": ["web_search"], "maxCostCents": 10}
    async with stand_of(model, tmp_path, **limits) as (stand, client):
        statuses = [await stand.ask(client, ANSWER) for _ in range(2)]
        told = stand.message()
    assert statuses == [200, 400]
    assert told["stop"]["class"] == "guardrail"
    assert "costMicroUSD" not in told["usage"]
    assert told["unpriced"] == "web_search"


async def test_a_dearer_tier_is_not_had_at_the_standard_price(tmp_path: Path) -> None:
    model = Model(says(CREATED, completed(100, 10, service_tier="priority")))
    async with stand_of(model, tmp_path, maxCostCents=10) as (stand, client):
        statuses = [await stand.ask(client, ANSWER) for _ in range(2)]
        told = stand.message()
    assert statuses == [200, 400]
    assert "service tier 'priority'" in told["stop"]["message"]
    assert "costMicroUSD" not in told["usage"]


async def test_a_client_that_does_not_read_cannot_keep_the_gate_from_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "CLIENT_READ_SECONDS", 0.3)
    much = event("response.output_text.delta", delta="x" * 100_000)
    model = Model(says(*[much] * 200, completed(500, 90_000), used=90_500))
    async with stand_of(model, tmp_path) as (stand, client):
        async with client.post(f"{stand.base}/v1/responses", json={**BODY, **ANSWER}) as answer:
            async with asyncio.timeout(20):
                while not stand.ledger.account.completed:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            answer.close()
        told = stand.message()
    assert (told["usage"]["totalTokens"], told["complete"]) == (model.used, True)


async def test_leaving_before_anything_was_read_is_charged_all_the_same(tmp_path: Path) -> None:
    model = Model(says(CREATED, completed(500, 7000), used=7500, thinks=True))
    async with stand_of(model, tmp_path) as (stand, client):
        post = asyncio.create_task(stand.ask(client, ANSWER))
        async with asyncio.timeout(5):
            while not model.bodies:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        post.cancel()
        await asyncio.wait({post})
        model.go_on.set()
        await idle(stand)
        told = stand.message()
    assert (told["usage"]["totalTokens"], told["complete"]) == (model.used, True)


async def test_leaving_an_answer_that_is_cut_then_is_charged_at_the_bound(tmp_path: Path) -> None:
    model = Model(says(CREATED, DELTA, thinks=True, cut=True))
    async with stand_of(model, tmp_path) as (stand, client):
        await leave(stand, client)
        await noticed(stand)
        model.go_on.set()
        await idle(stand)
        told = stand.message()["usage"]
    assert told["outputTokens"] >= 1000, "a begun second can have so many, of which 10 were seen"
    assert told["totalTokens"] == told["atMostTokens"]


async def test_many_clients_that_come_and_leave_are_answered_one_after_the_other(
    tmp_path: Path,
) -> None:
    model = Model(says(CREATED, DELTA, completed(500, 100), used=600))
    async with stand_of(model, tmp_path) as (stand, client):

        async def come_and_leave(number: int) -> None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(0.01 * (number % 5) + 0.005):
                    await stand.ask(client, ANSWER)

        for _ in range(5):
            await asyncio.gather(*(come_and_leave(number) for number in range(10)))
        await idle(stand)
        told = stand.message()
    assert model.most_at_once == 1
    assert told["usage"]["totalTokens"] == model.used
    assert told["requests"] == len(model.bodies)


@pytest.mark.parametrize("cap", [-1, 0, "all", None, 1.5, True])
async def test_no_cap_of_the_agent_s_lifts_the_gate_s(tmp_path: Path, cap: object) -> None:
    model = Model(says(CREATED, completed(500, 100)))
    async with stand_of(model, tmp_path, maxTokens=5000) as (stand, client):
        assert await stand.ask(client, {**ANSWER, "max_output_tokens": cap}) == 200
    assert model.bodies[0]["max_output_tokens"] == 5000


async def test_another_beginning_is_not_had_at_the_tokens_of_an_earlier_one(
    tmp_path: Path,
) -> None:
    """A short conversation that was counted, and the same items after other instructions."""
    model = Model(says(CREATED, completed(10, 1)), says(CREATED, DELTA, thinks=True, cut=True))
    async with stand_of(model, tmp_path) as (stand, client):
        assert await stand.ask(client, ANSWER) == 200
        await leave(stand, client, instructions="x" * 50_000)
        await noticed(stand)
        model.go_on.set()
        await idle(stand)
        assert stand.message()["usage"]["inputTokens"] > 50_000
