"""1,000 runs with cuts, clients that leave, gates that are restarted, retries and resumes.

Over text of 1.5 to 6 bytes a token: what is charged, against what the model really used, and the
same sums at gate, status, registry and metrics.

The gate's account with its state file, the operator's plan and metrics, and the registry's records
are the real ones; what lies between them, HTTP and Kubernetes, is left out.
"""

import json
import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from builders import NOON, agent_report, ended, given, job, kind, pod, run_json
from token_metrics import metered

from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import merge, record_of
from codexrun_operator.act.events import record_move
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.decide.plan import plan
from codexrun_operator.watch.cache import Cache
from codexrun_pod.gate import errors
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.account.meter import Account, InFlight, Received
from codexrun_pod.gate.input_size import input_size
from codexrun_pod.gate.policy.rules import admit
from codexrun_pod.gate.policy.verdicts import Admitted
from codexrun_pod.gate.settings import from_env
from codexrun_pod.gate.sse import LastEvent

RUNS = 1000
SEED = 20261129
STALL_SECONDS = 600
# Bytes a token, as o200k_base has them for such text; each piece of a conversation has its own.
TEXTS = {
    "prose": (3.2, 4.4),
    "code": (2.8, 4.3),
    "CJK": (2.5, 6.0),
    "base64": (1.5, 1.8),
}
FRAME_TOKENS = 4  # of a message, besides its text
PRICES = {
    "gpt-5.5": {
        "inputMicroUSDPerMTok": 5_000_000,
        "cachedInputMicroUSDPerMTok": 500_000,
        "outputMicroUSDPerMTok": 30_000_000,
    }
}
FIELDS = {
    "inputTokens": "input_tokens",
    "cachedInputTokens": "cached_input_tokens",
    "outputTokens": "output_tokens",
    "reasoningTokens": "reasoning_tokens",
    "totalTokens": "cost_tokens",
    "costMicroUSD": "cost_micro_usd",
}
CUT = errors.cut("model.example")

# How a request ends, and how often. "left" ways begin with a client that leaves.
WAYS = {
    "completed": 60,
    "incomplete": 3,
    "failed with usage": 2,
    "HTTP error": 4,
    "failed before it began": 3,
    "failed after it began": 4,
    "cut": 10,
    "completed without usage": 3,
    "left, completed": 4,
    "left, cut": 4,
    "left, never ended": 1,
    "gate killed": 2,
    "stopped": 2,
}
PROVIDER_BROKE_OFF = ("failed after it began", "cut", "completed without usage")
AGENT_BROKE_OFF = ("left, cut", "left, never ended", "gate killed")
ENDS_THE_RUN = ("left, never ended", "stopped")
EXACT = ("completed", "incomplete", "failed with usage", "left, completed")


class QuickLedger(Ledger):
    """Writes its state file only for the instance that comes after it."""

    def save(self, account: Account) -> None:
        self.account = account

    def publish(self) -> None:
        """Nobody reads the message before the end."""

    def leave_state(self) -> None:
        super().save(self.account)


@dataclass
class Conversation:
    """Items of the input, and the tokens that the provider counts for each."""

    chance: random.Random
    text: str
    items: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0

    def __post_init__(self) -> None:
        self.instructions = self._words(self.chance.randint(200, 20_000))

    def say(self) -> None:
        content = [{"type": "input_text", "text": self._words(self.chance.randint(20, 8000))}]
        self.items.append({"type": "message", "role": "user", "content": content})

    def _words(self, size: int) -> str:
        low, high = TEXTS[self.text]
        self.tokens += FRAME_TOKENS + math.ceil(size / self.chance.uniform(low, high))
        return f"{self.chance.random():.17f}".ljust(size, "x")[:size]

    @property
    def request(self) -> bytes:
        body = {"model": "gpt-5.5", "stream": True, "instructions": self.instructions}
        return json.dumps({**body, "input": self.items}).encode()

    def output_bytes(self, tokens: int) -> int:
        low, high = TEXTS[self.text]
        return int(tokens * self.chance.uniform(low, high))


@dataclass
class Run:
    """One run's gate, and what the model really used, beside what each request was charged."""

    number: int
    folder: Path
    conversation: Conversation
    max_tokens: int | None
    used: Counter[str] = field(default_factory=Counter)
    pico: int = 0
    requests: int = 0
    exact: bool = True
    # (way, charged, bound, really used) of the requests without usage
    unmetered: list[tuple[str, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = self.conversation.chance
        self.restart()

    def restart(self) -> None:
        """Another instance of the gate takes up what the last one left."""
        config = {
            "runId": "r",
            "jobType": "t",
            "attempt": 1,
            "upstreamURL": "http://model.example/v1",
            "port": 1,
            "models": ["gpt-5.5"],
            "prices": PRICES,
            "priceTable": "2026-11-29",
            "maxTokens": self.max_tokens,
        }
        if self.requests:
            self.ledger.leave_state()
        self.ledger = QuickLedger(
            from_env(
                {
                    "CODEXRUN_GATE": json.dumps(config),
                    "CODEXRUN_GATE_STATE": str(self.folder),
                }
            )
        )

    def play(self) -> dict[str, Any]:
        """Some turns, each with the tries that it takes; the gate's last message."""
        for _ in range(self.chance.randint(1, 6)):
            self.conversation.say()
            for _ in range(6):  # Codex tries a turn that often
                way = self.ask()
                if way is None or way in ENDS_THE_RUN:
                    return self.message()
                if self.chance.random() < 0.05:
                    self.restart()
                if way in ("completed", "completed without usage", "incomplete"):
                    break
        return self.message()

    def message(self) -> dict[str, Any]:
        ledger = self.ledger
        message = meter.message(ledger.account, ledger.settings.prices, "2026-11-29")
        told: dict[str, Any] = json.loads(message)
        return told

    def ask(self) -> str | None:
        """One request; how it ended, None if it was refused."""
        ledger = self.ledger
        admitted = admit(self.conversation.request, ledger.limits)
        if not isinstance(admitted, Admitted):
            ledger.settle(meter.stopped(ledger.account, admitted))
            return None
        self.requests += 1
        size = input_size(admitted.beginnings, ledger.account.counted)
        flight = InFlight(admitted.model, size, admitted.max_output, admitted.lowered)
        ledger.save(meter.sent(ledger.account, flight))
        before = ledger.account
        way = self.chance.choices(list(WAYS), list(WAYS.values()))[0]
        real = self.end(way, admitted.max_output)
        after = self.ledger.account
        if way not in EXACT:
            charged = after.usage.total - before.usage.total
            bound = charged + after.doubt - before.doubt
            self.unmetered.append((way, charged, bound, real))
            self.exact = self.exact and not charged
        return way

    def end(self, way: str, cap: int) -> int:
        """Let the request end; what the model has really used for it."""
        chance = self.chance
        ledger = self.ledger
        prices = ledger.settings.prices
        tokens_in = self.conversation.tokens
        tokens_out = min(cap, chance.randint(0, 4000))
        shown = tokens_out - int(tokens_out * chance.uniform(0, 0.3))  # the rest are thoughts
        seconds = tokens_out / chance.uniform(20, 300) + chance.uniform(0.01, 5)
        received = Received(self.conversation.output_bytes(shown), 0, seconds)
        cached = chance.randint(0, tokens_in)
        usage = {
            "input_tokens": tokens_in,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": tokens_out,
            "output_tokens_details": {"reasoning_tokens": tokens_out - shown},
            "total_tokens": tokens_in + tokens_out,
        }

        def answered(last: LastEvent, **how: bool) -> Account:
            given = replace(received, **how)
            return meter.answered(ledger.account, last, given, prices, NOON)

        def broken(error: errors.UpstreamError | None, charge: meter.Charge) -> Account:
            return meter.broken(ledger.account, error, received, charge, prices)

        if way in EXACT:
            kinds = {"incomplete": "incomplete", "failed with usage": "failed"}
            last = LastEvent(kinds.get(way, "completed"), usage)  # type: ignore[arg-type]
            ledger.settle(answered(last, left=way.startswith("left")))
            numbers = (tokens_in, cached, tokens_out, tokens_out - shown, tokens_in + tokens_out)
            self.used.update(dict(zip(FIELDS, numbers, strict=False)))
            self.pico += (tokens_in - cached) * 5_000_000 + cached * 500_000
            self.pico += tokens_out * 30_000_000
            return tokens_in + tokens_out
        if way == "HTTP error":
            error = errors.read("overloaded", NOON, status=503)
            ledger.settle(meter.noted(ledger.account, error, "d", 120.0, NOON))
            return 0
        if way == "failed before it began":
            ledger.settle(answered(LastEvent("failed"), began=False))
            return 0
        if way == "failed after it began":
            ledger.settle(answered(LastEvent("failed")))
        elif way == "completed without usage":
            ledger.settle(answered(LastEvent("completed")))
        elif way == "cut":
            ledger.settle(broken(CUT, meter.unmetered(None, received)))
        elif way == "left, cut":
            ledger.settle(broken(CUT, meter.unmetered(None, replace(received, left=True))))
        elif way == "left, never ended":
            received = Received(0, 0, STALL_SECONDS + 5.0)
            tokens_out = min(
                cap, int(STALL_SECONDS * chance.uniform(20, 300))
            )  # all of it thoughts
            ledger.settle(broken(None, "at_most"))
        elif way == "gate killed":
            tokens_out = chance.randint(0, cap)  # the model goes on, and nobody reads it
            self.restart()
        elif way == "stopped":
            ledger.settle(broken(None, "estimate"))
        return tokens_in + tokens_out


def ended_run(number: int, message: dict[str, Any]) -> tuple[CodexRun, CodexRun]:
    """The run before and after the operator has seen its pod end."""
    uid = f"00000000-0000-4000-8000-{number:012d}"
    before = CodexRun.model_validate(run_json("Running", uid=uid, name=f"run-{number}"))
    proven = message["completed"] > 0 and not {"lastError", "stop"} & message.keys()
    report = agent_report() if proven else agent_report(exitCode=1, turnCompleted=False)
    phase, code = ("Succeeded", 0) if proven else ("Failed", 1)
    agent = ended(code, report=report)
    gate = ended(0, report=message)
    status = plan(given(before, job(), pod(phase, agent=agent, gate=gate)), NOON).status
    assert status is not None
    return before, before.model_copy(update={"status": status})


def simulated(folder: Path) -> list[tuple[Run, dict[str, Any]]]:
    runs: list[tuple[Run, dict[str, Any]]] = []
    for number in range(RUNS):
        chance = random.Random(SEED + number)
        path = folder / str(number)
        path.mkdir()
        if runs and chance.random() < 0.15:  # goes on from the run before, with a gate of its own
            earlier = runs[-1][0].conversation
            conversation = Conversation(chance, earlier.text, list(earlier.items))
            conversation.instructions = earlier.instructions
            conversation.tokens = earlier.tokens
        else:
            conversation = Conversation(chance, chance.choice(list(TEXTS)))
        max_tokens = chance.choice([None, chance.randint(10_000, 500_000)])
        run = Run(number, path, conversation, max_tokens)
        runs.append((run, run.play()))
    return runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Run, dict[str, Any]]]:
    return simulated(tmp_path_factory.mktemp("runs"))


def unmetered(runs: list[tuple[Run, dict[str, Any]]], ways: tuple[str, ...]) -> Any:
    """(run, charged, bound, really used) of all requests that ended in these ways."""
    for run, _ in runs:
        for way, charged, bound, real in run.unmetered:
            if way in ways:
                yield run, charged, bound, real


def test_every_way_was_taken_often(runs: list[tuple[Run, dict[str, Any]]]) -> None:
    ways = Counter(way for run, _ in runs for way, *_ in run.unmetered)
    assert min(ways[way] for way in WAYS if way not in EXACT) > 20, ways
    assert sum(run.exact for run, _ in runs) > 100


def test_what_was_metered_is_charged_exactly(runs: list[tuple[Run, dict[str, Any]]]) -> None:
    for run, message in runs:
        told = message["usage"]
        assert message["requests"] == run.requests
        assert message["complete"] is run.exact
        assert ("atMostTokens" in told) is not run.exact
        if run.exact:
            assert {name: told[name] for name in run.used} == run.used
            assert told["costMicroUSD"] == -(-run.pico // 1_000_000)


def test_the_bound_is_one(runs: list[tuple[Run, dict[str, Any]]]) -> None:
    for run, message in runs:
        real = run.used["totalTokens"] + sum(real for *_, real in run.unmetered)
        told = message["usage"]
        assert real <= told.get("atMostTokens", told["totalTokens"])
        assert told["totalTokens"] <= told.get("atMostTokens", told["totalTokens"])
        for _, charged, bound, really in run.unmetered:
            assert charged <= bound
            assert really <= bound


def test_an_agent_that_breaks_off_gains_nothing(runs: list[tuple[Run, dict[str, Any]]]) -> None:
    for _, charged, _, real in unmetered(runs, AGENT_BROKE_OFF):
        assert charged >= real


def test_a_provider_that_breaks_off_is_charged_about_what_was_used(
    runs: list[tuple[Run, dict[str, Any]]],
) -> None:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for run, charged, bound, real in unmetered(runs, PROVIDER_BROKE_OFF):
        assert charged <= bound
        sums[run.conversation.text][0] += charged
        sums[run.conversation.text][1] += real
    for text in ("prose", "code"):
        charged, real = sums[text]
        assert 0.65 <= charged / real <= 1.35, text
    for run, message in runs:
        agents = any(way not in PROVIDER_BROKE_OFF and real for way, *_, real in run.unmetered)
        real = run.used["totalTokens"] + sum(real for *_, real in run.unmetered)
        if run.conversation.text in ("prose", "code") and real and not agents:
            assert 0.65 <= message["usage"]["totalTokens"] / real <= 1.35, run.number


def test_the_sums_are_the_same_everywhere(runs: list[tuple[Run, dict[str, Any]]]) -> None:
    cache = Cache(lambda _: None)
    cache.job_types["hello"] = kind()
    counters = RunMetrics(cache, "codexrun")
    before_all = metered()
    gates, statuses, rows = Counter[str](), Counter[str](), Counter[str]()
    for run, message in runs:
        before, after = ended_run(run.number, message)
        usage = after.status.usage
        assert usage is not None
        said = usage.dump()
        record = merge(record_of(before), record_of(after))
        gates.update({name: message["usage"][name] for name in FIELDS})
        statuses.update({name: said[name] for name in FIELDS})
        rows.update({name: getattr(record, column) for name, column in FIELDS.items()})
        assert said.get("atMostTokens") == message["usage"].get("atMostTokens")
        assert record.at_most_tokens == said.get("atMostTokens")
        assert (said["requests"], record.requests) == (run.requests, run.requests)
        assert (said["complete"], record.usage_complete) == (run.exact, run.exact)
        record_move(before, after.status, counters)
    assert gates == statuses == rows
    counted = {name: after_all - before_all[name] for name, after_all in metered().items()}
    assert counted == {name: gates[name] for name in counted}
