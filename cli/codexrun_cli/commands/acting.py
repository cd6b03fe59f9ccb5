"""`codexrun cancel` and `retry`: one run, several by name, or all that match a filter."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from codexrun_cli import context, options, output, run_selection
from codexrun_cli.commands import start as starting
from codexrun_cli.errors import Trouble, say, usage
from codexrun_cli.exit_codes import Code, ended
from codexrun_cli.output import Kind
from codexrun_cli.output.table import Column
from codexrun_cli.terminal import interactive
from codexrun_cli.times import short
from codexrun_cli.transports import Chosen, Json, Transport
from codexrun_core.resources.phases import LIVE_STATUSES

MOST = 1000
LIVE = ",".join(LIVE_STATUSES)

RESULTS = Kind(
    schema="codexrun.result/v1",
    plural="results",
    prefix="codexrun/",
    columns=[
        Column("NAME", lambda result: result["name"]),
        Column("OUTCOME", lambda result: result["outcome"]),
        Column("NEW-RUN", lambda result: result.get("new_name") or ""),
        Column("STATUS", lambda result: result.get("status") or ""),
        Column("MESSAGE", lambda result: result.get("error") or "", flexible=True),
    ],
)


def cancel(
    ctx: typer.Context,
    names: options.Names = None,
    reason: options.Reason = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", "-w", help="Return when the run has ended and its pod is gone."),
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
    """Stop runs: those named, or all live ones that match. What they used stays recorded."""
    from codexrun_cli.transports.connection import opened

    wanted = output.parse(fmt)
    chosen = Chosen(
        job_type=options.joined(job_type),
        status=options.joined(status, lower=True),
        user=options.joined(user),
        until=older,
        label=labels,
    )
    with opened(context.flags(ctx)) as transport:
        runs = _chosen(transport, names, chosen, LIVE, "cancel", dry_run=dry_run, yes=yes)
        results, stopped = [], []
        for run in runs:
            result, after = _act(
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
    _report(ctx, results, wanted, "cancel")


def _see_it_stop(ctx: typer.Context, transport: Transport, run: Json, timeout: str | None) -> Json:
    began = time.monotonic()
    last = starting.see_through(ctx, transport, run, "watch", timeout=timeout)
    took = short(time.monotonic() - began)
    say(
        f"{last['name']}: {last['status']} after {took}"
        + (f", {last['error']}" if last.get("error") else "")
    )
    return last


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
    wait: starting.Wait = False,
    watch: starting.Watch = False,
    follow: starting.Follow = False,
    detach: starting.Detach = False,
    timeout: options.Timeout = None,
    web: starting.Web = False,
    fmt: options.Output = None,
) -> None:
    """Run again what has ended: a new run with the same spec, but for what is changed here. Without
    --status, a filter means failed runs."""
    from codexrun_cli.transports.connection import opened

    wanted = output.parse(fmt)
    going = starting.mode(wait=wait, watch=watch, follow=follow, detach=detach)
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
        runs = _chosen(transport, names, chosen, "failed", "retry", dry_run=dry_run, yes=yes)
        inputs = changes.pop("inputs", None)

        def again(run: Json) -> Json:
            more = {"inputs": {**(run.get("params") or {}), **inputs}} if inputs else {}
            return transport.retry(run["run_id"], {**changes, **more}, key)

        if len(runs) == 1 and chosen.empty and not dry_run:
            new = again(runs[0])
            say(f"retry of {runs[0]['name']}:")
            starting.go_on(ctx, transport, new, going, wanted, timeout=timeout, web=web)
            return
        if going != "detach":
            usage(
                "--wait, --watch and --follow are for one run; wait for several with `codexrun"
                " wait`"
            )
        results = [_act(run, "retried", again, dry_run=dry_run)[0] for run in runs]
    _report(ctx, results, wanted, "retry")


def _changes(sets: Any, file: Any, *, limit: Any, **more: Any) -> Json:
    """What is to differ; inputs that are not named stay as they were."""
    found = {"inputs": options.inputs(sets, file), "limits": options.limits(limit), **more}
    return {key: value for key, value in found.items() if value is not None}


def _chosen(
    transport: Transport,
    names: list[str] | None,
    chosen: Chosen,
    default: str,
    what: str,
    *,
    dry_run: bool,
    yes: bool,
) -> list[Json]:
    """The runs that are meant. A filter may match many: that is said first, and asked about where
    somebody can answer."""
    if names and not chosen.empty:
        usage(f"give names, or a filter, to {what}")
    if chosen.empty:
        return run_selection.several(transport, names or [])
    if not chosen.status:
        chosen = Chosen(**{**vars(chosen), "status": default})
    runs = list(transport.runs(chosen, MOST))
    if not runs or dry_run or yes:
        return runs
    if not interactive():
        usage(f"{len(runs)} runs match; give --yes to {what} them, or --dry-run to see them")
    typer.confirm(
        f"{what} {len(runs)} {'run' if len(runs) == 1 else 'runs'}?", abort=True, err=True
    )
    return runs


def _act(
    run: Json, done: str, act: Callable[[Json], Json], *, dry_run: bool
) -> tuple[Json, Json | None]:
    """One run's result, and the run after it. A failure is a result: the others go on."""
    result: Json = {"name": run["name"], "run_id": run["run_id"], "outcome": done}
    if dry_run:
        possible = ended(run["status"]) == (done == "retried")
        verb = "retry" if done == "retried" else "cancel"
        return {
            **result,
            "outcome": f"would {verb}" if possible else "skipped",
            "status": run["status"],
        }, None
    try:
        after = act(run)
    except Trouble as trouble:
        about = {
            "outcome": "failed",
            "status": run["status"],
            "error": trouble.detail,
            "code": int(trouble.code),
        }
        return {**result, **about, "hint": trouble.hint}, None
    if after["run_id"] != run["run_id"]:
        result |= {"new_name": after["name"], "new_run_id": after["run_id"]}
    return {**result, "status": after["status"]}, after


def _report(ctx: typer.Context, results: list[Json], wanted: output.Format, what: str) -> None:
    failed = [result for result in results if result["outcome"] == "failed"]
    hints = {result.pop("hint", "") for result in results}
    if wanted.name == "table":
        for result in results:
            if result["outcome"] != "failed":
                new = f", new run {result['new_name']}" if result.get("new_name") else ""
                output.write(f"{result['name']} {result['outcome']}{new} ({result['status']})\n")
    else:
        output.emit(results, RESULTS, wanted, context.out(ctx))
    for result in failed:
        say(f"codexrun: {result['name']}: {result['error']}")
    for hint in sorted(filter(None, hints)):
        say(f"  hint: {hint}")
    if not results:
        say(f"nothing to {what}")
    if failed:
        raise typer.Exit(failed[0]["code"] if len(results) == 1 else Code.FAILED)
