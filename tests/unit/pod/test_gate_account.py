"""Tokens, money, and what is charged when nobody knows."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate import usage
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.meter import Account, InFlight, Received
from codexrun_pod.gate.cost import Price, micro_dollars, pico_dollars
from codexrun_pod.gate.errors import UpstreamError
from codexrun_pod.gate.input_size import MAX_COUNTED, InputSize
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


SIZE = InputSize(at_most=1000, estimate=340, digest="d")


def flying(model="m", max_output=500, **fields):
    return meter.sent(Account(), InFlight(model, SIZE, max_output, **fields))


TEXT = Received(text_bytes=300)


def answered(account, last, received=TEXT, prices=PRICES):
    return meter.answered(account, last, received, prices, NOON)


def noted(account, error):
    return meter.noted(account, error, "d", 120.0, NOON)


def test_a_completed_response_is_counted_and_clears_the_last_error():
    before = noted(flying(), UpstreamError("model_error", "500"))
    after = answered(meter.sent(before, InFlight("m", SIZE)), LastEvent("completed", WIRE))
    assert (after.requests, after.completed, after.usage) == (2, 1, Usage(100, 40, 20, 5, 120))
    assert after.complete
    assert after.last_error is None
    assert after.in_flight is None


# Without usage: input 340 of at most 1000; output 300 bytes of text, of at most 500 tokens.
NOT_BEGUN = replace(TEXT, began=False)
LEFT = replace(TEXT, left=True)
WITHOUT_USAGE = [
    ("completed", LastEvent("completed"), TEXT, 340 + 100, 1500),
    ("incomplete", LastEvent("incomplete"), TEXT, 340 + 100, 1500),
    ("failed after the response began", LastEvent("failed"), TEXT, 340 + 100, 1500),
    ("failed before that: free", LastEvent("failed"), NOT_BEGUN, 0, None),
    ("the agent had left", LastEvent("completed"), LEFT, 1500, 1500),
    ("the agent had left, failed", LastEvent("failed"), LEFT, 1500, 1500),
    ("usage, though the agent had left", LastEvent("completed", WIRE), LEFT, 120, None),
    ("usage of a failure", LastEvent("failed", WIRE), TEXT, 120, None),
    ("usage of an incomplete one", LastEvent("incomplete", WIRE), TEXT, 120, None),
]


@pytest.mark.parametrize(
    ("last", "received", "total", "at_most"),
    [w[1:] for w in WITHOUT_USAGE],
    ids=[w[0] for w in WITHOUT_USAGE],
)
def test_what_a_response_is_charged(last, received, total, at_most):
    after = answered(flying(), last, received)
    assert (after.usage.total, after.complete, after.in_flight) == (total, at_most is None, None)
    assert meter.usage(after, PRICES)["atMostTokens"] == at_most


FAILED = LastEvent("failed")
CHARGES = [
    # last event, began, left, charge
    ("the provider broke off", None, True, False, "estimate"),
    ("it broke off before it had begun", None, False, False, "nothing"),
    ("it broke off, and the agent before", None, True, True, "at_most"),
    ("the agent left before anything came, and nothing did", None, False, True, "at_most"),
    ("an error before it had begun", FAILED, False, False, "nothing"),
    ("an error before it had begun, the agent gone", FAILED, False, True, "nothing"),
    ("a failure", FAILED, True, False, "estimate"),
    ("a failure, the agent gone", FAILED, True, True, "at_most"),
    ("an answer without usage", LastEvent("completed"), True, False, "estimate"),
]
TURNED_DOWN = [
    # code of the provider's error, bytes of text that came, charge
    ("too many requests", "rate_limit_exceeded", 0, 0),
    ("nothing is left of the account", "insufficient_quota", 0, 0),
    ("in the middle of an answer", "rate_limit_exceeded", 300, 340 + 100),
    ("another failure", "server_error", 0, 340),
]


@pytest.mark.parametrize(
    ("last", "began", "left", "charge"), [c[1:] for c in CHARGES], ids=[c[0] for c in CHARGES]
)
def test_who_ended_a_response_without_usage_decides_what_it_is_charged(last, began, left, charge):
    assert meter.unmetered(last, Received(began=began, left=left)) == charge


@pytest.mark.parametrize(
    ("code", "text_bytes", "total"), [t[1:] for t in TURNED_DOWN], ids=[t[0] for t in TURNED_DOWN]
)
def test_what_the_provider_turns_down_is_free(code, text_bytes, total):
    failed = LastEvent("failed", error={"code": code, "message": "no"})
    after = answered(flying(), failed, replace(TEXT, text_bytes=text_bytes))
    assert (after.usage.total, after.turn_tokens) == (total, total)
    assert after.last_error is not None


@pytest.mark.parametrize(
    ("seconds", "output", "at_most"),
    [
        (None, 400, 1500),
        (0.2, 400, 1500),  # a begun second can have 1,000 tokens
        (0.0, 0, 1000),
    ],
)
def test_no_model_writes_more_than_1000_tokens_a_second(seconds, output, at_most):
    received = Received(text_bytes=1200, seconds=seconds)
    after = meter.broken(flying(), None, received, "estimate", PRICES)
    assert after.usage.output == output
    assert after.usage.total + after.doubt == at_most


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**7),
    st.none() | st.floats(0, 10**4),
)
def test_an_estimate_is_never_above_the_bound(estimate, more, max_output, text_bytes, seconds):
    flight = InFlight("m", InputSize(estimate + more, estimate), max_output)
    account = meter.sent(Account(), flight)
    received = Received(text_bytes, seconds=seconds)
    charged = meter.broken(account, None, received, "estimate", PRICES)
    bound = meter.broken(account, None, received, "at_most", PRICES)
    assert charged.usage.total <= bound.usage.total == charged.usage.total + charged.doubt
    assert charged.pico_usd <= bound.pico_usd
    assert bound.doubt == 0


def test_only_tries_that_the_provider_broke_off_count_as_such_until_one_is_answered():
    cut = UpstreamError("model_error", "cut")
    account = meter.broken(flying(), cut, Received(300), "estimate", PRICES)
    assert (account.turn_tokens, account.turn_pico) == (440, 340 * 1_250_000 + 100 * 10_000_000)
    left = meter.broken(
        meter.sent(account, InFlight("m", SIZE)), cut, Received(), "at_most", PRICES
    )
    assert left.turn_tokens == 440, "what the agent left is its own"
    done = answered(meter.sent(left, InFlight("m", SIZE)), LastEvent("completed", WIRE))
    assert (done.turn_tokens, done.turn_pico) == (0, 0)


def test_what_was_counted_is_remembered_for_the_next_request_of_the_conversation():
    account = answered(flying(), LastEvent("completed", WIRE))
    assert account.counted == (("d", 100),)
    for number in range(2 * MAX_COUNTED):
        flight = InFlight("m", InputSize(1, 1, f"d{number}"))
        account = answered(meter.sent(account, flight), LastEvent("completed", WIRE))
    assert len(account.counted) == MAX_COUNTED
    assert account.counted[-1] == (f"d{2 * MAX_COUNTED - 1}", 100)
    estimated = answered(meter.sent(Account(), InFlight("m", SIZE)), LastEvent("completed"))
    assert estimated.counted == (), "an estimate is not known"


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
    is_policy = reason == "content_filter"
    assert after.last_error.class_ == ("policy" if is_policy else "model_error")
    assert after.last_error.retryable is not is_policy
    assert reason in after.last_error.message


LIMITED = UpstreamError("rate_limit", "later", 429, "2026-11-24T12:00:20Z", True, "", 20.0)
NOTED = [
    # name, before, error, waited, waiting until, refused
    (
        "a time is waited for",
        Account(),
        LIMITED,
        20.0,
        "2026-11-24T12:00:20.000+00:00",
        "",
    ),
    (
        "the last seconds of the limit too",
        Account(waited=100.0),
        LIMITED,
        120.0,
        "2026-11-24T12:00:20.000+00:00",
        "",
    ),
    ("no second more", Account(waited=100.5), LIMITED, 100.5, None, "d"),
    ("not in vain", Account(), replace(LIMITED, wait_seconds=3600.0), 0.0, None, "d"),
    (
        "a time that has gone by is a second",
        Account(),
        replace(LIMITED, wait_seconds=0.0),
        1.0,
        "2026-11-24T12:00:01.000+00:00",
        "",
    ),
    ("without a time", Account(), replace(LIMITED, wait_seconds=None), 0.0, None, ""),
    ("what another try may mend", Account(), UpstreamError("model_error", "500"), 0.0, None, ""),
    (
        "what none does",
        Account(),
        UpstreamError("policy", "no", retryable=False),
        0.0,
        None,
        "d",
    ),
]


@pytest.mark.parametrize(
    ("before", "error", "waited", "until", "refused"),
    [n[1:] for n in NOTED],
    ids=[n[0] for n in NOTED],
)
def test_an_error_is_waited_for_or_refused_or_tried_again(before, error, waited, until, refused):
    after = meter.noted(before, error, "d", 120.0, NOON)
    assert (after.waited, after.waiting_until, after.refused) == (waited, until, refused)
    assert after.last_error.class_ == error.class_


def test_a_wait_beyond_the_limit_says_until_when_and_which_limit():
    after = meter.noted(Account(waited=110.0), LIMITED, "d", 120.0, NOON)
    assert "2026-11-24T12:00:20Z" in after.last_error.text
    assert (
        "120 s in total (limits.maxWaitSeconds) and has already waited 110 s"
    ) in after.last_error.text
    assert meter.from_json(json.loads(json.dumps(meter.to_json(after)))) == after


@given(st.lists(st.floats(0, 200), max_size=20), st.floats(1, 300))
def test_a_run_never_waits_longer_than_it_may(waits, most):
    account = Account()
    for wait in waits:
        account = meter.noted(account, replace(LIMITED, wait_seconds=wait), "d", most, NOON)
        assert account.waited <= most
        assert (account.waiting_until is None) is (account.refused == "d")


def test_what_is_counted_beside_an_error_is_charged():
    after = meter.charged(flying(), parse(WIRE), PRICES)
    assert (after.usage.total, after.complete, after.in_flight) == (120, True, None)


def test_an_error_before_the_stream_costs_nothing():
    after = noted(flying(), UpstreamError("auth", "HTTP 401: no", 401))
    assert (after.usage, after.complete, after.last_error.class_) == (Usage(), True, "auth")


def test_a_broken_stream_is_charged_once():
    error = UpstreamError("model_error", "cut")
    after = meter.broken(flying(), error, Received(300), "estimate", PRICES)
    assert (after.usage, after.complete) == (Usage(340, 0, 100, 0, 440), False)
    assert meter.broken(after, None, Received(300), "estimate", PRICES) == after, "only once"


def test_a_model_without_a_price_makes_the_cost_unknown_for_good():
    account = answered(flying("other"), LastEvent("completed", WIRE))
    account = answered(meter.sent(account, InFlight("m", SIZE)), LastEvent("completed", WIRE))
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
    account = noted(meter.sent(account, InFlight("m", SIZE)), error)
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
            "retryable": True,
        },
    }


def test_the_longest_messages_fit():
    account = meter.stopped(Account(), Denied("guardrail", "\x00👩" * 400))
    account = noted(account, UpstreamError("model_error", "\x01👩" * 400, 500))
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
    | st.builds(
        InFlight,
        st.text(),
        st.builds(InputSize, st.integers(0, 2**53), st.just(0), st.text(max_size=32)),
        st.integers(0, 2**31),
        st.none() | st.text(),
    ),
    unpriced=st.none() | st.text(),
    doubt=st.integers(0, 2**53),
    turn_tokens=st.integers(0),
    turn_pico=st.integers(0),
    counted=st.lists(st.tuples(st.text(max_size=32), st.integers(0)), max_size=MAX_COUNTED).map(
        tuple
    ),
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


def test_the_bound_is_charged_as_if_all_of_it_was_written():
    account = meter.sent(Account(), InFlight("m", InputSize(100, 34), max_output=10))
    after = meter.charged_at_most(account, {"m": TIERED})
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


RATES = {
    "inputMicroUSDPerMTok": 5_000_000,
    "cachedInputMicroUSDPerMTok": 500_000,
    "outputMicroUSDPerMTok": 30_000_000,
}
DEARER = {name: 2 * price for name, price in RATES.items()}
WITH_TIERS = {
    "m": Price.from_json(
        {**RATES, "tiers": {"priority": DEARER}, "webSearchMicroUSDPerThousandCalls": 10_000_000}
    )
}
STANDARD_PICO = 60 * 5_000_000 + 40 * 500_000 + 20 * 30_000_000
SEARCH_PICO = 10_000_000_000  # a cent


@pytest.mark.parametrize("tier", [None, "", "auto", "default", "standard"])
def test_the_standard_tier_has_many_names(tier):
    after = answered(flying(), LastEvent("completed", WIRE, tier=tier), prices=WITH_TIERS)
    assert (after.pico_usd, after.priced) == (STANDARD_PICO, True)


def test_a_response_is_priced_at_the_tier_that_it_was_served_at():
    last = LastEvent("completed", WIRE, tier="priority")
    after = answered(flying(), last, prices=WITH_TIERS)
    assert (after.pico_usd, after.priced) == (2 * STANDARD_PICO, True)


def test_a_tier_without_a_price_makes_the_cost_unknown_for_good_and_says_so():
    account = answered(flying(), LastEvent("completed", WIRE, tier="scale"), prices=WITH_TIERS)
    account = answered(
        meter.sent(account, InFlight("m", SIZE)), LastEvent("completed", WIRE), prices=WITH_TIERS
    )
    message = json.loads(meter.message(account, WITH_TIERS, "t"))
    assert "costMicroUSD" not in message["usage"]
    assert message["unpriced"] == "service tier 'scale' of model 'm'"
    assert message["usage"]["totalTokens"] == 240


def test_the_bound_is_priced_at_the_dearest_tier():
    account = meter.sent(Account(), InFlight("m", InputSize(100, 34), max_output=10))
    after = meter.charged_at_most(account, WITH_TIERS)
    assert after.pico_usd == 2 * (100 * 5_000_000 + 10 * 30_000_000)


@pytest.mark.parametrize("ended", ["seen", "cut"])
def test_searches_are_paid_by_the_call_whether_the_end_was_seen_or_not(ended):
    received = Received(0, searches=7)
    if ended == "seen":
        last = LastEvent("completed", WIRE)
        after = answered(flying(), last, received=received, prices=WITH_TIERS)
        tokens = STANDARD_PICO
    else:
        after = meter.broken(flying(), None, received, "estimate", WITH_TIERS)
        tokens = 340 * 5_000_000
    assert after.pico_usd == tokens + 7 * SEARCH_PICO


def test_a_search_without_a_known_fee_makes_the_cost_unknown():
    last = LastEvent("completed", WIRE)
    after = answered(flying(), last, received=Received(0, searches=1))
    assert (meter.cost(after, PRICES), after.unpriced) == (None, "web_search")
    without = answered(flying(), last, received=Received(0, searches=0))
    assert meter.cost(without, PRICES) == 280


# -- state files of earlier and later versions ---------------------------------------------------

EARLIER = {
    "requests": 3,
    "completed": 2,
    "usage": {"input": 200, "cached": 0, "output": 40, "reasoning": 0, "total": 240, "written": 0},
    "pico_usd": 7,
    "priced": True,
    "complete": True,
    "stop": None,
    "last_error": None,
    "in_flight": None,
    "cut_short": False,
    "output": None,
}


def test_a_state_file_of_an_earlier_version_is_taken_up():
    account = meter.from_json(EARLIER)
    assert (account.requests, account.usage.total, account.complete, account.doubt) == (
        3,
        240,
        True,
        0,
    )


def test_what_an_earlier_version_had_in_flight_is_charged_at_most():
    flight = {"model": "m", "request_bytes": 1000, "lowered": None, "streamed_bytes": 50}
    account = meter.charged_at_most(meter.from_json({**EARLIER, "in_flight": flight}), PRICES)
    assert (account.usage.total, account.complete) == (240 + 1000 + 128_000, False)


@given(accounts)
def test_what_a_later_version_has_added_is_left_out(account):
    stored = json.loads(json.dumps(meter.to_json(account)))
    later = {**stored, "new": 1, "usage": {**stored["usage"], "new": 2}}
    assert meter.from_json(later) == account
