"""What one run cost is the same number, to the micro-dollar, wherever it is told."""

import json
import logging

import pytest
from builders import NOON, PRICES, ended, given, job, kind, pod, run
from prometheus_client import REGISTRY

from codexrun_core.runs.record import record_of
from codexrun_operator.act.events import record_move
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.decide.plan import plan
from codexrun_operator.watch.cache import Cache
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.meter import Account, InFlight, Received
from codexrun_pod.gate.cost import Price
from codexrun_pod.gate.input_size import InputSize
from codexrun_pod.gate.sse import LastEvent

# A short request with input written and read, and a long one: 7 and 3 tokens make no whole
# micro-dollar.
WIRE = ((1000, 334, 200, 7), (300_001, 1, 0, 3))
MODEL = "gpt-6-sol"


def test_the_gate_s_last_message_status_row_log_line_and_metric_agree(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prices = {name: Price.from_json(price) for name, price in PRICES.for_gate(MODEL).items()}
    account = Account()
    for tokens_in, cached, written, tokens_out in WIRE:
        details = {"cached_tokens": cached, "cache_write_tokens": written}
        usage = {
            "input_tokens": tokens_in,
            "input_tokens_details": details,
            "output_tokens": tokens_out,
        }
        account = meter.answered(
            meter.sent(account, InFlight(MODEL, InputSize(9, 3))),
            LastEvent("completed", usage),
            Received(),
            prices,
            NOON,
        )
    # Dollars per million tokens: 2 / 0.20 / 2.50 / 10, and 4 / 0.40 / 5 / 15 for the long one.
    short = 466 * 2.0 + 334 * 0.2 + 200 * 2.5 + 7 * 10
    long = 300_000 * 4.0 + 1 * 0.4 + 3 * 15
    expected = 1_201_615  # micro-dollars, rounded up once
    assert expected - 1 < short + long <= expected

    said = json.loads(meter.message(account, prices, PRICES.version))
    before = run("Running", status={"model": MODEL, "observedGeneration": 1})
    agent = pod("Succeeded").agent
    end = given(before, job(model=MODEL), pod("Succeeded", agent=agent, gate=ended(0, report=said)))
    status = plan(end, NOON).status
    assert status is not None
    assert status.usage is not None
    after = before.model_copy(update={"status": status})

    labels = {"namespace": "codexrun", "job_type": "hello", "model": MODEL}
    counted = REGISTRY.get_sample_value("codexrun_cost_usd_total", labels) or 0.0
    cache = Cache(lambda _: None)
    cache.job_types["hello"] = kind()
    with caplog.at_level(logging.INFO):
        record_move(before, status, RunMetrics(cache, "codexrun"))
    (line,) = [record for record in caplog.records if record.getMessage() == "run.succeeded"]
    told = vars(line)["fields"]

    assert said["usage"]["costMicroUSD"] == expected
    assert status.usage.cost_micro_usd == expected
    assert record_of(after).cost_micro_usd == expected
    assert told["cost_micro_usd"] == expected
    assert (
        round(
            ((REGISTRY.get_sample_value("codexrun_cost_usd_total", labels) or 0) - counted)
            * 1_000_000
        )
        == expected
    )
    assert (status.usage.cost_cents, record_of(after).cost_cents, told["cost_cents"]) == (
        121,
        121,
        121,
    )
    assert (status.usage.cache_write_tokens, status.usage.price_table) == (200, PRICES.version)
