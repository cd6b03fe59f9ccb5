"""What stands below a run that is shown in full: conditions, transitions, the cluster's Events; and
what it used of its limits. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from codexrun_cli import times
from codexrun_cli.output.table import Column, table
from codexrun_cli.terminal import Terminal

Json = Mapping[str, Any]

INDENT = "  "
TONES = {"True": "green", "False": "red", "Warning": "yellow"}


def sections(details: Json, now: datetime, terminal: Terminal) -> str:
    """Each with its title; what is not known, or empty, is left out. details: as
    `Transport.details` gives them."""
    return (
        _section("Conditions", details.get("conditions") or [], _conditions(now), terminal)
        + _section(
            "Transitions", timed(details.get("transitions") or []), _transitions(details), terminal
        )
        + _section("Events", details.get("events") or [], _events(now), terminal)
    )


def _section(
    title: str, rows: Sequence[Json], columns: Sequence[Column], terminal: Terminal
) -> str:
    narrower = replace(terminal, width=terminal.width - len(INDENT)) if terminal.width else terminal
    lines = table(rows, columns, narrower).splitlines()
    return f"\n{title}:\n" + "".join(f"{INDENT}{line}\n" for line in lines) if lines else ""


def _conditions(now: datetime) -> list[Column]:
    return [
        Column("TYPE", lambda one: one["type"]),
        Column("STATUS", lambda one: one["status"], _tone),
        Column("REASON", lambda one: one["reason"]),
        Column("AGE", lambda one: times.age(one["last_transition_time"], now), right=True),
        Column("MESSAGE", lambda one: one.get("message") or "", flexible=True),
    ]


def _tone(condition: Json) -> str | None:
    """Cancelled is the one that nobody hopes for."""
    return None if condition["type"] == "Cancelled" else TONES.get(condition["status"])


def _transitions(details: Json) -> list[Column]:
    several = any(move["attempt"] > 1 for move in details.get("transitions") or [])
    attempt = [Column("ATTEMPT", lambda move: str(move["attempt"]), right=True)] if several else []
    return [
        Column("AFTER", lambda move: move["after"], right=True),
        *attempt,
        Column("STATUS", lambda move: move["status"]),
        Column("REASON", lambda move: move.get("reason") or "", flexible=True),
    ]


def timed(transitions: Sequence[Json]) -> list[Json]:
    """With `after`: from the first of them, which tells more than an age once the run is old. Never
    backwards: start and end of the agent are by its node's clock, the rest by the operator's."""
    passed, found = 0.0, list[Json]()
    for move in transitions:
        first, when = times.parsed(transitions[0]["at"]), times.parsed(move["at"])
        passed = max(passed, (when - first).total_seconds()) if first and when else passed
        found.append({**move, "after": times.short(passed)})
    return found


def _events(now: datetime) -> list[Column]:
    return [
        Column("AGE", lambda event: times.age(event.get("at"), now), right=True),
        Column("TYPE", lambda event: event["type"], lambda event: TONES.get(event["type"])),
        Column("REASON", lambda event: event["reason"]),
        Column("MESSAGE", lambda event: event["message"], flexible=True),
    ]


def budget(run: Json, limits: Json) -> str:
    """`7% of 200000 tokens, 8% of $0.50`; nothing for a run without such limits."""
    used, parts = run.get("usage", {}), []
    if most := limits.get("max_tokens"):
        parts.append(f"{_percent(used.get('total_tokens'), most)} of {most} tokens")
    if cents := limits.get("max_cost_cents"):
        parts.append(f"{_percent(used.get('cost_micro_usd'), cents * 10_000)} of {dollars(cents)}")
    return ", ".join(parts)


def tokens_used(run: Json, limits: Json) -> str:
    """`1200/5000 tokens (24%)`; without a limit the number alone, nothing before the first."""
    used, most = run.get("usage", {}).get("total_tokens") or 0, limits.get("max_tokens")
    if most:
        return f"{used}/{most} tokens ({_percent(used, most)})"
    return f"{used} tokens" if used else ""


def money_used(run: Json, limits: Json) -> str:
    """`$0.12/$0.50 (24%)`; without a limit the sum alone, nothing where no price is known."""
    from codexrun_cli.output.runs import cost

    if cents := limits.get("max_cost_cents"):
        share = _percent(run.get("usage", {}).get("cost_micro_usd"), cents * 10_000)
        return f"{cost(run) or '$0'}/{dollars(cents)} ({share})"
    return cost(run)


def dollars(cents: int) -> str:
    return f"${cents / 100:.2f}"


def _percent(used: int | None, most: int) -> str:
    """Rounded down: 100% is the limit, and nothing below it."""
    return f"{(used or 0) * 100 // most}%"
