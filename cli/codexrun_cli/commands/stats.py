"""`codexrun stats`: runs, success, tokens and cost, grouped."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from codexrun_cli import context, options, output
from codexrun_cli.errors import CommandError, say
from codexrun_cli.output.table import Column, counted
from codexrun_cli.transports import Json, RunFilter, Transport
from codexrun_cli.transports.schemas import Run, Stats
from codexrun_core.prices.money import money

SUBJECT = "`codexrun stats`"
GROUPINGS = ("job-type", "model", "user", "day", "status", "prompt", "failure-class")
SUMMED_HERE = ("model", "user", "day", "status")  # where an older api does not group
MAX_RUNS = 1_000_000


def stats(
    ctx: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="GROUPING",
            help=f"Group by {', '.join(GROUPINGS)} or label:KEY.",
        ),
    ] = "job-type",
    since: options.Since = None,
    older: options.Older = None,
    job_type: options.JobTypes = None,
    status: options.Statuses = None,
    user: options.Users = None,
    prompt: options.Prompts = None,
    model: options.Models = None,
    search: options.Search = None,
    labels: options.Labels = None,
    fmt: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FORMAT", help=f"csv|{output.HELP}")
    ] = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """Show the number of runs, and their success rate, tokens and cost. Needs the REST API, which
    also counts runs whose objects are no longer in the cluster."""
    from codexrun_cli.transports.connection import opened

    if by not in GROUPINGS and not re.fullmatch("label:.+", by):
        raise typer.BadParameter(
            f'"{by}" is not a valid grouping; use {", ".join(GROUPINGS)} or label:KEY',
            param_hint="--by",
        )
    output_format = output.parse(None if fmt == "csv" else fmt, headers=not no_headers)
    run_filter = options.run_filter(
        job_type=job_type,
        status=status,
        user=user,
        prompt=prompt,
        model=model,
        search=search,
        labels=labels,
        since=since,
        older=older,
    )
    with opened(context.flags(ctx)) as transport:
        total = transport.ask("GET", "/stats", SUBJECT, query=run_filter.query())
        groups = _groups(transport, run_filter, total, by)
    if fmt == "csv":
        output.write(_csv(groups, headers=not no_headers))
    elif output_format.human:
        output.emit(groups, _kind(by), output_format, context.out(ctx))
        rate = total.get("success_rate")
        say(
            f"{counted(total['runs'], 'run')}, {counted(total['cost_tokens'], 'token')},"
            f" {money(total['cost_micro_usd'] or 0)} at list prices"
            + (f", {rate:.0%} succeeded" if rate is not None else "")
        )
    else:
        keys = ("runs", "cost_tokens", "cost_micro_usd", "success_rate")
        summary = {key: total.get(key) for key in keys}
        output.emit_document(
            {"schema": "codexrun.stats/v1", "by": by, "total": summary, "groups": groups},
            output_format,
        )


def _groups(transport: Transport, run_filter: RunFilter, total: Stats, by: str) -> list[Json]:
    """Return a row for each group; what an older api does not group is summed up here."""
    if by == "job-type":
        return [
            _row(item["job_type"], item["statuses"], item["cost_tokens"], item["cost_micro_usd"])
            for item in total["job_types"]
        ]
    query = {**run_filter.query(), "group_by": by.replace("-", "_")}
    try:
        groups = transport.ask("GET", "/stats", SUBJECT, query=query)["groups"]
    except CommandError as error:
        unknown = any(item.get("parameter") == "group_by" for item in error.errors)
        if by not in SUMMED_HERE or not unknown:
            raise
        return group_runs(transport.runs(run_filter, MAX_RUNS), by)
    return [
        _row(item["key"], item["statuses"], item["cost_tokens"], item["cost_micro_usd"])
        for item in groups
    ]


def group_runs(runs: Iterable[Run], by: str) -> list[Json]:
    """Return a row for each value of one field of the runs. Pure."""
    statuses: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    tokens: dict[str, int] = defaultdict(int)
    cost: dict[str, int] = defaultdict(int)
    for run in runs:
        key = {
            "model": run.get("model"),
            "user": run.get("requested_by"),
            "day": str(run.get("created_at", ""))[:10],
            "status": run["status"],
        }[by] or ""
        statuses[key][run["status"]] += 1
        tokens[key] += run.get("cost_tokens") or 0
        cost[key] += run.get("usage", {}).get("cost_micro_usd") or 0
    return [_row(key, statuses[key], tokens[key], cost[key]) for key in sorted(statuses)]


def _row(key: str, statuses: Any, tokens: int, cost: int) -> Json:
    succeeded = statuses.get("succeeded", 0)
    failed = statuses.get("failed", 0)
    decided = succeeded + failed
    return {
        "key": key,
        "runs": sum(statuses.values()),
        "succeeded": succeeded,
        "failed": failed,
        "success_rate": round(succeeded / decided, 4) if decided else None,
        "cost_tokens": tokens,
        "cost_micro_usd": cost,
    }


def _csv(groups: list[Json], *, headers: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text,
        ["key", "runs", "succeeded", "failed", "success_rate", "cost_tokens", "cost_micro_usd"],
    )
    if headers:
        writer.writeheader()
    writer.writerows(groups)
    return text.getvalue()


def _kind(by: str) -> output.Kind[Json]:
    return output.Kind[Json](
        schema="codexrun.stats-row/v1",
        plural="groups",
        name=lambda row: str(row["key"]),
        columns=[
            Column(by.upper(), lambda row: row["key"] or "-"),
            Column("RUNS", lambda row: str(row["runs"]), right=True),
            Column("SUCCEEDED", lambda row: str(row["succeeded"]), right=True),
            Column("FAILED", lambda row: str(row["failed"]), right=True),
            Column(
                "RATE",
                lambda row: "" if row["success_rate"] is None else f"{row['success_rate']:.0%}",
                right=True,
            ),
            Column("TOKENS", lambda row: str(row["cost_tokens"]), right=True),
            Column("COST", lambda row: money(row["cost_micro_usd"] or 0), right=True),
        ],
    )
