"""`codexrun list`, `status`, `open`: what is there, and how it goes."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from codexrun_cli import choosing, invoking, options, output
from codexrun_cli.exit_codes import Code, ended, of_run, worst
from codexrun_cli.failing import say
from codexrun_cli.output.runs import describe, kind, next_command
from codexrun_cli.transports import Chosen, Transport

LOOK = 2.0  # seconds between two looks at a watched list
LAST_LINES = 10


def list_runs(
    ctx: typer.Context,
    job_type: options.JobTypes = None,
    status: options.Statuses = None,
    prompt: options.Prompts = None,
    user: options.Users = None,
    model: options.Models = None,
    since: options.Since = None,
    older: options.Older = None,
    search: options.Search = None,
    labels: options.Labels = None,
    sort: options.SortBy = None,
    limit: Annotated[int, typer.Option("--limit", "-L", min=1, max=10_000, help="At most so many, the first.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and print what changes.")] = False,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """List runs, the newest first or sorted."""
    from codexrun_cli.transports.opening import opened

    wanted = output.parse(fmt, headers=not no_headers)
    chosen = Chosen(
        job_type=options.joined(job_type),
        status=options.joined(status, lower=True),
        prompt=options.joined(prompt),
        user=options.joined(user),
        model=options.joined(model),
        since=since,
        until=older,
        search=search,
        label=labels,
    )
    flags = invoking.flags(ctx)
    with opened(flags) as transport:
        look = kind(_now(), namespaces=flags.all_namespaces)
        runs = list(transport.runs(chosen, limit + 1, sort))
        more = len(runs) > limit
        output.emit(runs[:limit], look, wanted, invoking.out(ctx))
        if not runs and wanted.human and not watch:
            say("no runs" + (" match" if not chosen.empty else " yet; start one: codexrun start JOB_TYPE"))
        if more and wanted.human:
            say(f"there are more; --limit {limit * 2} shows some of them")
        if watch:
            _go_on(ctx, lambda: list(transport.runs(chosen, limit, sort)), runs, wanted)


def _go_on(ctx: typer.Context, look: Callable[[], list[Any]], runs: list[Any], wanted: output.Format) -> None:
    """A row for each change of status, until Ctrl-C; the server filters every time."""
    known = {run["run_id"]: run["status"] for run in runs}
    rows = output.Format(wanted.name if wanted.name != "json" else "jsonl", wanted.argument, headers=False)
    while True:
        time.sleep(LOOK)
        now = look()
        new = [run for run in reversed(now) if known.get(run["run_id"]) != run["status"]]
        known |= {run["run_id"]: run["status"] for run in now}
        for run in new:
            output.emit([run], kind(_now(), namespaces=invoking.flags(ctx).all_namespaces), rows, invoking.out(ctx))


def status(
    ctx: typer.Context,
    names: options.Names = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Until it has ended; its status is the exit code.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Open it in the browser.")] = False,
    timeout: options.Timeout = None,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """Show how a run goes, or went: everything that is known, and what to type next."""
    from codexrun_cli.commands.start import see_through, show_in_browser
    from codexrun_cli.transports.opening import opened

    wanted = output.parse(fmt, headers=not no_headers)
    with opened(invoking.flags(ctx)) as transport:
        runs = choosing.several(transport, names or [])
        if web:
            show_in_browser(transport.console(runs[0]))
            return
        if watch:
            runs = [see_through(ctx, transport, run, "watch", timeout=timeout) for run in runs]
        if wanted.name != "table":
            output.emit(runs, kind(_now()), wanted, invoking.out(ctx), single=len(runs) == 1)
        else:
            out = invoking.out(ctx)
            for number, run in enumerate(runs):
                output.write(("\n" if number else "") + describe(run, _now(), out, url=transport.console(run)))
                if run["status"] == "failed":
                    _last_lines(transport, run)
                if command := next_command(run):
                    say(f"next: {command}")
        if watch:
            raise typer.Exit(worst([of_run(run["status"]) for run in runs]))


def _last_lines(transport: Transport, run: Any) -> None:
    """The end of a failed run's log; what nobody keeps is left out."""
    from codexrun_cli.failing import Trouble
    from codexrun_cli.follow.lines import Reader
    from codexrun_cli.transports import LogWish

    try:
        text = b"".join(transport.log(run, LogWish(tail=LAST_LINES)).pieces)
    except Trouble:
        return
    reader = Reader(most_output=5)
    said = [one.plain() for line in text.splitlines() for one in reader.read(line)]
    if said:
        output.write("\nThe end of its log:\n" + "".join(f"  {line}\n" for line in said[-LAST_LINES:]))


def wait(
    ctx: typer.Context,
    names: options.Names = None,
    condition: Annotated[
        str | None,
        typer.Option("--for", metavar="phase=STATUS", help="Until it has this status, rather than until it has ended."),
    ] = None,
    timeout: options.Timeout = None,
    fmt: options.Output = None,
) -> None:
    """Wait until runs have ended; the exit code is that of the first that did not succeed."""
    from codexrun_cli.times import seconds
    from codexrun_cli.transports.opening import opened

    wanted, until = output.parse(fmt), _status_of(condition)
    deadline = time.monotonic() + seconds(timeout) if timeout else None
    with opened(invoking.flags(ctx)) as transport:
        runs = [_until(transport, run, until, deadline, timeout) for run in choosing.several(transport, names or [])]
        if fmt is not None:
            output.emit(runs, kind(_now()), wanted, invoking.out(ctx), single=len(runs) == 1)
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
    if name.lower() not in ("phase", "status") or value.lower() not in options.STATUSES:
        raise typer.BadParameter(
            f'"{condition}": write phase=STATUS with one of {", ".join(options.STATUSES)}', param_hint="--for"
        )
    return value.lower()


def _until(transport: Transport, run: Any, until: str | None, deadline: float | None, timeout: str | None) -> Any:
    import threading

    from codexrun_cli.follow.following import Cut, states

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
            if run["status"] == until or ended(run["status"]):
                break
    except KeyboardInterrupt:
        say(f"\nno longer waiting; the run goes on. To stop it: codexrun cancel {run['name']}")
        raise typer.Exit(Code.INTERRUPTED) from None
    return run


def open_run(ctx: typer.Context, name: options.OneName = None) -> None:
    """Open a run's page of the web console in the browser."""
    from codexrun_cli.commands.start import show_in_browser
    from codexrun_cli.transports.opening import opened

    with opened(invoking.flags(ctx)) as transport:
        run = choosing.one(transport, name)
        url = transport.console(run)
        show_in_browser(url)
        output.write(f"{url}\n")


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
