"""`codexrun tail`: the logs of one run, or of all that run now, as they go on."""

import threading
from collections.abc import Callable
from typing import Annotated

import typer

from codexrun_cli import context, options, run_selection
from codexrun_cli.commands.logs import (
    Grep,
    Level,
    Timestamps,
    final_status,
    follow_log,
    pattern,
    read_level,
)
from codexrun_cli.errors import say
from codexrun_cli.exit_codes import of_run
from codexrun_cli.follow.log_printer import Printer
from codexrun_cli.transports import LogEvent, LogRange, RunFilter
from codexrun_cli.transports.schemas import Run

PALETTE = ("cyan", "magenta", "green", "yellow", "blue")
MAX_FOLLOWED_RUNS = 20  # when none is named


def tail(
    ctx: typer.Context,
    names: options.Names = None,
    lines: Annotated[
        int,
        typer.Option("--tail", min=0, help="Start with this many lines from the end of each log."),
    ] = 10,
    timestamps: Timestamps = False,
    grep: Grep = None,
    level: Level = None,
    exit_status: Annotated[
        bool,
        typer.Option(
            "--exit-status",
            help=(
                "Exit with a code that says how the run ended; with several runs, how the first"
                " one ended."
            ),
        ),
    ] = False,
) -> None:
    """Follow the logs of the named runs; if none is named, of up to 20 runs that are starting,
    running or stopping. With more than one run, each line starts with the run's name."""
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        if names:
            runs = run_selection.find_runs(transport, names)
        else:
            runs = list(
                transport.runs(RunFilter(status="starting,running,stopping"), MAX_FOLLOWED_RUNS)
            )
            if not runs:
                say("no run is starting, running or stopping")
                return
        terminal = context.out(ctx)
        output_lock = threading.Lock()

        def follow(number: int, run: Run) -> None:
            prefix = (
                ""
                if len(runs) == 1
                else terminal.paint(f"{run['name']} ", PALETTE[number % len(PALETTE)])
            )
            printer = Printer(
                pattern(grep), level=read_level(level), timestamps=timestamps, prefix=prefix
            )

            def show(event: LogEvent) -> None:
                with output_lock:
                    printer.print(event, terminal)

            follow_log(transport, run, LogRange(tail=lines), show)

        _in_threads(follow, runs)
        if exit_status:
            raise typer.Exit(of_run(final_status(transport, runs[0])))


def _in_threads(follow: Callable[[int, Run], None], runs: list[Run]) -> None:
    if len(runs) == 1:
        follow(0, runs[0])
        return
    errors: list[BaseException] = []

    def work(number: int, run: Run) -> None:
        try:
            follow(number, run)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
    if errors:
        raise errors[0]
