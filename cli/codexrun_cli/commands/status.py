"""`codexrun status`: one run in full, and what to type next."""

from typing import Annotated

import typer

from codexrun_cli import context, options, output, run_selection
from codexrun_cli.errors import say
from codexrun_cli.exit_codes import of_run, worst
from codexrun_cli.follow import modes
from codexrun_cli.output.runs import describe, kind, next_command
from codexrun_cli.transports import Json, Transport

LAST_LINES = 10
ROWS = ("name", "wide")  # formats that have no place for details


def status(
    ctx: typer.Context,
    names: options.Names = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Until it has ended; its status is the exit code.")
    ] = False,
    web: Annotated[bool, typer.Option("--web", help="Open it in the browser.")] = False,
    timeout: options.Timeout = None,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """Show how a run goes, or went: everything that is known, and what to type next."""
    from codexrun_cli.transports.connection import opened

    wanted = output.parse(fmt, headers=not no_headers)
    with opened(context.flags(ctx)) as transport:
        runs = run_selection.several(transport, names or [])
        if web:
            context.open_in_browser(transport.console(runs[0]))
            return
        if watch:
            runs = [
                modes.see_through(ctx, transport, run, "watch", timeout=timeout) for run in runs
            ]
        if wanted.name == "table":
            for number, run in enumerate(runs):
                output.write("\n" if number else "")
                _in_full(ctx, transport, run)
        else:
            if wanted.name not in ROWS:
                runs = [{**run, **transport.details(run)} for run in runs]
            output.emit(runs, kind(context.now()), wanted, context.out(ctx), single=len(runs) == 1)
        if watch:
            raise typer.Exit(worst([of_run(run["status"]) for run in runs]))


def _in_full(ctx: typer.Context, transport: Transport, run: Json) -> None:
    more, url = transport.details(run), transport.console(run)
    output.write(describe(run, context.now(), context.out(ctx), url=url, more=more), links=True)
    if run["status"] == "failed":
        _last_lines(transport, run)
    if command := next_command(run):
        say(f"next: {command}")


def _last_lines(transport: Transport, run: Json) -> None:
    """The end of a failed run's log; what nobody keeps is left out."""
    from codexrun_cli.errors import Trouble
    from codexrun_cli.follow.lines import Reader
    from codexrun_cli.transports import LogRange

    try:
        text = b"".join(transport.log(run, LogRange(tail=LAST_LINES)).pieces)
    except Trouble:
        return
    reader = Reader(most_output=5)
    said = [one.plain() for line in text.splitlines() for one in reader.read(line)]
    if said:
        output.write(
            "\nThe end of its log:\n" + "".join(f"  {line}\n" for line in said[-LAST_LINES:])
        )
