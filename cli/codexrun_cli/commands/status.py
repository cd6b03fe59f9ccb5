"""`codexrun status`: one run in full, and what to type next."""

from typing import Annotated, cast

import typer

from codexrun_cli import context, options, output, run_selection
from codexrun_cli.errors import say
from codexrun_cli.exit_codes import of_run, worst
from codexrun_cli.follow import run_to_end
from codexrun_cli.output.runs import describe, kind, next_command
from codexrun_cli.transports import Transport
from codexrun_cli.transports.schemas import Run

LAST_LINES = 10
ROW_FORMATS = ("name", "wide")  # that have no place for details
MAX_OUTPUT_LINES = 5  # of one command


def status(
    ctx: typer.Context,
    names: options.Names = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help=(
                "Keep showing changes until the runs have ended; the exit code says how they ended."
            ),
        ),
    ] = False,
    web: Annotated[
        bool,
        typer.Option(
            "--web", help="Open the run in the browser; with several runs, only the first one."
        ),
    ] = False,
    timeout: options.Timeout = None,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """Show everything known about one or more runs, and what to do next."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt, headers=not no_headers)
    with opened(context.flags(ctx)) as transport:
        runs = run_selection.find_runs(transport, names or [])
        if web:
            context.open_in_browser(transport.console(runs[0]))
            return
        if watch:
            runs = [
                run_to_end.see_through(ctx, transport, run, "watch", timeout=timeout)
                for run in runs
            ]
        if output_format.name == "table":
            for number, run in enumerate(runs):
                output.write("\n" if number else "")
                _in_full(ctx, transport, run)
        else:
            items = runs
            if output_format.name not in ROW_FORMATS:
                items = [cast(Run, {**run, **transport.details(run)}) for run in runs]
            single = len(runs) == 1
            output.emit(items, kind(context.now()), output_format, context.out(ctx), single=single)
        if watch:
            raise typer.Exit(worst([of_run(run["status"]) for run in runs]))


def _in_full(ctx: typer.Context, transport: Transport, run: Run) -> None:
    details = transport.details(run)
    url = transport.console(run)
    output.write(describe(run, context.now(), context.out(ctx), url=url, more=details), links=True)
    if run["status"] == "failed":
        _last_lines(transport, run)
    if command := next_command(run):
        say(f"next: {command}")


def _last_lines(transport: Transport, run: Run) -> None:
    """Print the end of a failed run's log; what nobody keeps is left out."""
    from codexrun_cli.errors import CommandError
    from codexrun_cli.follow.lines import Reader
    from codexrun_cli.transports import LogRange

    try:
        text = b"".join(transport.log(run, LogRange(tail=LAST_LINES)).chunks)
    except CommandError:
        return
    reader = Reader(MAX_OUTPUT_LINES)
    lines = [line.plain() for raw in text.splitlines() for line in reader.read(raw)]
    if lines:
        output.write(
            "\nThe end of the run's log:\n" + "".join(f"  {line}\n" for line in lines[-LAST_LINES:])
        )
