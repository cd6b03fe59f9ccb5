"""What a run used, in words: tokens, money, and how much of its limits that is. Pure."""

from collections.abc import Mapping

from codexrun_cli.transports.schemas import Run
from codexrun_core.prices.money import cents, money


def cost(run: Run) -> str:
    """Return the money that is known; "" where no price is."""
    micro = run["usage"].get("cost_micro_usd") if "usage" in run else None
    if micro is None:
        return ""
    return money(micro)


def tokens(run: Run) -> str:
    """Return the tokens used; "" before the first."""
    usage = run.get("usage", {})
    total = usage.get("total_tokens", 0)
    return f"{total}" if total or usage.get("complete") else ""


def budget(run: Run, limits: Mapping[str, int]) -> str:
    """Return `7% of 200000 tokens, 8% of $0.50`; nothing for a run without such limits. What is not
    known is no 0%: straight on the cluster a run that goes on shows no usage."""
    usage = run.get("usage", {})
    if not _known(run):
        amounts = [f"{limits['max_tokens']} tokens"] if limits.get("max_tokens") else []
        amounts += [cents(limits["max_cost_cents"])] if limits.get("max_cost_cents") else []
        return f"{', '.join(amounts)} (usage unknown so far)" if amounts else ""
    parts = []
    if max_tokens := limits.get("max_tokens"):
        parts.append(f"{_percent(usage.get('total_tokens'), max_tokens)} of {max_tokens} tokens")
    if max_cents := limits.get("max_cost_cents"):
        share = _percent(usage.get("cost_micro_usd"), max_cents * 10_000)
        parts.append(f"{share} of {cents(max_cents)}")
    return ", ".join(parts)


def tokens_used(run: Run, limits: Mapping[str, int]) -> str:
    """Return `1200/5000 tokens (24%)`; without a limit the number alone, nothing before the
    first."""
    if not _known(run):
        return ""
    total = run.get("usage", {}).get("total_tokens") or 0
    if max_tokens := limits.get("max_tokens"):
        return f"{total}/{max_tokens} tokens ({_percent(total, max_tokens)})"
    return f"{total} tokens" if total else ""


def money_used(run: Run, limits: Mapping[str, int]) -> str:
    """Return `$0.12/$0.50 (24%)`; without a limit the sum alone, nothing where no price is
    known."""
    max_cents = limits.get("max_cost_cents")
    if max_cents and _known(run):
        share = _percent(run.get("usage", {}).get("cost_micro_usd"), max_cents * 10_000)
        return f"{cost(run) or money(0)}/{cents(max_cents)} ({share})"
    return cost(run)


def _known(run: Run) -> bool:
    usage = run.get("usage", {})
    return bool(usage.get("total_tokens") or usage.get("complete") or not run.get("started_at"))


def _percent(used: int | None, limit: int) -> str:
    """Return a percentage, rounded down: 100% is the limit, and nothing below it."""
    return f"{(used or 0) * 100 // limit}%"
