"""Where lines go while a run is followed: plainly to stderr, or above a status line that moves."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from codexrun_cli import durations
from codexrun_cli.errors import say
from codexrun_cli.follow.lines import ASCII_MARKS, MARKS, DisplayLine, Reader
from codexrun_cli.output import runs, usage
from codexrun_cli.output.table import fit, printable
from codexrun_cli.terminal import Terminal
from codexrun_cli.transports.schemas import Run
from codexrun_core.resources.phases import ENDED_STATUSES
from codexrun_core.times import short_duration

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
    """What following shows. `lines` are of the log, `state` is the run's newest, `note` is about
    following itself."""

    def lines(self, lines: list[DisplayLine]) -> None: ...
    def state(self, run: Run) -> None: ...
    def note(self, text: str) -> None: ...
    def tick(self) -> None: ...
    def close(self) -> None: ...


def text_of(line: DisplayLine, terminal: Terminal) -> str:
    """Return a line in the terminal's colours."""
    mark = MARKS.get(line.kind, "")
    if not terminal.utf8:
        mark = ASCII_MARKS.get(line.kind, mark)
    return terminal.paint(mark + line.text, COLOURS.get(line.kind)) if line.text or mark else ""


class Quiet:
    """--wait: nothing but the end."""

    def lines(self, lines: list[DisplayLine]) -> None:
        """Not shown."""

    def state(self, run: Run) -> None:
        """Not shown."""

    def note(self, text: str) -> None:
        say(text)

    def tick(self) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Nothing is open."""


class Plain(Quiet):
    """One line a change, to stderr. prefix: where several runs are followed at once."""

    def __init__(self, terminal: Terminal, prefix: str = "") -> None:
        self._terminal = terminal
        self._prefix = prefix
        self._last_state = ""

    def lines(self, lines: list[DisplayLine]) -> None:
        for line in lines:
            say(self._prefix + text_of(line, self._terminal))

    def state(self, run: Run) -> None:
        text = runs.state(run)
        if run["status"] == "queued":  # the estimate moves all the time; the place is news
            queue = run.get("queue")
            key = f"queued {queue['position'] if queue else None}"
        else:
            key = run["status"]
        if key != self._last_state:
            self._last_state = key
            say(f"{self._prefix}{self._terminal.paint(f'[{text}]', runs.colour(run))}")


class Live:
    """Lines above, and below them one that says where the run is; only on a terminal that can move
    its cursor."""

    SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(
        self, terminal: Terminal, reader: Reader, *, limits: Mapping[str, int], usual: float | None
    ) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._terminal = terminal
        self._reader = reader
        self._limits = limits
        self._usual = usual
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

    def lines(self, lines: list[DisplayLine]) -> None:
        from rich.text import Text

        for line in lines:
            self._console.print(Text.from_ansi(text_of(line, self._terminal)), soft_wrap=True)

    def state(self, run: Run) -> None:
        from rich.text import Text

        if self._run is None or self._run["status"] != run["status"]:
            text = self._terminal.paint(f"[{runs.state(run)}]", runs.colour(run))
            self._console.print(Text.from_ansi(text), soft_wrap=True)
            self._since = time.monotonic()
        self._run = run
        self.tick()

    def note(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text))

    def tick(self) -> None:
        from rich.text import Text

        if self._run is None:
            return
        if self._run["status"] in ENDED_STATUSES:
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
    run: Run,
    reader: Reader,
    now: datetime,
    *,
    limits: Mapping[str, int],
    usual: float | None,
    since: float,
) -> str:
    """Return where a run is, in one line: phase, wait for the provider, time, turn, tokens and cost
    against their limits, the last command. Pure.

    since: seconds in this phase, which is what counts while it stops.
    """
    match run["status"]:
        case "queued":
            parts = [runs.state(run)]
        case "stopping":
            parts = [f"stopping for {short_duration(since)}"]
        case status:
            parts = [str(status)]
    if provider := runs.waiting(run, now):
        parts.append(provider)
    lasted = durations.lasted(dict(run), now)
    if lasted is not None:
        parts.append(short_duration(lasted) + _compared(lasted, usual))
    if reader.turns:
        parts.append(f"turn {reader.turns}")
    parts += filter(None, (usage.tokens_used(run, limits), usage.money_used(run, limits)))
    if reader.last_command:
        parts.append(f"$ {printable(reader.last_command)}")
    return "  ".join(parts)


def _compared(lasted: float, usual: float | None) -> str:
    if not usual:
        return ""
    if lasted <= usual:
        return f" of about {short_duration(usual)}"
    return f", longer than usual ({short_duration(usual)})"
