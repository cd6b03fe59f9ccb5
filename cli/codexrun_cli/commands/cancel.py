"""`codexrun cancel`: stop runs, and where asked see them stop."""

import time
from typing import Annotated

import typer

from codexrun_cli import bulk_actions, context, options, output
from codexrun_cli.errors import say
from codexrun_cli.follow import run_to_end
from codexrun_cli.transports import Transport
from codexrun_cli.transports.schemas import Run
from codexrun_core.resources.phases import LIVE_STATUSES
from codexrun_core.times import short_duration


def cancel(
    ctx: typer.Context,
    names: options.Names = None,
    reason: options.Reason = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", "-w", help="Return when the runs have ended and their pods are gone."
        ),
    ] = False,
    timeout: options.Timeout = None,
    job_type: options.JobTypes = None,
    status: options.Statuses = None,
    user: options.Users = None,
    older: options.Older = None,
    labels: options.Labels = None,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    fmt: options.Output = None,
) -> None:
    """Cancel runs: the named ones, or all that match the filter and have not ended. Their usage
    stays recorded."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt)
    run_filter = options.run_filter(
        job_type=job_type, status=status, user=user, older=older, labels=labels
    )
    with opened(context.flags(ctx)) as transport:
        runs = bulk_actions.select_runs(
            transport,
            names,
            run_filter,
            ",".join(LIVE_STATUSES),
            "cancel",
            LIVE_STATUSES,
            dry_run=dry_run,
            yes=yes,
        )
        results = []
        stopped = []
        for run in runs:
            result, after = bulk_actions.act_on(
                run,
                "cancelled",
                lambda run: transport.cancel(run["run_id"], reason),
                dry_run=dry_run,
            )
            results.append(result)
            if after is not None:
                stopped.append(after)
        if wait:
            ends = {run["run_id"]: _see_it_stop(ctx, transport, run, timeout) for run in stopped}
            for result in results:
                if result["run_id"] in ends:
                    result["status"] = ends[result["run_id"]]["status"]
                    result["outcome"] = (
                        "cancelled" if result["status"] == "cancelled" else "ended first"
                    )
    bulk_actions.report(ctx, results, output_format, "cancel")


def _see_it_stop(ctx: typer.Context, transport: Transport, run: Run, timeout: str | None) -> Run:
    started_at = time.monotonic()
    stopped_run = run_to_end.see_through(
        ctx, transport, run, "watch", timeout=timeout, cancelled=True
    )
    duration = short_duration(time.monotonic() - started_at)
    say(
        f"{stopped_run['name']}: {stopped_run['status']} after {duration}"
        + (f", {stopped_run['error']}" if stopped_run.get("error") else "")
    )
    return stopped_run
