"""The run's account: requests, usage, errors. Pure; each step returns a new account.

What cannot be known is charged at an upper bound and makes the account incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from codexrun_core.pod_contract import ReportKey
from codexrun_pod import termination
from codexrun_pod.gate import errors
from codexrun_pod.gate import usage as tokens
from codexrun_pod.gate.cost import Price, micro_dollars, pico_at_most, pico_dollars
from codexrun_pod.gate.errors import UpstreamError
from codexrun_pod.gate.policy.output import OutputVerdict
from codexrun_pod.gate.policy.verdicts import Denied
from codexrun_pod.gate.sse import LastEvent
from codexrun_pod.gate.usage import Usage

MAY_SHORTEN = (
    (ReportKey.LAST_ERROR, ReportKey.MESSAGE),
    (ReportKey.STOP, ReportKey.MESSAGE),
    (ReportKey.OUTPUT, ReportKey.MESSAGE),
)


@dataclass(frozen=True)
class InFlight:
    """The request that is with the model now, as written down before it was sent. Sizes in
    bytes."""

    model: str
    request_bytes: int
    lowered: str | None = None  # the limit to whose remainder its output was cut
    streamed_bytes: int = 0


@dataclass(frozen=True)
class Account:
    """requests: forwarded; completed: responses seen completed; priced: no model without a price
    was used; cut_short: a request was turned down because the run was being stopped, so that Codex
    may end before its signal comes; dropped_keys: taken out of requests.
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


Prices = Mapping[str, Price]


def sent(account: Account, request: InFlight) -> Account:
    """Count a request that is about to be forwarded."""
    return replace(account, requests=account.requests + 1, in_flight=request)


def streamed(account: Account, total_bytes: int) -> Account:
    """Note how many bytes of the answer have come."""
    if account.in_flight is None:
        return account
    return replace(account, in_flight=replace(account.in_flight, streamed_bytes=total_bytes))


def answered(
    account: Account, last: LastEvent, output_seen: bool, prices: Prices, now: datetime
) -> Account:
    """Charge a response that ended with its last event.

    A response that failed before any output and without usage is free: providers bill what they
    generated.
    """
    used = tokens.parse(last.usage)
    lowered = account.in_flight.lowered if account.in_flight else None
    if used is not None:
        account = _charge(account, used, prices)
    elif last.kind == "failed" and not output_seen:
        account = replace(account, in_flight=None)
    else:
        account = charged_at_most(account, prices)
    if last.kind == "completed":
        return replace(account, completed=account.completed + 1, last_error=None)
    if last.kind == "failed":
        return replace(account, last_error=errors.from_event(last.error or {}, now))
    if lowered and last.reason == "max_output_tokens":
        message = f"the response was cut at what remained of the budget ({lowered})"
        return stopped(account, Denied("budget", message))
    return replace(account, last_error=errors.incomplete(last.reason))


def refused_upstream(account: Account, error: UpstreamError) -> Account:
    """Note an HTTP error, or no connection: nothing was generated."""
    return replace(account, in_flight=None, last_error=error)


def broken(account: Account, error: UpstreamError | None, prices: Prices) -> Account:
    """Charge a response whose end was not seen; error: None if that was not the model's fault."""
    account = charged_at_most(account, prices)
    return account if error is None else replace(account, last_error=error)


def charged_at_most(account: Account, prices: Prices) -> Account:
    """Charge what is in flight at its upper bound; also what a restarted gate does with what it
    finds."""
    flight = account.in_flight
    if flight is None:
        return account
    bound = tokens.upper_bound(flight.request_bytes, flight.streamed_bytes)
    return replace(_charge(account, bound, prices, pico_at_most), complete=False)


def stopped(account: Account, stop: Denied) -> Account:
    """Note the reason for which the run ends; the first one stands."""
    return account if account.stop is not None else replace(account, stop=stop)


def _charge(
    account: Account,
    used: Usage,
    prices: Prices,
    pico: Callable[[Usage, Price], int] = pico_dollars,
) -> Account:
    price = prices.get(account.in_flight.model) if account.in_flight else None
    return replace(
        account,
        usage=account.usage + used,
        pico_usd=account.pico_usd + (pico(used, price) if price else 0),
        priced=account.priced and price is not None,
        in_flight=None,
    )


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
        ReportKey.COMPLETE: account.complete,
        ReportKey.STOP: {
            ReportKey.CLASS: stop.code,
            ReportKey.MESSAGE: stop.message[: termination.LONGEST_MESSAGE],
        }
        if stop
        else None,
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
    """Read an account from the state file.

    Raises:
        KeyError, TypeError: it is not an account.
    """

    def maybe(kind: Any, key: str) -> Any:
        return kind(**stored[key]) if stored[key] is not None else None

    return Account(
        **{
            **stored,
            "usage": Usage(**stored["usage"]),
            "stop": maybe(Denied, "stop"),
            "last_error": maybe(UpstreamError, "last_error"),
            "in_flight": maybe(InFlight, "in_flight"),
            "output": maybe(OutputVerdict, "output"),
        }
    )
