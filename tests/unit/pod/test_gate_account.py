"""Tokens, money, and what is charged when nobody knows."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate import usage
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.meter import Account, InFlight
from codexrun_pod.gate.cost import Price, micro_dollars, pico_dollars
from codexrun_pod.gate.errors import UpstreamError
from codexrun_pod.gate.policy.verdicts import Denied
from codexrun_pod.gate.sse import LastEvent
from codexrun_pod.gate.usage import Usage, parse

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PRICES = {"m": Price(input=1_250_000, cached_input=125_000, output=10_000_000)}
WIRE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 120,
}

USAGES = [
    ("as the API sends it", WIRE, Usage(100, 40, 20, 5, 120)),
    (
        "without details",
        {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        Usage(1, 0, 2, 0, 3),
    ),
    (
        "details are null",
        {**WIRE, "input_tokens_details": None, "output_tokens_details": None},
        Usage(100, 0, 20, 0, 120),
    ),
    ("no total", {"input_tokens": 1, "output_tokens": 2}, Usage(1, 0, 2, 0, 3)),
    ("a total below the sum", {**WIRE, "total_tokens": 3}, Usage(100, 40, 20, 5, 120)),
    ("a total above the sum counts", {**WIRE, "total_tokens": 150}, Usage(100, 40, 20, 5, 150)),
    (
        "more cached than input",
        {**WIRE, "input_tokens_details": {"cached_tokens": 400}},
        Usage(100, 100, 20, 5, 120),
    ),
    ("zeros", {"input_tokens": 0, "output_tokens": 0}, Usage()),
    ("absent", None, None),
    ("a negative number", {**WIRE, "output_tokens": -1}, None),
    ("a text", {**WIRE, "output_tokens": "20"}, None),
    ("true", {**WIRE, "output_tokens": True}, None),
    ("a fraction", {**WIRE, "output_tokens": 1.5}, None),
    ("no object", [1], None),
]


@pytest.mark.parametrize(("wire", "tokens"), [u[1:] for u in USAGES], ids=[u[0] for u in USAGES])
def test_usage(wire, tokens):
    assert parse(wire) == tokens


def test_cached_input_is_not_paid_twice():
    assert pico_dollars(parse(WIRE), PRICES["m"]) == 60 * 1_250_000 + 40 * 125_000 + 20 * 10_000_000
    assert micro_dollars(280_000_000) == 280
    assert micro_dollars(280_000_001) == 281
    assert micro_dollars(0) == 0


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=20))
def test_the_sum_of_costs_is_the_cost_of_the_sum(parts):
    each = [Usage(i, i // 3, o, 0, i + o) for i, o in parts]
    total = sum(each, usage.NOTHING)
    assert sum(pico_dollars(one, PRICES["m"]) for one in each) == pico_dollars(total, PRICES["m"])


def flying(**fields):
    return meter.sent(Account(), InFlight("m", 1000, **fields))


def answered(account, last, output_seen=True):
    return meter.answered(account, last, output_seen, PRICES, NOON)


def test_a_completed_response_is_counted_and_clears_the_last_error():
    before = meter.refused_upstream(flying(), UpstreamError("model_error", "500"))
    after = answered(meter.sent(before, InFlight("m", 1000)), LastEvent("completed", WIRE))
    assert (after.requests, after.completed, after.usage) == (2, 1, Usage(100, 40, 20, 5, 120))
    assert after.complete
    assert after.last_error is None
    assert after.in_flight is None


ESTIMATES = [
    ("completed without usage", LastEvent("completed"), True, 1000 + 300, False),
    ("incomplete without usage", LastEvent("incomplete"), True, 1000 + 300, False),
    ("failed after output, without usage", LastEvent("failed"), True, 1000 + 300, False),
    ("failed before any output: free", LastEvent("failed"), False, 0, True),
    ("failed with usage", LastEvent("failed", WIRE), False, 120, True),
    ("incomplete with usage", LastEvent("incomplete", WIRE), True, 120, True),
]


@pytest.mark.parametrize(
    ("last", "seen", "total", "complete"), [e[1:] for e in ESTIMATES], ids=[e[0] for e in ESTIMATES]
)
def test_what_a_response_is_charged(last, seen, total, complete):
    after = answered(meter.streamed(flying(), 300), last, seen)
    assert (after.usage.total, after.complete, after.in_flight) == (total, complete, None)


def test_a_response_cut_at_the_budget_is_a_budget_stop():
    after = answered(
        flying(lowered="limits.maxTokens"),
        LastEvent("incomplete", WIRE, reason="max_output_tokens"),
    )
    assert after.stop.code == "budget"
    assert after.last_error is None


@pytest.mark.parametrize(
    ("lowered", "reason"), [(None, "max_output_tokens"), ("limits.maxTokens", "content_filter")]
)
def test_any_other_incomplete_response_is_the_models_error(lowered, reason):
    after = answered(flying(lowered=lowered), LastEvent("incomplete", WIRE, reason=reason))
    assert after.stop is None
    assert after.last_error.class_ == "model_error"
    assert reason in after.last_error.message


def test_an_error_before_the_stream_costs_nothing():
    after = meter.refused_upstream(flying(), UpstreamError("auth", "HTTP 401: no", 401))
    assert (after.usage, after.complete, after.last_error.class_) == (Usage(), True, "auth")


def test_a_broken_stream_is_charged_at_its_bytes():
    after = meter.broken(meter.streamed(flying(), 300), UpstreamError("model_error", "cut"), PRICES)
    assert (after.usage, after.complete) == (Usage(1000, 0, 300, 0, 1300), False)
    assert meter.broken(after, None, PRICES) == after, "only once"


def test_a_model_without_a_price_makes_the_cost_unknown_for_good():
    account = meter.sent(Account(), InFlight("other", 10))
    account = answered(account, LastEvent("completed", WIRE))
    account = answered(meter.sent(account, InFlight("m", 10)), LastEvent("completed", WIRE))
    assert meter.cost(account, PRICES) is None
    assert "costMicroUSD" not in json.loads(meter.message(account, PRICES, None))["usage"]


def test_nothing_asked_yet_costs_nothing_where_prices_are_known():
    assert meter.cost(Account(), PRICES) == 0
    assert meter.cost(Account(), {}) is None


def test_the_first_stop_stands():
    account = meter.stopped(Account(), Denied("budget", "one"))
    assert meter.stopped(account, Denied("guardrail", "two")).stop.message == "one"


def test_the_message_is_what_the_operator_reads():
    account = answered(flying(), LastEvent("completed", WIRE))
    error = UpstreamError("rate_limit", "HTTP 429: later", 429, "2026-11-24T12:00:20Z")
    account = meter.refused_upstream(meter.sent(account, InFlight("m", 1)), error)
    account = meter.stopped(account, Denied("budget", "spent"))
    raw = meter.message(account, PRICES, "2026-11-24")
    assert len(raw) == 3000
    assert json.loads(raw) == {
        "v": 1,
        "src": "gate",
        "requests": 2,
        "completed": 1,
        "usage": {
            "inputTokens": 100,
            "cachedInputTokens": 40,
            "outputTokens": 20,
            "reasoningTokens": 5,
            "totalTokens": 120,
            "costMicroUSD": 280,
        },
        "priceTable": "2026-11-24",
        "complete": True,
        "stop": {"class": "budget", "message": "spent"},
        "lastError": {
            "class": "rate_limit",
            "status": 429,
            "message": "HTTP 429: later",
            "resetAt": "2026-11-24T12:00:20Z",
        },
    }


def test_the_longest_messages_fit():
    account = meter.stopped(Account(), Denied("guardrail", "\x00👩" * 400))
    account = meter.refused_upstream(account, UpstreamError("model_error", "\x01👩" * 400, 500))
    told = json.loads(meter.message(account, PRICES, "t"))
    assert told["stop"]["message"]
    assert told["lastError"]["class"] == "model_error"


accounts = st.builds(
    Account,
    requests=st.integers(0),
    completed=st.integers(0),
    pico_usd=st.integers(0),
    priced=st.booleans(),
    complete=st.booleans(),
    usage=st.builds(Usage, *[st.integers(0, 2**63)] * 5),
    stop=st.none() | st.builds(Denied, st.sampled_from(["budget", "guardrail"]), st.text()),
    last_error=st.none()
    | st.builds(UpstreamError, st.just("quota"), st.text(), st.none() | st.integers(), st.none()),
    in_flight=st.none()
    | st.builds(InFlight, st.text(), st.integers(0), st.none() | st.text(), st.integers(0)),
)


@given(accounts)
def test_the_state_file_gives_back_what_was_put_in(account):
    assert meter.from_json(json.loads(json.dumps(meter.to_json(account)))) == account


@given(accounts)
def test_a_message_always_fits_and_is_json(account):
    raw = meter.message(account, PRICES, "2026-11-24")
    assert len(raw) == 3000
    assert json.loads(raw)["usage"]["totalTokens"] == account.usage.total


@given(accounts)
def test_nothing_is_charged_twice(account):
    once = meter.charged_at_most(account, PRICES)
    assert once.in_flight is None
    assert meter.charged_at_most(once, PRICES) == once
    assert once.usage.total >= account.usage.total


# -- tiers -----------------------------------------------------------------------------------------

TIERED = Price(
    input=2_000_000,
    cached_input=200_000,
    output=10_000_000,
    cache_write=2_500_000,
    long_above=1000,
    long=Price(input=4_000_000, cached_input=400_000, output=15_000_000, cache_write=5_000_000),
)


@pytest.mark.parametrize(
    ("used", "pico"),
    [
        (
            Usage(1000, 300, 10, 0, 1010, 200),
            500 * 2_000_000 + 300 * 200_000 + 200 * 2_500_000 + 10 * 10_000_000,
        ),
        (
            Usage(1001, 300, 10, 0, 1011, 200),
            501 * 4_000_000 + 300 * 400_000 + 200 * 5_000_000 + 10 * 15_000_000,
        ),
    ],
    ids=["up to the bound", "a token above it: the whole request"],
)
def test_written_input_and_long_requests_have_their_own_prices(used, pico):
    assert pico_dollars(used, TIERED) == pico


def test_input_that_the_cache_takes_up_is_told_and_not_counted_twice():
    wire = {**WIRE, "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 500}}
    assert parse(wire) == Usage(100, 40, 20, 5, 120, 60)


def test_what_was_never_metered_is_charged_as_if_all_of_it_was_written():
    account = meter.streamed(meter.sent(Account(), InFlight("m", 100)), 10)
    after = meter.broken(account, None, {"m": TIERED})
    assert (after.usage, after.pico_usd) == (
        Usage(100, 0, 10, 0, 110),
        100 * 2_500_000 + 10 * 10_000_000,
    )


def test_a_price_without_a_cache_write_asks_what_input_costs():
    assert Price(input=2, cached_input=1, output=3).written == 2
    with pytest.raises(ValueError, match="negative"):
        Price.from_json(
            {
                "inputMicroUSDPerMTok": 1,
                "cachedInputMicroUSDPerMTok": 1,
                "outputMicroUSDPerMTok": 1,
                "cacheWriteMicroUSDPerMTok": -1,
            }
        )
