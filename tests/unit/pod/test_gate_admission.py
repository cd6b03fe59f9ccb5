"""Which requests go to the model, and what the budget does to them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate.cost import Price, pico_of_cents
from codexrun_pod.gate.policy.budget import MIN_OUTPUT_TOKENS
from codexrun_pod.gate.policy.rules import admit
from codexrun_pod.gate.policy.verdicts import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    Admitted,
    Denied,
    Limits,
    Tries,
)

LIMITS = Limits(models=frozenset({"m", "n"}))
PLAIN = {"model": "m", "stream": True, "store": False, "input": []}

FUNCTION = {"type": "function", "name": "exec_command"}
IN_INPUT = {
    "type": "additional_tools",
    "tools": [{"type": "namespace", "tools": [{"type": "web_search"}]}],
}

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
ANY_JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def start_of(value):
    return repr(value)[:20]


VERDICTS = [
    ("what Codex sends", {"tools": [FUNCTION, {"type": "custom"}], "service_tier": "auto"}, None),
    ("nulls where a key is not allowed", {"previous_response_id": None, "background": False}, None),
    ("no stream", {"stream": False}, "stream must be true"),
    ("a stream of 1", {"stream": 1}, "stream must be true"),
    ("background", {"background": True}, "background"),
    ("store", {"store": True}, "store"),
    ("store as a text", {"store": "yes"}, "store"),
    ("an earlier response", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("a conversation", {"conversation": {"id": "c"}}, "conversation"),
    ("a stored prompt", {"prompt": {"id": "p"}}, "prompt"),
    ("another model", {"model": "o"}, "model 'o' is not allowed; this run may use m, n"),
    ("no model", {"model": None}, "model None"),
    ("a model that is no text", {"model": ["m"]}, "model"),
    ("a dearer tier", {"service_tier": "priority"}, "service_tier 'priority'"),
    (
        "a hosted tool",
        {"tools": [FUNCTION, {"type": "web_search_preview"}]},
        "hosted tool 'web_search_preview'",
    ),
    (
        "a remote MCP server",
        {"tools": [{"type": "mcp", "server_url": "https://x"}]},
        "hosted tool 'mcp'",
    ),
    (
        "a hosted tool in the input of a code-mode model",
        {"input": [IN_INPUT]},
        "hosted tool 'web_search'",
    ),
]


@pytest.mark.parametrize(
    ("change", "refusal"), [v[1:] for v in VERDICTS], ids=[v[0] for v in VERDICTS]
)
def test_verdict(change, refusal):
    verdict = admit(json.dumps({**PLAIN, **change}).encode(), LIMITS)
    if refusal is None:
        assert isinstance(verdict, Admitted)
    else:
        assert isinstance(verdict, Denied)
        assert refusal in verdict.message
        assert (verdict.code, verdict.final) == ("guardrail", True)
        assert verdict.body["error"]["type"] == "codexrun_refused"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"\xff", b"1", b"[" * 100_000], ids=start_of
)
def test_what_is_no_request_is_refused_but_ends_nothing(raw):
    verdict = admit(raw, LIMITS)
    assert isinstance(verdict, Denied)
    assert not verdict.final


def test_a_stop_comes_before_everything():
    verdict = admit(b"{", Limits(models=frozenset(), stopping=True))
    assert (verdict.code, verdict.final) == ("stopping", False)


def test_once_stopped_always_stopped():
    first = Denied("guardrail", "earlier")
    assert (
        admit(json.dumps(PLAIN).encode(), Limits(models=frozenset({"m"}), stopped=first)) is first
    )


def test_a_key_that_occurs_twice_means_what_was_judged():
    verdict = admit(b'{"store":true,"model":"m","stream":true,"store":false}', LIMITS)
    assert json.loads(verdict.body)["store"] is False
    assert verdict.body.count(b"store") == 1


def test_text_survives_the_rewriting():
    text = "naïve 日本 👩‍👩‍👧 \u2028 \\u0000"
    body = json.dumps({**PLAIN, "input": text}).encode()
    assert json.loads(admit(body, LIMITS).body)["input"] == text
    lone = b'{"model":"m","stream":true,"input":"\\ud83d"}'
    assert json.loads(admit(lone, LIMITS).body)["input"] == "\ud83d"


BUDGETS = [
    # name, max_tokens, spent, asked for, sent, lowered ("refused" for a refusal)
    ("no budget", None, 10, None, None, False),
    ("no budget, the client's own cap", None, 10, 50, 50, False),
    ("more remains than the model can answer", 200_000, 400, None, None, False),
    ("as much remains as the model can answer", 128_400, 400, None, None, False),
    ("one less", 128_399, 400, None, 127_999, True),
    (
        "more remains than the model can answer, and more is asked for",
        10**6,
        0,
        10**6,
        10**6,
        False,
    ),
    ("asked for 0", 1000, 400, 0, 600, True),
    ("asked for -1, which some servers read as no limit", 1000, 400, -1, 600, True),
    ("the same without a budget", None, 0, -1, None, False),
    ("none asked for: what remains", 1000, 400, None, 600, True),
    ("more asked for than remains", 1000, 400, 700, 600, True),
    ("less asked for than remains", 1000, 400, 100, 100, False),
    ("the API's minimum remains", 1000, 984, None, MIN_OUTPUT_TOKENS, True),
    ("less than the API's minimum remains", 1000, 985, None, "refused", None),
    ("exactly spent", 1000, 1000, None, "refused", None),
    ("more than spent", 1000, 1400, None, "refused", None),
    ("a cap that is no number", 1000, 400, "all", 600, True),
]


@pytest.mark.parametrize(
    ("most", "spent", "asked", "sent", "lowered"),
    [b[1:] for b in BUDGETS],
    ids=[b[0] for b in BUDGETS],
)
def test_budget(most, spent, asked, sent, lowered):
    body = PLAIN if asked is None else {**PLAIN, "max_output_tokens": asked}
    verdict = admit(
        json.dumps(body).encode(), Limits(models=frozenset({"m"}), max_tokens=most, spent=spent)
    )
    if sent == "refused":
        assert (verdict.code, verdict.final) == ("budget", True)
        assert verdict.message.startswith("the budget is used up: ")
        assert f"{spent} of {most} tokens" in verdict.message
    else:
        assert json.loads(verdict.body).get("max_output_tokens") == sent
        assert verdict.lowered == ("limits.maxTokens" if lowered else None)
        assert verdict.max_output == min(128_000 if sent is None else sent, 128_000)


MOST_OUTPUT = DEFAULT_MAX_OUTPUT_TOKENS  # of the model, which is not told where more is left


@given(
    st.integers(1, 10**7),
    st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 10**6)), max_size=30),
)
def test_the_overshoot_is_at_most_one_input(most, wishes):
    """Whatever the model would like to say: input is not known before, output is capped."""
    spent = 0
    last_input = 0
    for tokens_in, tokens_out in wishes:
        verdict = admit(
            json.dumps(PLAIN).encode(),
            Limits(models=frozenset({"m"}), max_tokens=most, spent=spent),
        )
        if isinstance(verdict, Denied):
            break
        cap = json.loads(verdict.body).get("max_output_tokens", MOST_OUTPUT)
        spent += tokens_in + min(tokens_out, cap)
        last_input = tokens_in
    assert spent <= most + last_input


PRICES = {"m": Price(input=5_000_000, cached_input=500_000, output=30_000_000)}
# 1,000 tokens of output.
IN_CENTS = Limits(models=frozenset({"m"}), max_pico=pico_of_cents(3), prices=PRICES)


@pytest.mark.parametrize(
    ("spent_pico", "sent"),
    [
        pytest.param(0, 1000, id="all of it"),
        pytest.param(pico_of_cents(2), 333, id="a third: rounded down"),
        pytest.param(pico_of_cents(3) - 16 * 30_000_000, 16, id="the API's minimum"),
        pytest.param(pico_of_cents(3) - 15 * 30_000_000, None, id="less than that"),
        pytest.param(pico_of_cents(4), None, id="overspent"),
    ],
)
def test_a_budget_in_cents_caps_what_comes(spent_pico, sent):
    verdict = admit(json.dumps(PLAIN).encode(), replace(IN_CENTS, spent_pico=spent_pico))
    if sent is None:
        assert (verdict.code, verdict.final) == ("budget", True)
        assert "of $0.0300 (limits.maxCostCents)" in verdict.message
    else:
        assert json.loads(verdict.body)["max_output_tokens"] == sent
        assert verdict.lowered == "limits.maxCostCents"


def test_the_tighter_of_two_budgets_caps():
    both = replace(IN_CENTS, max_tokens=500)
    assert json.loads(admit(json.dumps(PLAIN).encode(), both).body)["max_output_tokens"] == 500
    assert (
        admit(json.dumps(PLAIN).encode(), replace(both, max_tokens=5000)).lowered
        == "limits.maxCostCents"
    )


def test_a_budget_in_cents_needs_a_price():
    verdict = admit(json.dumps(PLAIN).encode(), replace(IN_CENTS, prices={}))
    assert (verdict.code, "no known price" in verdict.message) == ("guardrail", True)


@pytest.mark.parametrize("most", [16, 4096, 100_000])
def test_a_cap_is_never_above_what_the_model_can_answer(most):
    """Servers refuse it (https://github.com/vllm-project/vllm/issues/42474)."""
    for spent in range(0, 200_000, 999):
        limits = Limits(models=frozenset({"m"}), max_tokens=200_000, spent=spent, max_output=most)
        cap = json.loads(admit(json.dumps(PLAIN).encode(), limits).body).get("max_output_tokens")
        assert cap is None or 16 <= cap < most
        assert (cap is None) == (200_000 - spent >= most)


@given(st.integers(), st.none() | st.integers(1, 10**6))
def test_no_cap_below_1_ever_leaves(asked, budget):
    limits = Limits(models=frozenset({"m"}), max_tokens=budget)
    verdict = admit(json.dumps({**PLAIN, "max_output_tokens": asked}).encode(), limits)
    if isinstance(verdict, Admitted):
        assert json.loads(verdict.body).get("max_output_tokens", 1) >= 1


CUT = "the stream from x ended before response.completed"
TRIES = [
    # name, spent, of which for tries of this turn, code
    ("the tries alone have spent it", 1200, 1200, "model_error"),
    ("with them", 1200, 300, "model_error"),
    ("it was spent before them", 1200, 100, "budget"),
    ("no try was broken off", 1200, None, "budget"),
]


@pytest.mark.parametrize(
    ("spent", "tried", "code"), [t[1:] for t in TRIES], ids=[t[0] for t in TRIES]
)
@pytest.mark.parametrize("kind", ["tokens", "money"])
def test_a_budget_that_went_to_broken_tries_is_the_models_error(spent, tried, code, kind):
    tries = None if tried is None else Tries("model_error", CUT, tried, tried * 30_000_000)
    limits = Limits(models=frozenset({"m"}), prices=PRICES, tries=tries)
    if kind == "tokens":
        limits = replace(limits, max_tokens=1000, spent=spent)
    else:
        limits = replace(limits, max_pico=pico_of_cents(3), spent_pico=spent * 30_000_000)
    verdict = admit(json.dumps(PLAIN).encode(), limits)
    assert (verdict.code, verdict.final) == (code, True)
    assert "limits." in verdict.message
    assert (CUT in verdict.message) == (code == "model_error")


@pytest.mark.parametrize("class_", ["rate_limit", "quota"])
def test_an_error_that_says_better_what_is_to_be_done_ends_the_run(class_):
    limits = Limits(
        models=frozenset({"m"}), max_tokens=1000, spent=1200, tries=Tries(class_, "no", 1200, 0)
    )
    assert admit(json.dumps(PLAIN).encode(), limits).final is False


def test_a_budget_in_cents_ends_with_what_has_no_price():
    verdict = admit(json.dumps(PLAIN).encode(), replace(IN_CENTS, unpriced="web_search"))
    assert (verdict.code, verdict.final) == ("guardrail", True)
    assert "web_search" in verdict.message
    assert "limits.maxCostCents" in verdict.message
    in_tokens = replace(IN_CENTS, max_pico=None, unpriced="web_search")
    assert isinstance(admit(json.dumps(PLAIN).encode(), in_tokens), Admitted)


@pytest.mark.parametrize(
    ("tier", "cap"), [(None, 1000), ("default", 1000), ("unknown", 1000), ("priority", 500)]
)
def test_a_budget_in_cents_is_held_at_the_tier_of_the_answers_so_far(tier, cap):
    """No other than the standard one is asked for."""
    dear = Price(input=1, cached_input=1, output=60_000_000)
    tiers = {"m": replace(PRICES["m"], tiers={"priority": dear})}
    body = admit(json.dumps(PLAIN).encode(), replace(IN_CENTS, prices=tiers, tier=tier)).body
    assert json.loads(body)["max_output_tokens"] == cap


def test_free_output_is_not_capped():
    free = {"m": Price(input=1, cached_input=0, output=0)}
    assert admit(json.dumps(PLAIN).encode(), replace(IN_CENTS, prices=free)).lowered is None


@given(ANY_JSON)
def test_no_json_breaks_it(value):
    for body in (value, {**PLAIN, "tools": value, "input": value, "max_output_tokens": value}):
        assert isinstance(admit(json.dumps(body).encode(), LIMITS), Admitted | Denied)
