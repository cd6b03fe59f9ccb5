"""`codexrun retry`: run again what has ended."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from codexrun_cli import bulk_actions, context, options, output
from codexrun_cli.errors import say, usage
from codexrun_cli.follow import run_to_end
from codexrun_cli.transports import RunFilter, Transport
from codexrun_cli.transports.schemas import Run
from codexrun_core.resources.phases import ENDED_STATUSES
from codexrun_core.schemas.typed_inputs import coerced

RETRIES_ASKED_AT_ONCE = 12  # run ids in one filter, which has 512 characters


@options.grouped
def retry(
    ctx: typer.Context,
    *,
    names: options.Names = None,
    changes: options.ChangeOptions,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the earlier run's Codex thread instead of starting a new thread.",
        ),
    ] = False,
    reject: options.Reject = False,
    key: options.Key = None,
    job_type: options.JobTypes = None,
    status: options.Statuses = None,
    user: options.Users = None,
    since: options.Since = None,
    older: options.Older = None,
    labels: options.Labels = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="With a filter: include runs that were already retried or would fail again.",
        ),
    ] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    following: options.FollowOptions,
    fmt: options.Output = None,
) -> None:
    """Retry runs that have ended: start a new run for each, with the same spec apart from your
    changes. A filter without --status selects failed runs."""
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
            transport,
            names,
            run_filter,
            "failed",
            "retry",
            ENDED_STATUSES,
            dry_run=dry_run,
            yes=yes,
        )
        inputs = body.pop("inputs", None)
        schemas = {}
        if changes.from_text:
            schemas = {item["name"]: item.get("inputs_schema") for item in transport.job_types()}

        def again(run: Run) -> Run:
            more = {}
            if inputs:
                schema = schemas.get(run["job_type"])
                typed = coerced(inputs, changes.from_text, schema)
                more = {"inputs": {**(run.get("params") or {}), **typed}}
            return transport.retry(run["run_id"], {**body, **more}, key)

        if len(runs) == 1 and run_filter.empty and not dry_run:
            new = again(runs[0])
            say(f"retry of {runs[0]['name']}:")
            run_to_end.go_on(ctx, transport, new, following, output_format)
            return
        if following.mode != "detach":
            usage(
                "--wait, --watch and --follow need a single run, given by name, and no --dry-run;"
                " to wait for several runs, use `codexrun wait`"
            )
        skipped = {} if everything or names else futile(runs, _retries(transport, runs))
        results = [
            bulk_actions.skip(run, skipped[run["run_id"]])
            if run["run_id"] in skipped
            else bulk_actions.act_on(run, "retried", again, dry_run=dry_run)[0]
            for run in runs
        ]
    bulk_actions.report(ctx, results, output_format, "retry")


def futile(runs: Iterable[Run], retries: Iterable[Run]) -> dict[str, str]:
    """Return, by run id, why a run is not worth retrying: it was retried already, by a run that
    succeeded or goes on, or its failure is one that a retry would repeat. Pure."""
    reasons = {}
    for run in runs:
        failure = run.get("failure")
        if failure and not failure["retryable"]:
            reasons[run["run_id"]] = f"a retry would end the same way ({failure['class']})"
    for retry_of_run in retries:
        status = retry_of_run["status"]
        source = retry_of_run.get("retry_of")
        if source and (status == "succeeded" or status not in ENDED_STATUSES):
            reasons[source] = f"already retried as {retry_of_run['name']} ({status})"
    return reasons


def _retries(transport: Transport, runs: Sequence[Run]) -> list[Run]:
    ids = [run["run_id"] for run in runs]
    return [
        retry_of_run
        for start in range(0, len(ids), RETRIES_ASKED_AT_ONCE)
        for retry_of_run in transport.runs(
            RunFilter(retry_of=",".join(ids[start : start + RETRIES_ASKED_AT_ONCE])),
            bulk_actions.MAX_RUNS,
        )
    ]
