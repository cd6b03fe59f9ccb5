"""`codexrun wait`: nothing but the end, or a status on the way there."""

import time
from typing import Annotated

import typer

from codexrun_cli import context, options, output, run_selection
from codexrun_cli.errors import say
from codexrun_cli.exit_codes import Code, of_run, worst
from codexrun_cli.output.runs import kind
from codexrun_cli.statuses import STATUSES, is_terminal
from codexrun_cli.transports import Json, Transport


def wait(
    ctx: typer.Context,
    names: options.Names = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="phase=STATUS",
            help="Until it has this status, rather than until it has ended.",
        ),
    ] = None,
    timeout: options.Timeout = None,
    fmt: options.Output = None,
) -> None:
    """Wait until runs have ended; the exit code is that of the first that did not succeed."""
    from codexrun_cli.times import seconds
    from codexrun_cli.transports.connection import opened

    wanted, until = output.parse(fmt), _status_of(condition)
    deadline = time.monotonic() + seconds(timeout) if timeout else None
    with opened(context.flags(ctx)) as transport:
        runs = [
            _until(transport, run, until, deadline, timeout)
            for run in run_selection.several(transport, names or [])
        ]
        if fmt is not None:
            output.emit(runs, kind(context.now()), wanted, context.out(ctx), single=len(runs) == 1)
        else:
            for run in runs:
                output.write(f"{run['name']} {run['status']}\n")
    if until is not None:
        missed = [run for run in runs if run["status"] != until]
        raise typer.Exit(of_run(missed[0]["status"]) or Code.FAILED if missed else Code.DONE)
    raise typer.Exit(worst([of_run(run["status"]) for run in runs]))


def _status_of(condition: str | None) -> str | None:
    if condition is None:
        return None
    name, _, value = condition.partition("=")
    if name.lower() not in ("phase", "status") or value.lower() not in STATUSES:
        raise typer.BadParameter(
            f'"{condition}": write phase=STATUS with one of {", ".join(STATUSES)}',
            param_hint="--for",
        )
    return value.lower()


def _until(
    transport: Transport, run: Json, until: str | None, deadline: float | None, timeout: str | None
) -> Json:
    import threading

    from codexrun_cli.follow.follower import Cut, states

    over, run_id = threading.Event(), run["run_id"]

    def sleep(pause: float) -> None:
        left = pause if deadline is None else deadline - time.monotonic()
        if left <= 0:
            say(f"codexrun: {run['name']} is still {run['status']} after {timeout}; it goes on")
            raise typer.Exit(Code.TIMEOUT)
        time.sleep(min(pause, left))

    try:
        for one in states(lambda: transport.run(run_id), over, sleep):
            if isinstance(one, Cut):
                continue
            run = {**run, **one}
            if run["status"] == until or is_terminal(run["status"]):
                break
    except KeyboardInterrupt:
        say(f"\nno longer waiting; the run goes on. To stop it: codexrun cancel {run['name']}")
        raise typer.Exit(Code.INTERRUPTED) from None
    return run
