"""`codexrun logs`: what the agent's container printed, byte for byte or in words, and as it goes
on."""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from codexrun_cli import context, options, run_selection
from codexrun_cli.errors import CommandError, Unreachable, say
from codexrun_cli.exit_codes import Code, of_run
from codexrun_cli.follow.log_printer import Printer
from codexrun_cli.transports import LogEvent, LogRange, Transport
from codexrun_cli.transports.schemas import Run
from codexrun_core.line_cutter import LineCutter
from codexrun_core.resources.phases import ENDED_STATUSES

LEVELS = ("debug", "info", "warning", "error")
POLL_SECONDS = 0.5
STATUS_ATTEMPTS = 60

Tail = Annotated[
    int | None, typer.Option("--tail", min=0, help="Show only this many lines from the end.")
]
LogSince = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="DURATION",
        callback=options.read_moment,
        help="Show only lines newer than this age: 90s, 10m, 2h.",
    ),
]
SinceTime = Annotated[
    str | None,
    typer.Option(
        "--since-time",
        metavar="TIME",
        callback=options.read_moment,
        help="Show only lines since this time (RFC 3339).",
    ),
]
Timestamps = Annotated[bool, typer.Option("--timestamps", help="Start each line with its time.")]
Grep = Annotated[
    str | None,
    typer.Option(
        "--grep", metavar="REGEXP", help="Show only lines that match this regular expression."
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="Print the log exactly as the pod printed it.")]
LogFormat = Annotated[
    str,
    typer.Option(
        "--format", metavar="pretty|jsonl", help="pretty (readable text) or jsonl (JSON lines)."
    ),
]
Level = Annotated[
    str | None,
    typer.Option(
        "--level", metavar="LEVEL", help="Lowest level to show: debug, info, warning or error."
    ),
]
ExitStatus = Annotated[
    bool,
    typer.Option("--exit-status", help="With -f: exit with a code that says how the run ended."),
]


def logs(
    ctx: typer.Context,
    name: options.OneName = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Keep printing until the run ends.")
    ] = False,
    tail: Tail = None,
    since: LogSince = None,
    since_time: SinceTime = None,
    timestamps: Timestamps = False,
    grep: Grep = None,
    raw: Raw = False,
    fmt: LogFormat = "pretty",
    level: Level = None,
    exit_status: ExitStatus = False,
) -> None:
    """Print a run's log. Once the run's pod is gone, this needs the REST API."""
    from codexrun_cli.transports.connection import opened

    printer = Printer(
        pattern(grep), level=read_level(level), raw=raw, jsonl=_jsonl(fmt), timestamps=timestamps
    )
    if raw and (grep or level or timestamps or fmt != "pretty"):
        raise typer.BadParameter(
            "--raw prints the log unchanged; leave out --grep, --level, --timestamps and --format"
        )
    log_range = LogRange(tail=tail, since=_rfc3339(since_time or since))
    with opened(context.flags(ctx)) as transport:
        run = run_selection.find_run(transport, name)
        terminal = context.out(ctx)
        if not follow:
            log = transport.log(run, log_range)
            if log.note:
                say(f"note: {log.note}")
            for event in _line_events(log.chunks):
                printer.print(event, terminal)
            return
        follow_log(transport, run, log_range, lambda event: printer.print(event, terminal))
        if exit_status:
            raise typer.Exit(of_run(final_status(transport, run)))


def follow_log(
    transport: Transport, run: Run, log_range: LogRange, show: Callable[[LogEvent], None]
) -> None:
    """Show each line to the end of the log; say once when the connection is lost."""
    connected = True
    try:
        for event in transport.follow_log(run, log_range):
            match event.kind:
                case "line":
                    connected = True
                    show(event)
                case "disconnected":
                    if connected:
                        say("connection lost, reconnecting...")
                    connected = False
                case "end":
                    if event.text:
                        say(f"note: {event.text.decode('utf-8', 'replace')}")
                    return
    except KeyboardInterrupt:
        say(f"\nno longer following; the run continues. To stop it: codexrun cancel {run['name']}")
        raise typer.Exit(Code.INTERRUPTED) from None


def final_status(transport: Transport, run: Run) -> str:
    """Return the status that the run ended with: the log's end may be a moment before it."""
    import time

    for _ in range(STATUS_ATTEMPTS):
        try:
            status = str(transport.run(run["run_id"])["status"])
        except Unreachable:
            raise
        except CommandError as error:
            if error.code is Code.NOT_FOUND:
                return "deleted"
            raise
        if status in ENDED_STATUSES:
            return status
        time.sleep(POLL_SECONDS)
    return "unknown"


def _line_events(chunks: Iterator[bytes]) -> Iterator[LogEvent]:
    lines = LineCutter(limit=sys.maxsize)  # not followed: all of it, byte for byte
    for chunk in chunks:
        for line in lines.feed(chunk):
            yield LogEvent("line", line.text)
    if last := lines.last():
        yield LogEvent("line", last.text, newline=False)


def pattern(text: str | None) -> "re.Pattern[str] | None":
    try:
        return re.compile(text) if text is not None else None
    except re.error as error:
        raise typer.BadParameter(
            f'"{text}" is not a valid regular expression: {error}', param_hint="--grep"
        ) from None


def read_level(text: str | None) -> str | None:
    if text is not None and text not in LEVELS:
        raise typer.BadParameter(
            f'"{text}" is not a valid level; use {", ".join(LEVELS)}', param_hint="--level"
        )
    return text


def _jsonl(text: str) -> bool:
    if text not in ("pretty", "jsonl"):
        raise typer.BadParameter(
            f'"{text}" is not a valid format; use pretty or jsonl', param_hint="--format"
        )
    return text == "jsonl"


def _rfc3339(text: str | None) -> str | None:
    from codexrun_core.times import moment

    if text is None:
        return None
    return moment(text, datetime.now(UTC)).isoformat().replace("+00:00", "Z")
