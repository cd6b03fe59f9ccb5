"""100 runs that never end by themselves: how far they get beyond their budget (tokens, cents), and
that nothing follows.

The gate is the real one, over HTTP; the model says as much as it likes, and keeps max_output_tokens
as the API does.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from gate_app import listening
from gate_process import event
from gatestand import GateStand

# pico-dollars a token, as in gatestand's prices
INPUT_PICO = 5_000_000
OUTPUT_PICO = 30_000_000
RUNS_OF_A_KIND = 50
MAX_OUTPUT = 128_000  # tokens that the model can answer


@dataclass
class Glutton:
    """tokens: (input, output) of each response."""

    chance: random.Random
    tokens: list[tuple[int, int]] = field(default_factory=list)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        asked = self.chance.randint(100, 20_000)
        wishes = self.chance.choice([self.chance.randint(1, 6_000), MAX_OUTPUT])
        cap = body.get("max_output_tokens", MAX_OUTPUT)
        assert 16 <= cap <= MAX_OUTPUT, "the API refuses less, and servers refuse more"
        said = min(wishes, cap)
        self.tokens.append((asked, said))
        usage = {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}
        response: dict[str, object] = {"id": "r", "usage": usage}
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        if wishes > cap:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        await stream.write(
            event(
                "response.incomplete" if wishes > cap else "response.completed", response=response
            )
        )
        return stream

    @property
    def total(self) -> int:
        return sum(asked + said for asked, said in self.tokens)

    @property
    def pico(self) -> int:
        return sum(asked * INPUT_PICO + said * OUTPUT_PICO for asked, said in self.tokens)


async def runaway(folder: Path, model: Glutton, limits: dict[str, int]) -> GateStand:
    """Ask until refused, and then some."""
    app = web.Application()
    app.router.add_post("/v1/responses", model.respond)
    async with (
        listening(app) as url,
        aiohttp.ClientSession() as client,
        GateStand(folder, url, dict(limits)).open() as stand,
    ):
        while await stand.ask(client, {"input": []}) == 200:
            assert len(model.tokens) < 500
        before = len(model.tokens)
        for _ in range(3):
            assert await stand.ask(client, {"input": []}) == 400
        assert len(model.tokens) == before, "nothing after the stop"
        return stand


@pytest.mark.parametrize("number", range(RUNS_OF_A_KIND))
async def test_tokens(tmp_path: Path, number: int) -> None:
    model = Glutton(random.Random(number))
    cap = model.chance.randint(100, 200_000)
    stand = await runaway(tmp_path, model, {"maxTokens": cap})
    last_input, _ = model.tokens[-1]
    assert model.total <= cap + last_input
    told = stand.message()
    assert (told["stop"]["class"], told["usage"]["totalTokens"], told["complete"]) == (
        "budget",
        model.total,
        True,
    )
    assert "limits.maxTokens" in told["stop"]["message"]


@pytest.mark.parametrize("number", range(RUNS_OF_A_KIND))
async def test_cents(tmp_path: Path, number: int) -> None:
    model = Glutton(random.Random(1000 + number))
    cents = model.chance.randint(1, 200)
    stand = await runaway(tmp_path, model, {"maxCostCents": cents})
    last_input, _ = model.tokens[-1]
    assert model.pico <= cents * 10_000_000_000 + last_input * INPUT_PICO
    told = stand.message()
    assert (told["stop"]["class"], told["usage"]["costMicroUSD"]) == (
        "budget",
        -(-model.pico // 1_000_000),
    )
    assert "limits.maxCostCents" in told["stop"]["message"]
