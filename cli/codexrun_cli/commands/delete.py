"""`codexrun delete`: take ended runs out of the cluster."""

import typer

from codexrun_cli import bulk_actions, context, options, output
from codexrun_cli.errors import usage
from codexrun_cli.output.table import counted
from codexrun_cli.run_selection import find_runs
from codexrun_cli.terminal import interactive
from codexrun_core.resources.phases import ENDED_STATUSES


def delete(
    ctx: typer.Context,
    names: options.Names = None,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    fmt: options.Output = None,
) -> None:
    """Delete the objects of runs that have ended, along with their Jobs and pods. The REST API
    keeps their records, logs and artifacts until a cleanup removes them."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt)
    with opened(context.flags(ctx)) as transport:
        runs = find_runs(transport, names or [], ENDED_STATUSES)
        if not (dry_run or yes):
            if not interactive():
                usage(
                    f"without a terminal, the deletion of {counted(len(runs), 'run')} cannot be"
                    " confirmed; add --yes to delete the runs, or --dry-run to see them"
                )
            found = ", ".join(run["name"] for run in runs)
            typer.confirm(f"delete {found}?", abort=True, err=True)
        results = [
            bulk_actions.act_on(
                run, "deleted", lambda run: transport.delete(run["run_id"]), dry_run=dry_run
            )[0]
            for run in runs
        ]
    bulk_actions.report(ctx, results, output_format, "delete")
