"""1,000 runs with random usage, cuts, retries, restarts of the gate and resumes: what the model
counted response by response is what status, registry and metrics say, to the token and the
micro-dollar; where it did not count they say the same, and that it is an estimate.

Everything but Codex and Kubernetes is the real code: the gate over HTTP, the operator's plan and
its metrics, the registry (SQLite).
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from builders import NOON, agent_report, ended, given, job, kind, pod, run_json
from gate_app import listening
from gate_process import event
from gatestand import GateStand
from token_metrics import metered

from codexrun_core.registry import Registry
from codexrun_core.resources import CodexRun
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import record_of
from codexrun_operator.act.events import record_move
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.decide.plan import plan
from codexrun_operator.watch.cache import Cache

RUNS = 1000
AT_ONCE = 20
SEED = 20261124
FIELDS = ("inputTokens", "cachedInputTokens", "outputTokens", "reasoningTokens", "totalTokens")
FILLER = event("response.output_text.delta", delta="x" * 80)


@dataclass
class Book:
    """What the model counted for one run, and how many answers it never counted."""

    tokens: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    unknown: int = 0

    def response(self, usage: dict[str, int]) -> None:
        self.tokens.update(usage)

    @property
    def micro_usd(self) -> int:
        fresh = self.tokens["inputTokens"] - self.tokens["cachedInputTokens"]
        pico = (
            fresh * 5_000_000
            + self.tokens["cachedInputTokens"] * 500_000
            + self.tokens["outputTokens"] * 30_000_000
        )
        return -(-pico // 1_000_000)


class Model:
    """Answers each request in one of its ways, and keeps a book for each run."""

    def __init__(self) -> None:
        self.chance = random.Random(SEED)
        self.books: dict[str, Book] = {}
        self.ways: Counter[str] = Counter()

    def usage(self) -> dict[str, int]:
        tokens_in = self.chance.randint(1, 200_000)
        tokens_out = self.chance.randint(0, 20_000)
        cached = self.chance.randint(0, tokens_in)
        reasoning = self.chance.randint(0, tokens_out)
        numbers = (tokens_in, cached, tokens_out, reasoning, tokens_in + tokens_out)
        return dict(zip(FIELDS, numbers, strict=True))

    async def respond(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        book = self.books.setdefault(request.headers["x-codex-window-id"], Book())
        book.requests += 1
        way = self.chance.choices(
            ["completed", "incomplete", "failed", "failed-late", "cut", "no-usage", "refused"],
            [70, 4, 4, 4, 8, 4, 6],
        )[0]
        self.ways[way] += 1
        if way == "refused":
            return web.json_response(
                {"error": {"message": "later"}}, status=self.chance.choice([429, 500, 503])
            )
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        filler = b"" if way == "failed" else FILLER * self.chance.randint(1, 20)
        sent = event("response.created", response={"id": "r"}) + filler
        used = self.usage()
        wire = {
            "input_tokens": used["inputTokens"],
            "input_tokens_details": {"cached_tokens": used["cachedInputTokens"]},
            "output_tokens": used["outputTokens"],
            "output_tokens_details": {"reasoning_tokens": used["reasoningTokens"]},
            "total_tokens": used["totalTokens"],
        }
        if way == "completed":
            sent += event("response.completed", response={"id": "r", "usage": wire})
            book.response(used)
        elif way == "incomplete":
            sent += event(
                "response.incomplete",
                response={"usage": wire, "incomplete_details": {"reason": "content_filter"}},
            )
            book.response(used)
        elif way == "no-usage":
            sent += event("response.completed", response={"id": "r"})
        elif way != "cut":
            sent += event("response.failed", response={"error": {"code": "server_error"}})
        if way in ("no-usage", "failed", "failed-late", "cut"):
            book.unknown += 1
        cut = self.chance.randint(0, len(sent))
        await stream.write(sent[:cut])
        await stream.write(sent[cut:])
        if way == "cut" and request.transport is not None:
            request.transport.close()
        return stream


async def one_run(
    number: int, folder: Path, model: str, client: aiohttp.ClientSession
) -> dict[str, Any]:
    """As Codex does it: some turns, a failed request again, a client that leaves in the middle; the
    gate's last word."""
    chance = random.Random(SEED + number)
    async with GateStand(folder, model, {}).open() as stand:
        for turn in range(chance.randint(1, 3)):
            body = {
                "input": [{"role": "user", "content": "y" * chance.randint(1, 2000), "turn": turn}]
            }
            for _ in range(3):
                headers = {"x-codex-window-id": f"run-{number}"}
                if chance.random() < 0.1:
                    await leave(stand, client, body, headers)
                elif await stand.ask(client, body, **headers) == 200:
                    break
            if chance.random() < 0.15:
                await quiet(stand)
                stand.restart()
        await quiet(stand)
        return stand.message()


async def leave(
    stand: GateStand, client: aiohttp.ClientSession, body: dict[str, Any], headers: dict[str, str]
) -> None:
    """Go away as soon as there is an answer, or before."""
    post = client.post(
        f"{stand.base}/v1/responses",
        json={"model": "gpt-5.5", "stream": True, **body},
        headers=headers,
    )
    async with post as answer:
        answer.close()


async def quiet(stand: GateStand) -> None:
    """The gate has read to the end what a client left."""
    async with asyncio.timeout(20):
        # there is no event for it
        while stand.gate is not None and stand.gate.current is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def ended_run(number: int, message: dict[str, Any]) -> tuple[CodexRun, CodexRun]:
    """The run before and after the operator has seen its pod end."""
    uid = f"00000000-0000-4000-8000-{number:012d}"
    resumed = {"retryOf": {"name": f"run-{number - 1}", "resume": True}} if number % 10 == 9 else {}
    before = CodexRun.model_validate(run_json("Running", uid=uid, name=f"run-{number}", **resumed))
    proven = message["completed"] > 0 and "lastError" not in message
    report = (
        agent_report()
        if proven
        else agent_report(exitCode=1, turnCompleted=False, finalMessage=None)
    )
    phase, code = ("Succeeded", 0) if proven else ("Failed", 1)
    agent = ended(code, report=report)
    gate = ended(0, report=message)
    decision = plan(given(before, job(), pod(phase, agent=agent, gate=gate)), NOON)
    assert decision.status is not None
    return before, before.model_copy(update={"status": decision.status})


async def test_the_model_status_registry_and_metrics_agree_on_1000_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = Model()
    app = web.Application()
    app.router.add_post("/v1/responses", model.respond)
    slots = asyncio.Semaphore(AT_ONCE)
    folders = [tmp_path / str(number) for number in range(RUNS)]
    for folder in folders:
        folder.mkdir()
    async with listening(app) as url, aiohttp.ClientSession() as client:

        async def play(number: int) -> dict[str, Any]:
            async with slots:
                return await one_run(number, folders[number], url, client)

        messages = await asyncio.gather(*(play(number) for number in range(RUNS)))
    capfd.readouterr()  # the gates' log lines

    cache = Cache(lambda _key: None)
    cache.job_types["hello"] = kind()
    counters = RunMetrics(cache, "codexrun")
    before_all = metered()
    statuses = Counter[str]()
    async with await Registry.open(f"sqlite:///{tmp_path}/registry.db") as registry:
        await registry.migrate()
        for number, message in enumerate(messages):
            before, after = ended_run(number, message)
            book = model.books[f"run-{number}"]
            usage = after.status.usage
            assert usage is not None
            said = usage.dump()
            assert (said["requests"], said["complete"]) == (book.requests, not book.unknown)
            told = {name: said[name] for name in (*FIELDS, "costMicroUSD")}
            statuses.update(told)
            if book.unknown:
                assert book.tokens["totalTokens"] < told["totalTokens"] <= said["atMostTokens"]
                assert book.micro_usd < told["costMicroUSD"]
            else:
                assert told == {
                    **{name: book.tokens[name] for name in FIELDS},
                    "costMicroUSD": book.micro_usd,
                }, number
                assert "atMostTokens" not in said
            if number % 5 == 0:  # most ends are the first that the registry hears of a run
                await registry.record(record_of(before))
            for _ in range(2):  # the mirror may see an end twice
                await registry.record(record_of(after))
            record_move(before, after.status, counters)  # once, after its own status write
        rows = [row async for row in every_row(registry)]

    assert len(rows) == RUNS
    columns = {
        "inputTokens": "input_tokens",
        "cachedInputTokens": "cached_input_tokens",
        "outputTokens": "output_tokens",
        "reasoningTokens": "reasoning_tokens",
        "totalTokens": "cost_tokens",
        "costMicroUSD": "cost_micro_usd",
    }
    stored = {name: sum(getattr(row, column) for row in rows) for name, column in columns.items()}
    assert statuses == stored
    assert sum(row.at_most_tokens is not None for row in rows) == sum(
        book.unknown > 0 for book in model.books.values()
    )
    counted = {name: after_all - before_all[name] for name, after_all in metered().items()}
    assert counted == {name: statuses[name] for name in counted}
    assert min(model.ways.values()) > 50, f"each way was taken often: {model.ways}"


async def every_row(registry: Registry) -> Any:
    after = None
    while True:
        page = await registry.page(Filter(), after, 100)
        for row in page.runs:
            yield row
        if (after := page.next_token) is None:
            return
