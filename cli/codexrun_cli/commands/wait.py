"""`codexrun wait`: nothing but the end, or a status on the way there."""

import time
from typing import Annotated

import typer

from codexrun_cli import context, options, output, run_selection
from codexrun_cli.errors import say
from codexrun_cli.exit_codes import Code, of_run, worst
from codexrun_cli.output.runs import kind
from codexrun_cli.transports import Transport
from codexrun_cli.transports.schemas import Run
from codexrun_core.resources.phases import ENDED_STATUSES, STATUSES


def wait(
    ctx: typer.Context,
    names: options.Names = None,
    condition: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="phase=STATUS",
            help=(
                "Wait until each run has this status or has ended; the exit code is 0 if all have"
                " the status."
            ),
        ),
    ] = None,
    timeout: options.Timeout = None,
    fmt: options.Output = None,
) -> None:
    """Wait until runs have ended. The exit code is 0 if all runs succeed; otherwise it says how the
    first run (in the order given) that did not succeed ended."""
    from codexrun_cli.durations import seconds
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt)
    target = _status_of(condition)
    deadline = time.monotonic() + seconds(timeout) if timeout else None
    with opened(context.flags(ctx)) as transport:
        runs = [
            _wait_for(transport, run, target, deadline, timeout)
            for run in run_selection.find_runs(transport, names or [])
        ]
        if fmt is not None:
            output.emit(
                runs, kind(context.now()), output_format, context.out(ctx), single=len(runs) == 1
            )
        else:
            for run in runs:
                output.write(f"{run['name']} {run['status']}\n")
    if target is not None:
        missed = [run for run in runs if run["status"] != target]
        raise typer.Exit(of_run(missed[0]["status"]) or Code.FAILED if missed else Code.DONE)
    raise typer.Exit(worst([of_run(run["status"]) for run in runs]))


def _status_of(condition: str | None) -> str | None:
    if condition is None:
        return None
    name, _, value = condition.partition("=")
    if name.lower() not in ("phase", "status") or value.lower() not in STATUSES:
        raise typer.BadParameter(
            f'"{condition}" is not a valid condition; write phase=STATUS, where STATUS is one of'
            f" {', '.join(STATUSES)}",
            param_hint="--for",
        )
    return value.lower()


def _wait_for(
    transport: Transport, run: Run, target: str | None, deadline: float | None, timeout: str | None
) -> Run:
    """Return the run once it has the status `target`, or has ended."""
    import threading

    from codexrun_cli.follow.follower import Disconnected, poll_states

    run_id = run["run_id"]

    def sleep(pause: float) -> None:
        remaining = pause if deadline is None else deadline - time.monotonic()
        if remaining <= 0:
            say(f"codexrun: {run['name']} is still {run['status']} after {timeout} (--timeout)")
            raise typer.Exit(Code.TIMEOUT)
        time.sleep(min(pause, remaining))

    try:
        for state in poll_states(lambda: transport.run(run_id), threading.Event(), sleep):
            if isinstance(state, Disconnected):
                continue
            run = {**run, **state}
            if run["status"] == target or run["status"] in ENDED_STATUSES:
                break
    except KeyboardInterrupt:
        say(f"\nno longer waiting; the run continues. To stop it: codexrun cancel {run['name']}")
        raise typer.Exit(Code.INTERRUPTED) from None
    return run
