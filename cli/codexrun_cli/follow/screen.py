"""Where lines go while a run is followed: plainly to stderr, or above a status line that moves."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from codexrun_cli import times
from codexrun_cli.errors import say
from codexrun_cli.follow.lines import ASCII_MARKS, MARKS, Reader, Said
from codexrun_cli.output import details
from codexrun_cli.output import runs as shown
from codexrun_cli.output.table import fit, printable
from codexrun_cli.statuses import is_terminal
from codexrun_cli.terminal import Terminal

Run = Mapping[str, Any]

COLOURS = {
    "turn": "bold",
    "command": "cyan",
    "good": "green",
    "bad": "red",
    "warn": "yellow",
    "file": "magenta",
    "usage": "dim",
    "output": "dim",
    "dim": "dim",
    "plan": "blue",
}


class View(Protocol):
    """What following shows. `lines` are of the log, `state` is the run's newest, `word` is about
    following itself."""

    def lines(self, said: list[Said]) -> None: ...
    def state(self, run: Run) -> None: ...
    def word(self, text: str) -> None: ...
    def tick(self) -> None: ...
    def close(self) -> None: ...


def text_of(said: Said, terminal: Terminal) -> str:
    """A line in the terminal's colours."""
    mark = MARKS.get(said.kind, "")
    if not terminal.utf8:
        mark = ASCII_MARKS.get(said.kind, mark)
    return terminal.paint(mark + said.text, COLOURS.get(said.kind)) if said.text or mark else ""


class Quiet:
    """--wait: nothing but the end."""

    def lines(self, said: list[Said]) -> None:
        """Not shown."""

    def state(self, run: Run) -> None:
        """Not shown."""

    def word(self, text: str) -> None:
        say(text)

    def tick(self) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Nothing is open."""


class Plain(Quiet):
    """One line a change, to stderr. prefix: where several runs are followed at once."""

    def __init__(self, terminal: Terminal, prefix: str = "") -> None:
        self._terminal, self._prefix, self._said = terminal, prefix, ""

    def lines(self, said: list[Said]) -> None:
        for one in said:
            say(self._prefix + text_of(one, self._terminal))

    def state(self, run: Run) -> None:
        text = shown.state(run)
        if run["status"] == "queued":  # the estimate moves all the time; the place is news
            place = run.get("queue", {}).get("position")
            key = f"queued {place}"
        else:
            key = run["status"]
        if key != self._said:
            self._said = key
            say(f"{self._prefix}{self._terminal.paint(f'[{text}]', shown.colour(run))}")


class Live:
    """Lines above, and below them one that says where the run is; only on a terminal that can move
    its cursor."""

    SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(
        self, terminal: Terminal, reader: Reader, *, limits: Run, usual: float | None
    ) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._terminal, self._reader, self._limits, self._usual = terminal, reader, limits, usual
        self._plain = Plain(terminal)
        self._console = Console(
            stderr=True,
            width=terminal.width,
            no_color=not terminal.colour,
            highlight=False,
            markup=False,
        )
        self._live = RichLive(console=self._console, auto_refresh=False, transient=True)
        self._run: Run | None = None
        self._since = time.monotonic()  # of its present status, as far as it was watched
        self._live.start()

    def lines(self, said: list[Said]) -> None:
        from rich.text import Text

        for one in said:
            self._console.print(Text.from_ansi(text_of(one, self._terminal)), soft_wrap=True)

    def state(self, run: Run) -> None:
        from rich.text import Text

        if self._run is None or self._run["status"] != run["status"]:
            text = self._terminal.paint(f"[{shown.state(run)}]", shown.colour(run))
            self._console.print(Text.from_ansi(text), soft_wrap=True)
            self._since = time.monotonic()
        self._run = run
        self.tick()

    def word(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text))

    def tick(self) -> None:
        from rich.text import Text

        if self._run is None:
            return
        if is_terminal(self._run["status"]):
            self._live.update(Text(""), refresh=True)
            return
        moment = int(time.monotonic() * 8)
        spin = self.SPIN if self._terminal.utf8 else "|/-\\"
        since = time.monotonic() - self._since
        text = status_line(
            self._run,
            self._reader,
            datetime.now(UTC),
            limits=self._limits,
            usual=self._usual,
            since=since,
        )
        self._live.update(
            Text(fit(f"{spin[moment % len(spin)]} {text}", (self._terminal.width or 80) - 1)),
            refresh=True,
        )

    def close(self) -> None:
        from rich.text import Text

        self._live.update(Text(""), refresh=True)
        self._live.stop()


def status_line(
    run: Run, reader: Reader, now: datetime, *, limits: Run, usual: float | None, since: float
) -> str:
    """Where a run is, in one line: phase, time, turn, tokens and cost against their limits, the
    last command. Pure.

    since: seconds in this phase, which is what counts while it stops.
    """
    match run["status"]:
        case "queued":
            parts = [shown.state(run)]
        case "stopping":
            parts = [f"stopping for {times.short(since)}"]
        case status:
            parts = [str(status)]
    lasted = times.lasted(dict(run), now)
    if lasted is not None:
        parts.append(times.short(lasted) + (f" of about {times.short(usual)}" if usual else ""))
    if reader.turns:
        parts.append(f"turn {reader.turns}")
    parts += filter(None, (details.tokens_used(run, limits), details.money_used(run, limits)))
    if reader.last:
        parts.append(f"$ {printable(reader.last)}")
    return "  ".join(parts)
