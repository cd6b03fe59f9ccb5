"""`codexrun retry`: run again what has ended."""

from typing import Annotated, Any

import typer

from codexrun_cli import bulk_actions, context, options, output
from codexrun_cli.errors import say, usage
from codexrun_cli.follow import modes
from codexrun_cli.transports import Chosen, Json


def retry(
    ctx: typer.Context,
    names: options.Names = None,
    sets: options.Sets = None,
    file: options.InputsFile = None,
    prompt_version: options.PromptVersion = None,
    model: options.Model = None,
    effort: options.Effort = None,
    limit: options.Limits = None,
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
    wait: options.Wait = False,
    watch: options.Watch = False,
    follow: options.Follow = False,
    detach: options.Detach = False,
    timeout: options.Timeout = None,
    web: options.Web = False,
    fmt: options.Output = None,
) -> None:
    """Run again what has ended: a new run with the same spec, but for what is changed here. Without
    --status, a filter means failed runs."""
    from codexrun_cli.transports.connection import opened

    wanted = output.parse(fmt)
    going = modes.mode(wait=wait, watch=watch, follow=follow, detach=detach)
    changes = _changes(
        sets, file, prompt_version=prompt_version, model=model, effort=effort, limit=limit
    )
    changes |= {"resume": True} if resume else {}
    changes["when_full"] = "Reject" if reject else "Queue"
    chosen = Chosen(
        job_type=options.joined(job_type),
        status=options.joined(status, lower=True),
        user=options.joined(user),
        since=since,
        until=older,
        label=labels,
    )
    with opened(context.flags(ctx)) as transport:
        runs = bulk_actions.chosen_runs(
            transport, names, chosen, "failed", "retry", dry_run=dry_run, yes=yes
        )
        inputs = changes.pop("inputs", None)

        def again(run: Json) -> Json:
            more = {"inputs": {**(run.get("params") or {}), **inputs}} if inputs else {}
            return transport.retry(run["run_id"], {**changes, **more}, key)

        if len(runs) == 1 and chosen.empty and not dry_run:
            new = again(runs[0])
            say(f"retry of {runs[0]['name']}:")
            modes.go_on(ctx, transport, new, going, wanted, timeout=timeout, web=web)
            return
        if going != "detach":
            usage(
                "--wait, --watch and --follow are for one run; wait for several with `codexrun"
                " wait`"
            )
        results = [bulk_actions.act_on(run, "retried", again, dry_run=dry_run)[0] for run in runs]
    bulk_actions.report(ctx, results, wanted, "retry")


def _changes(sets: Any, file: Any, *, limit: Any, **more: Any) -> Json:
    """What is to differ; inputs that are not named stay as they were."""
    found = {"inputs": options.inputs(sets, file), "limits": options.limits(limit), **more}
    return {key: value for key, value in found.items() if value is not None}
