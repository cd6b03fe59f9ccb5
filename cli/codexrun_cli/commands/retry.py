"""`codexrun retry`: run again what has ended."""

from typing import Annotated

import typer

from codexrun_cli import bulk_actions, context, options, output
from codexrun_cli.errors import say, usage
from codexrun_cli.follow import run_to_end
from codexrun_cli.transports.schemas import Run


@options.grouped
def retry(
    ctx: typer.Context,
    *,
    names: options.Names = None,
    changes: options.ChangeOptions,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with its Codex thread instead of a new one.")
    ] = False,
    reject: options.Reject = False,
    key: options.Key = None,
    job_type: options.JobTypes = None,
    status: options.Statuses = None,
    user: options.Users = None,
    since: options.Since = None,
    older: options.Older = None,
    labels: options.Labels = None,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    following: options.FollowOptions,
    fmt: options.Output = None,
) -> None:
    """Run again what has ended: a new run with the same spec, but for what is changed here. Without
    --status, a filter means failed runs."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt)
    body = changes.body()
    body |= {"resume": True} if resume else {}
    body["when_full"] = "Reject" if reject else "Queue"
    run_filter = options.run_filter(
        job_type=job_type, status=status, user=user, since=since, older=older, labels=labels
    )
    with opened(context.flags(ctx)) as transport:
        runs = bulk_actions.select_runs(
            transport, names, run_filter, "failed", "retry", dry_run=dry_run, yes=yes
        )
        inputs = body.pop("inputs", None)

        def again(run: Run) -> Run:
            more = {"inputs": {**(run.get("params") or {}), **inputs}} if inputs else {}
            return transport.retry(run["run_id"], {**body, **more}, key)

        if len(runs) == 1 and run_filter.empty and not dry_run:
            new = again(runs[0])
            say(f"retry of {runs[0]['name']}:")
            run_to_end.go_on(ctx, transport, new, following, output_format)
            return
        if following.mode != "detach":
            usage(
                "--wait, --watch and --follow are for one run; wait for several with `codexrun"
                " wait`"
            )
        results = [bulk_actions.act_on(run, "retried", again, dry_run=dry_run)[0] for run in runs]
    bulk_actions.report(ctx, results, output_format, "retry")
