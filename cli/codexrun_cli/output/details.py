"""What stands below a run that is shown in full: conditions, transitions, the cluster's Events.
Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from codexrun_cli import durations
from codexrun_cli.output.table import Column, table
from codexrun_cli.terminal import Terminal
from codexrun_cli.transports import Details, KubeEvent
from codexrun_cli.transports.schemas import Condition, Transition
from codexrun_core.times import short_duration

T = TypeVar("T")

INDENT = "  "
TONES = {"True": "green", "False": "red", "Warning": "yellow"}


class TimedTransition(Transition):
    """A transition with the time from the first one to it."""

    after: str


def sections(details: Details, now: datetime, terminal: Terminal) -> str:
    """Return each section with its title; what is not known, or empty, is left out."""
    return (
        _section("Conditions", details.get("conditions") or [], _conditions(now), terminal)
        + _section(
            "Transitions", timed(details.get("transitions") or []), _transitions(details), terminal
        )
        + _section("Events", details.get("events") or [], _events(now), terminal)
    )


def _section(
    title: str, rows: Sequence[T], columns: Sequence[Column[T]], terminal: Terminal
) -> str:
    narrower = replace(terminal, width=terminal.width - len(INDENT)) if terminal.width else terminal
    lines = table(rows, columns, narrower).splitlines()
    return f"\n{title}:\n" + "".join(f"{INDENT}{line}\n" for line in lines) if lines else ""


def _conditions(now: datetime) -> list[Column[Condition]]:
    return [
        Column("TYPE", lambda condition: condition["type"]),
        Column("STATUS", lambda condition: condition["status"], _tone),
        Column("REASON", lambda condition: condition["reason"]),
        Column(
            "AGE",
            lambda condition: durations.age(condition["last_transition_time"], now),
            right=True,
        ),
        Column("MESSAGE", lambda condition: condition.get("message") or "", flexible=True),
    ]


def _tone(condition: Condition) -> str | None:
    """Return the colour of a status; of Cancelled and Finished neither value is good or bad."""
    return (
        None if condition["type"] in ("Cancelled", "Finished") else TONES.get(condition["status"])
    )


def _transitions(details: Details) -> list[Column[TimedTransition]]:
    several = any(move["attempt"] > 1 for move in details.get("transitions") or [])
    attempt = Column[TimedTransition]("ATTEMPT", lambda move: str(move["attempt"]), right=True)
    return [
        Column("AFTER", lambda move: move["after"], right=True),
        *([attempt] if several else []),
        Column("STATUS", lambda move: move["status"]),
        Column("REASON", lambda move: move.get("reason") or "", flexible=True),
    ]


def timed(transitions: Sequence[Transition]) -> list[TimedTransition]:
    """Return transitions with `after`: from the first of them, which tells more than an age once
    the run is old. Never backwards: start and end of the agent are by its node's clock, the rest by
    the operator's."""
    passed = 0.0
    moves: list[TimedTransition] = []
    for move in transitions:
        first = durations.parsed(transitions[0]["at"])
        when = durations.parsed(move["at"])
        if first and when:
            passed = max(passed, (when - first).total_seconds())
        moves.append({**move, "after": short_duration(passed)})
    return moves


def _events(now: datetime) -> list[Column[KubeEvent]]:
    return [
        Column("AGE", lambda event: durations.age(event.get("at"), now), right=True),
        Column("TYPE", lambda event: event["type"], lambda event: TONES.get(event["type"])),
        Column("REASON", lambda event: event["reason"]),
        Column("MESSAGE", lambda event: event["message"], flexible=True),
    ]
