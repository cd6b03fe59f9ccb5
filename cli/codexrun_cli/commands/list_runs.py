"""`codexrun list`: runs as a table, the newest first or sorted."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from codexrun_cli import context, options, output
from codexrun_cli.errors import say
from codexrun_cli.output.runs import kind

LOOK = 2.0  # seconds between two looks at a watched list


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
        int, typer.Option("--limit", "-L", min=1, max=10_000, help="At most so many, the first.")
    ] = 50,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on, and print what changes.")
    ] = False,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """List runs, the newest first or sorted."""
    from codexrun_cli.transports.connection import opened

    wanted = output.parse(fmt, headers=not no_headers)
    chosen = options.run_filter(
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
        look = kind(context.now(), namespaces=flags.all_namespaces)
        runs = list(transport.runs(chosen, limit + 1, sort))
        more = len(runs) > limit
        output.emit(runs[:limit], look, wanted, context.out(ctx))
        if not runs and wanted.human and not watch:
            say(
                "no runs"
                + (" match" if not chosen.empty else " yet; start one: codexrun start JOB_TYPE")
            )
        if more and wanted.human:
            say(f"there are more; --limit {limit * 2} shows some of them")
        if watch:
            _go_on(ctx, lambda: list(transport.runs(chosen, limit, sort)), runs, wanted)


def _go_on(
    ctx: typer.Context, look: Callable[[], list[Any]], runs: list[Any], wanted: output.Format
) -> None:
    """A row for each change of status, until Ctrl-C; the server filters every time."""
    known = {run["run_id"]: run["status"] for run in runs}
    rows = output.Format(
        wanted.name if wanted.name != "json" else "jsonl", wanted.argument, headers=False
    )
    while True:
        time.sleep(LOOK)
        now = look()
        new = [run for run in reversed(now) if known.get(run["run_id"]) != run["status"]]
        known |= {run["run_id"]: run["status"] for run in now}
        for run in new:
            output.emit(
                [run],
                kind(context.now(), namespaces=context.flags(ctx).all_namespaces),
                rows,
                context.out(ctx),
            )
