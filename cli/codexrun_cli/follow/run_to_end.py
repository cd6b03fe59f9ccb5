"""How a command goes on once its run is there: detach, wait, watch or follow."""

import typer

from codexrun_cli import context, output
from codexrun_cli.errors import say
from codexrun_cli.exit_codes import Code, of_run
from codexrun_cli.options import FollowOptions
from codexrun_cli.output.runs import kind, next_command, state
from codexrun_cli.transports import Transport
from codexrun_cli.transports.schemas import Run


def go_on(
    ctx: typer.Context,
    transport: Transport,
    run: Run,
    following: FollowOptions,
    fmt: output.Format,
) -> None:
    """Detach, or see it through and end with its exit code."""
    name = run["name"]
    err = context.err(ctx)
    url = transport.console(run)
    say(f"{err.paint(name, 'bold')}: {state(run)}")
    if url and err.tty:
        say(f"console: {err.link(url, url)}", links=True)
    if following.web:
        context.open_in_browser(url)
    if following.mode == "detach":
        if err.tty and (command := next_command(run)):
            say(f"next: {command}")
        _print(ctx, run, fmt)
        return
    last = see_through(ctx, transport, run, following.mode, timeout=following.timeout)
    finish(ctx, transport, last, fmt)


def _print(ctx: typer.Context, run: Run, fmt: output.Format) -> None:
    if fmt.name == "table":
        output.write(f"{run['name']}\n")
        return
    output.emit([run], kind(context.now()), fmt, context.out(ctx), single=True)


def see_through(
    ctx: typer.Context,
    transport: Transport,
    run: Run,
    mode: str,
    *,
    timeout: str | None,
    cancelled: bool = False,
) -> Run:
    """Follow the run until it has ended. Ctrl-C and time-out end only this, and say so. cancelled:
    whether it is to end because this command has cancelled it."""
    from codexrun_cli.durations import seconds
    from codexrun_cli.follow import follower, screen
    from codexrun_cli.follow.lines import Reader

    terminal = context.err(ctx)
    reader = Reader()
    view: screen.View = screen.Quiet()
    if mode != "wait":
        view = screen.Plain(terminal)
        if terminal.tty:
            limits, usual = _expected(transport, run)
            view = screen.Live(terminal, reader, limits=limits, usual=usual)
    try:
        return follower.follow(
            transport,
            run,
            view,
            log=mode == "follow",
            reader=reader,
            seconds=seconds(timeout) if timeout else None,
        )
    except KeyboardInterrupt:
        if cancelled:
            say("\nno longer following; the run is still being stopped")
        else:
            say(
                "\nno longer following; the run continues. To stop it:"
                f" codexrun cancel {run['name']}"
            )
        raise typer.Exit(Code.INTERRUPTED) from None
    except follower.TimedOut:
        if cancelled:
            say(f"codexrun: {run['name']} has not ended after {timeout} and is still being stopped")
        else:
            say(
                f"codexrun: {run['name']} has not ended after {timeout} and continues. To stop it:"
                f" codexrun cancel {run['name']}"
            )
        raise typer.Exit(Code.TIMEOUT) from None


def _expected(transport: Transport, run: Run) -> tuple[dict[str, int], float | None]:
    """Return the limits in force and the usual length; a status line does without what nobody
    knows."""
    from codexrun_cli.errors import CommandError

    try:
        return transport.details(run).get("limits", {}), transport.usual_seconds(run["job_type"])
    except CommandError:
        return {}, None


def finish(ctx: typer.Context, transport: Transport, run: Run, fmt: output.Format) -> None:
    """Print the end in a line on stderr, the final message (or what -o asks for) on stdout, and the
    status as exit code."""
    from codexrun_cli.follow.summary import final_message, print_message, summary

    terminal = context.err(ctx)
    for line in summary(run, terminal):
        say(line)
    if command := next_command(run):
        say(f"next: {command}")
    if fmt.name != "table":
        output.emit([run], kind(context.now()), fmt, context.out(ctx), single=True)
    elif message := final_message(transport, run):
        print_message(message, context.out(ctx))
    raise typer.Exit(of_run(run["status"]))
