"""One action on one run, several by name, or all that match a filter; and what came of each."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

import typer

from codexrun_cli import context, output, run_selection
from codexrun_cli.errors import CommandError, say, usage
from codexrun_cli.exit_codes import Code
from codexrun_cli.output import Kind
from codexrun_cli.output.table import Column, counted
from codexrun_cli.terminal import interactive
from codexrun_cli.transports import Json, RunFilter, Transport
from codexrun_cli.transports.schemas import Run
from codexrun_core.resources.phases import ENDED_STATUSES

MAX_RUNS = 1000
VERBS = {"cancelled": "cancel", "retried": "retry", "deleted": "delete"}  # by what came of it

RESULTS = Kind[Json](
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


def select_runs(
    transport: Transport,
    names: list[str] | None,
    run_filter: RunFilter,
    default_status: str,
    verb: str,
    possible: Collection[str],
    *,
    dry_run: bool,
    yes: bool,
) -> list[Run]:
    """Return the runs that are meant. A filter may match many: that is said first, and asked about
    where somebody can answer. possible: statuses of runs that are offered where none is named."""
    if names and not run_filter.empty:
        usage(f"give either the names of the runs to {verb} or a filter, not both")
    if run_filter.empty:
        return run_selection.find_runs(transport, names or [], possible)
    if not run_filter.status:
        run_filter = replace(run_filter, status=default_status)
    runs = list(transport.runs(run_filter, MAX_RUNS))
    if not runs or dry_run or yes:
        return runs
    if not interactive():
        matching = f"{counted(len(runs), 'run')} {'matches' if len(runs) == 1 else 'match'}"
        usage(f"{matching}; add --yes to {verb} the runs, or --dry-run to see them")
    typer.confirm(f"{verb} {counted(len(runs), 'run')}?", abort=True, err=True)
    return runs


def act_on(
    run: Run, outcome: str, action: Callable[[Run], Run], *, dry_run: bool
) -> tuple[Json, Run | None]:
    """Return one run's result, and the run after it. A failure is a result: the others go on."""
    result: Json = {"name": run["name"], "run_id": run["run_id"], "outcome": outcome}
    if dry_run:
        possible = (run["status"] in ENDED_STATUSES) != (outcome == "cancelled")
        result["outcome"] = f"would {VERBS[outcome]}" if possible else "skipped"
        return {**result, "status": run["status"]}, None
    try:
        after = action(run)
    except CommandError as error:
        failure = {
            "outcome": "failed",
            "status": run["status"],
            "error": error.detail,
            "code": int(error.code),
        }
        return {**result, **failure, "hint": error.hint}, None
    if after["run_id"] != run["run_id"]:
        result |= {"new_name": after["name"], "new_run_id": after["run_id"]}
    return {**result, "status": after["status"]}, after


def skip(run: Run, reason: str) -> Json:
    """Return the result of a run that is left alone."""
    result = {"name": run["name"], "run_id": run["run_id"], "outcome": "skipped"}
    return {**result, "status": run["status"], "error": reason}


def _in_words(result: Json) -> str:
    """Return what came of one run; a run that was asked to stop has not stopped yet."""
    outcome, status = result["outcome"], result["status"]
    if outcome == "cancelled":
        return outcome if status == "cancelled" else f"cancellation requested ({status})"
    if outcome == "skipped" and result.get("error"):
        return f"skipped: {result['error']}"
    if outcome == "retried":
        new = f", new run {result['new_name']}" if result.get("new_name") else ""
        return f"retried{new} ({status})"
    return f"{outcome} ({status})"


def _total(results: list[Json]) -> str:
    """Return how many runs had each outcome: `3 runs: 2 being cancelled, 1 failed`."""
    counts = Counter(
        "being cancelled"
        if result["outcome"] == "cancelled" and result["status"] != "cancelled"
        else result["outcome"]
        for result in results
    )
    return f"{len(results)} runs: " + ", ".join(f"{n} {name}" for name, n in counts.items())


def report(ctx: typer.Context, results: list[Json], fmt: output.Format, verb: str) -> None:
    """Print what came of each run, and end with an exit code that says whether any failed."""
    failed = [result for result in results if result["outcome"] == "failed"]
    hints = {result.pop("hint", "") for result in results}
    if fmt.name == "table":
        for result in results:
            if result["outcome"] != "failed":
                output.write(f"{result['name']} {_in_words(result)}\n")
    else:
        output.emit(results, RESULTS, fmt, context.out(ctx))
    for result in failed:
        say(f"codexrun: {result['name']}: {result['error']}")
    for hint in sorted(filter(None, hints)):
        say(f"  hint: {hint}")
    if not results:
        say(f"no runs to {verb}")
    elif len(results) > 1:
        say(_total(results))
    if failed:
        raise typer.Exit(failed[0]["code"] if len(results) == 1 else Code.FAILED)
