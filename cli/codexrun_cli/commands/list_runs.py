"""`codexrun list`: runs as a table, the newest first or sorted."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

from codexrun_cli import context, options, output
from codexrun_cli.errors import say
from codexrun_cli.output.runs import kind
from codexrun_cli.output.table import counted
from codexrun_cli.transports.schemas import Run

POLL_SECONDS = 2.0  # of a watched list


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
    limit: Annotated[
        int, typer.Option("--limit", "-L", min=1, max=10_000, help="Show at most this many runs.")
    ] = 50,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep running and print changes.")
    ] = False,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """List runs, newest first unless --sort says otherwise."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt, headers=not no_headers)
    run_filter = options.run_filter(
        job_type=job_type,
        status=status,
        prompt=prompt,
        user=user,
        model=model,
        since=since,
        older=older,
        search=search,
        labels=labels,
    )
    flags = context.flags(ctx)
    with opened(flags) as transport:
        run_kind = kind(context.now(), namespaces=flags.all_namespaces)
        runs = list(transport.runs(run_filter, limit + 1, sort))
        has_more = len(runs) > limit
        output.emit(runs[:limit], run_kind, output_format, context.out(ctx))
        if not runs and output_format.human and not watch:
            say(
                "no runs"
                + (" match" if not run_filter.empty else " yet; start one: codexrun start JOB_TYPE")
            )
        if has_more and output_format.human:
            say(f"showing only {counted(limit, 'run')}; use --limit to show more")
        if watch:
            _print_changes(
                ctx, lambda: list(transport.runs(run_filter, limit, sort)), runs, output_format
            )


def _print_changes(
    ctx: typer.Context,
    get_runs: Callable[[], list[Run]],
    runs: list[Run],
    output_format: output.Format,
) -> None:
    """Print a row for each change of status, until Ctrl-C; the server filters every time."""
    statuses = {run["run_id"]: run["status"] for run in runs}
    name = "jsonl" if output_format.name == "json" else output_format.name
    row_format = output.Format(name, output_format.argument, headers=False)
    namespaces = context.flags(ctx).all_namespaces
    while True:
        time.sleep(POLL_SECONDS)
        runs = get_runs()
        changed = [run for run in reversed(runs) if statuses.get(run["run_id"]) != run["status"]]
        statuses |= {run["run_id"]: run["status"] for run in runs}
        for run in changed:
            run_kind = kind(context.now(), namespaces=namespaces)
            output.emit([run], run_kind, row_format, context.out(ctx))
