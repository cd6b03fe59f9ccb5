"""What a run used, in words: tokens, money, and how much of its limits that is. Pure."""

from collections.abc import Mapping

from codexrun_cli.transports.schemas import Run


def cost(run: Run) -> str:
    """Return the money that is known; "" where no price is."""
    micro = run["usage"].get("cost_micro_usd") if "usage" in run else None
    if micro is None:
        return ""
    return f"${micro / 1e6:.4f}" if micro < 1_000_000 else f"${micro / 1e6:.2f}"


def tokens(run: Run) -> str:
    """Return the tokens used; "" before the first."""
    usage = run.get("usage", {})
    total = usage.get("total_tokens", 0)
    return f"{total}" if total or usage.get("complete") else ""


def budget(run: Run, limits: Mapping[str, int]) -> str:
    """Return `7% of 200000 tokens, 8% of $0.50`; nothing for a run without such limits."""
    usage = run.get("usage", {})
    parts = []
    if max_tokens := limits.get("max_tokens"):
        parts.append(f"{_percent(usage.get('total_tokens'), max_tokens)} of {max_tokens} tokens")
    if cents := limits.get("max_cost_cents"):
        share = _percent(usage.get("cost_micro_usd"), cents * 10_000)
        parts.append(f"{share} of {dollars(cents)}")
    return ", ".join(parts)


def tokens_used(run: Run, limits: Mapping[str, int]) -> str:
    """Return `1200/5000 tokens (24%)`; without a limit the number alone, nothing before the
    first."""
    total = run.get("usage", {}).get("total_tokens") or 0
    if max_tokens := limits.get("max_tokens"):
        return f"{total}/{max_tokens} tokens ({_percent(total, max_tokens)})"
    return f"{total} tokens" if total else ""


def money_used(run: Run, limits: Mapping[str, int]) -> str:
    """Return `$0.12/$0.50 (24%)`; without a limit the sum alone, nothing where no price is
    known."""
    if cents := limits.get("max_cost_cents"):
        share = _percent(run.get("usage", {}).get("cost_micro_usd"), cents * 10_000)
        return f"{cost(run) or '$0'}/{dollars(cents)} ({share})"
    return cost(run)


def dollars(cents: int) -> str:
    return f"${cents / 100:.2f}"


def _percent(used: int | None, limit: int) -> str:
    """Return a percentage, rounded down: 100% is the limit, and nothing below it."""
    return f"{(used or 0) * 100 // limit}%"
