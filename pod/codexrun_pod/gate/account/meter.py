"""The run's account: requests, usage, errors. Pure; each step returns a new account.

What the model counted is charged as it is. What it never counted is charged at an estimate, or at
the most that it can have been, and makes the account incomplete (docs/prices.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from codexrun_core.pod_contract import ReportKey
from codexrun_pod import termination
from codexrun_pod.gate import errors
from codexrun_pod.gate import usage as tokens
from codexrun_pod.gate.cost import Price, micro_dollars, pico_at_most, pico_dollars
from codexrun_pod.gate.errors import UpstreamError
from codexrun_pod.gate.input_size import Counted, InputSize, remember, text_tokens
from codexrun_pod.gate.policy.output import OutputVerdict
from codexrun_pod.gate.policy.verdicts import DEFAULT_MAX_OUTPUT_TOKENS, Denied
from codexrun_pod.gate.sse import LastEvent
from codexrun_pod.gate.usage import Usage

MAY_SHORTEN = (
    (ReportKey.LAST_ERROR, ReportKey.ADVICE),
    (ReportKey.LAST_ERROR, ReportKey.MESSAGE),
    (ReportKey.STOP, ReportKey.MESSAGE),
    (ReportKey.OUTPUT, ReportKey.MESSAGE),
)
MAX_UNPRICED_CHARS = 128
MIN_WAIT_SECONDS = 1.0  # where the time that a provider names has come already
TOKENS_PER_SECOND = 1000  # no provider writes faster, thoughts included

TURNED_DOWN = ("auth", "rate_limit", "quota")  # classes of errors that come instead of work

# What a response without usage is charged.
Charge = Literal["nothing", "estimate", "at_most"]


@dataclass(frozen=True)
class InFlight:
    """The request that is with the model now, as written down before it was sent.

    size: of its input. max_output: tokens, the smaller of the cap that was sent and what the model
    can answer. lowered: the limit to whose remainder the cap was set.
    """

    model: str
    size: InputSize
    max_output: int = DEFAULT_MAX_OUTPUT_TOKENS
    lowered: str | None = None


@dataclass(frozen=True)
class Received:
    """What came of a response: bytes of text, calls of the provider's web search, and the seconds
    from the request to its end, None if nobody knows when it ends.

    began: the provider had begun to answer. left: the agent's side broke off before the end.
    """

    text_bytes: int = 0
    searches: int = 0
    seconds: float | None = None
    began: bool = True
    left: bool = False


NOTHING_RECEIVED = Received()


@dataclass(frozen=True)
class Account:
    """requests: forwarded; completed: responses seen completed; cut_short: a request was turned
    down because the run was being stopped, so that Codex may end before its signal comes;
    dropped_keys: taken out of requests.

    priced: all that was used has a price; unpriced: what has none, where that is not the model.
    doubt: tokens by which the estimates would be higher at their bounds. turn_tokens, turn_pico:
    charged since the last completed response, for responses that the provider did not end. tier:
    the service tier of the last answer that said one.

    waited: seconds that were granted to a provider that wants to be asked again later;
    waiting_until: RFC 3339, while the run waits for that. refused: digest of the input that would
    be refused again.
    """

    requests: int = 0
    completed: int = 0
    usage: Usage = tokens.NOTHING
    pico_usd: int = 0
    priced: bool = True
    complete: bool = True
    stop: Denied | None = None
    last_error: UpstreamError | None = None
    in_flight: InFlight | None = None
    cut_short: bool = False
    dropped_keys: int = 0
    output: OutputVerdict | None = None  # the verdict on the final message, once one has come
    unpriced: str | None = None
    doubt: int = 0
    turn_tokens: int = 0
    turn_pico: int = 0
    counted: Counted = ()
    tier: str | None = None
    waited: float = 0.0
    waiting_until: str | None = None
    refused: str = ""


Prices = Mapping[str, Price]


def sent(account: Account, request: InFlight) -> Account:
    """Count a request that is about to be forwarded."""
    return replace(account, requests=account.requests + 1, in_flight=request, waiting_until=None)


def unmetered(
    last: LastEvent | None, received: Received, error: UpstreamError | None = None
) -> Charge:
    """Return what a response is charged whose usage never came; last: None if the provider broke
    off; error: the provider's own.

    Providers bill nothing before they begin to answer, and nothing that they turn down. An agent
    that left must not gain by it: nobody can say any longer what the model did.
    """
    if error is not None and error.class_ in TURNED_DOWN and not received.text_bytes:
        return "nothing"
    if not received.began and (last is not None or not received.left):
        return "nothing"
    return "at_most" if received.left else "estimate"


def noted(
    account: Account, error: UpstreamError, digest: str, max_wait: float, now: datetime
) -> Account:
    """Note an error of the provider, that nothing is in flight, and what follows: the run waits for
    the provider, or the same request is refused from now on.

    digest: of the request's input. max_wait: seconds that the run may wait in all.
    """
    account = replace(account, in_flight=None)
    wait = error.wait_seconds
    if wait is None or not error.retryable:
        refused = "" if error.retryable else digest
        return replace(account, last_error=error, waiting_until=None, refused=refused)
    wait = max(wait, MIN_WAIT_SECONDS)
    if account.waited + wait > max_wait:
        error = errors.not_waited_for(error, account.waited, max_wait)
        return replace(account, last_error=error, waiting_until=None, refused=digest)
    until = (now + timedelta(seconds=wait)).isoformat(timespec="milliseconds")
    return replace(
        account, last_error=error, waited=account.waited + wait, waiting_until=until, refused=""
    )


def answered(
    account: Account,
    last: LastEvent,
    received: Received,
    prices: Prices,
    now: datetime,
    *,
    mask: Callable[[str], str] = str,
) -> Account:
    """Charge a response that ended with its last event. mask: as for `errors.read`."""
    lowered = account.in_flight.lowered if account.in_flight else None
    used = tokens.parse(last.usage)
    failed = last.kind == "failed"
    error = errors.read(last.error or {}, now, mask=mask) if failed else None
    if used is None:
        account = broken(account, error, received, unmetered(last, received, error), prices)
    else:
        account = _charge_usage(account, used, last.tier, received.searches, prices)
    if last.kind == "completed":
        completed = account.completed + 1
        return replace(account, completed=completed, last_error=None, turn_tokens=0, turn_pico=0)
    if error is not None:
        return replace(account, last_error=error)
    if lowered and last.reason == "max_output_tokens":
        message = f"the budget ran out in the middle of a response ({lowered})"
        return stopped(account, Denied("budget", message))
    return replace(account, last_error=errors.incomplete(last.reason))


def charged(account: Account, used: Usage, prices: Prices) -> Account:
    """Charge what a provider has counted beside an error, or in an answer that nobody can use."""
    return _charge_usage(account, used, None, 0, prices)


def broken(
    account: Account,
    error: UpstreamError | None,
    received: Received,
    charge: Charge,
    prices: Prices,
) -> Account:
    """Charge a response whose usage was not seen; error: None if that was not the model's fault."""
    charged = _charge_unmetered(account, received, charge, prices)
    if error is None:
        return charged
    if charge == "estimate":
        charged = replace(
            charged,
            turn_tokens=account.turn_tokens + charged.usage.total - account.usage.total,
            turn_pico=account.turn_pico + charged.pico_usd - account.pico_usd,
        )
    return replace(charged, last_error=error)


def charged_at_most(account: Account, prices: Prices) -> Account:
    """Charge what a gate finds in flight that an earlier instance has left: the model may go on
    with it."""
    return broken(account, None, NOTHING_RECEIVED, "at_most", prices)


def stopped(account: Account, stop: Denied) -> Account:
    """Note the reason for which the run ends; the first one stands."""
    return account if account.stop is not None else replace(account, stop=stop)


def masked(account: Account, mask: Callable[[str], str]) -> Account:
    """Return the account with everything masked that others have said: it is about to be told."""
    error, stop = account.last_error, account.stop
    return replace(
        account,
        last_error=errors.masked(error, mask) if error is not None else None,
        stop=replace(stop, message=mask(stop.message)) if stop is not None else None,
        unpriced=mask(account.unpriced) if account.unpriced else account.unpriced,
        tier=mask(account.tier) if account.tier else account.tier,
    )


def _charge_usage(
    account: Account, used: Usage, tier: str | None, searches: int, prices: Prices
) -> Account:
    flight = account.in_flight
    if flight is None:
        return account
    price = prices.get(flight.model)
    rates = price.at_tier(tier) if price else None
    if price is not None and rates is None:
        account = _without_price(account, f"service tier {tier!r} of model {flight.model!r}")
    pico = pico_dollars(used, rates) if rates else 0
    account = _charge(account, used, pico, searches, prices)
    counted = remember(account.counted, flight.size.digest, used.input)
    return replace(account, counted=counted, tier=tier or account.tier)


def _charge_unmetered(
    account: Account, received: Received, charge: Charge, prices: Prices
) -> Account:
    flight = account.in_flight
    if flight is None or charge == "nothing":
        return replace(account, in_flight=None)
    price = prices.get(flight.model)
    max_output = flight.max_output
    if received.seconds is not None:
        max_output = min(max_output, math.ceil(received.seconds) * TOKENS_PER_SECOND)
    bound = tokens.of(flight.size.at_most, max_output)
    used = bound
    pico = pico_at_most(bound, price) if price else 0
    if charge == "estimate":
        output = min(text_tokens(received.text_bytes), max_output)
        used = tokens.of(flight.size.estimate, output)
        pico = pico_dollars(used, price) if price else 0
    account = _charge(account, used, pico, received.searches, prices)
    return replace(account, complete=False, doubt=account.doubt + bound.total - used.total)


def _charge(account: Account, used: Usage, pico: int, searches: int, prices: Prices) -> Account:
    price = prices.get(account.in_flight.model) if account.in_flight else None
    if price is not None and searches and price.search is None:
        account = _without_price(account, "web_search")
    fee = price.search or 0 if price else 0
    return replace(
        account,
        usage=account.usage + used,
        pico_usd=account.pico_usd + pico + searches * fee,
        priced=account.priced and price is not None,
        in_flight=None,
    )


def _without_price(account: Account, what: str) -> Account:
    return replace(account, priced=False, unpriced=account.unpriced or what)


def cost(account: Account, prices: Prices) -> int | None:
    """Return micro-dollars; None if a model without a price was used, or nothing has one."""
    return micro_dollars(account.pico_usd) if account.priced and prices else None


def usage(account: Account, prices: Prices) -> dict[str, Any]:
    """Return tokens and cost, as the termination message and the api have them."""
    used = account.usage
    return {
        "inputTokens": used.input,
        "cachedInputTokens": used.cached,
        "cacheWriteTokens": used.written or None,
        "outputTokens": used.output,
        "reasoningTokens": used.reasoning,
        "totalTokens": used.total,
        ReportKey.AT_MOST_TOKENS: None if account.complete else used.total + account.doubt,
        "costMicroUSD": cost(account, prices),
    }


def message(
    account: Account, prices: Prices, price_table: str | None, more: Mapping[str, Any] | None = None
) -> bytes:
    """Return the termination message's bytes; more: what it says about the log's upload, and about
    the output."""
    stop = account.stop
    content = {
        ReportKey.VERSION: 1,
        ReportKey.SOURCE: "gate",
        ReportKey.REQUESTS: account.requests,
        ReportKey.COMPLETED: account.completed,
        ReportKey.USAGE: usage(account, prices),
        ReportKey.PRICE_TABLE: price_table,
        ReportKey.COMPLETE: account.complete and account.in_flight is None,
        ReportKey.UNPRICED: account.unpriced and account.unpriced[:MAX_UNPRICED_CHARS],
        ReportKey.STOP: termination.failure(stop.code, stop.message) if stop else None,
        ReportKey.LAST_ERROR: account.last_error.json if account.last_error else None,
        ReportKey.CUT_SHORT: account.cut_short or None,
        ReportKey.DROPPED_KEYS: account.dropped_keys or None,
        **(more or {}),
    }
    return termination.encode(content, MAY_SHORTEN)


def to_json(account: Account) -> dict[str, Any]:
    """Serialise the account for the state file."""
    return asdict(account)


def from_json(stored: Mapping[str, Any]) -> Account:
    """Read an account from the state file of this version or an earlier one; what a later one has
    added is left out.

    Raises:
        KeyError, TypeError: it is not an account.
    """
    account: Account = _read(
        Account,
        {
            **stored,
            "usage": _read(Usage, stored["usage"]),
            "stop": _read(Denied, stored["stop"]),
            "last_error": _read(UpstreamError, stored["last_error"]),
            "in_flight": _in_flight(stored["in_flight"]),
            "output": _read(OutputVerdict, stored["output"]),
            "counted": tuple((str(digest), int(n)) for digest, n in stored.get("counted", ())),
        },
    )
    return account


def _in_flight(stored: Mapping[str, Any] | None) -> InFlight | None:
    if stored is None:
        return None
    if "size" in stored:
        size = _read(InputSize, stored["size"])
    else:  # earlier versions wrote down the bytes of the request alone
        request_bytes = stored["request_bytes"]
        size = InputSize(request_bytes, text_tokens(request_bytes))
    flight: InFlight | None = _read(InFlight, {**stored, "size": size})
    return flight


def _read(kind: Any, stored: Mapping[str, Any] | None) -> Any:
    if stored is None:
        return None
    return kind(**{f.name: stored[f.name] for f in fields(kind) if f.name in stored})
