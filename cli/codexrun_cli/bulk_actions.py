"""One action on one run, several by name, or all that match a filter; and what came of each."""

from collections.abc import Callable

import typer

from codexrun_cli import context, output, run_selection
from codexrun_cli.errors import Trouble, say, usage
from codexrun_cli.exit_codes import Code
from codexrun_cli.output import Kind
from codexrun_cli.output.table import Column
from codexrun_cli.statuses import is_terminal
from codexrun_cli.terminal import interactive
from codexrun_cli.transports import Json, RunFilter, Transport

MAX_RUNS = 1000


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


def chosen_runs(
    transport: Transport,
    names: list[str] | None,
    chosen: RunFilter,
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
        chosen = RunFilter(**{**vars(chosen), "status": default})
    runs = list(transport.runs(chosen, MAX_RUNS))
    if not runs or dry_run or yes:
        return runs
    if not interactive():
        usage(f"{len(runs)} runs match; give --yes to {what} them, or --dry-run to see them")
    typer.confirm(
        f"{what} {len(runs)} {'run' if len(runs) == 1 else 'runs'}?", abort=True, err=True
    )
    return runs


def act_on(
    run: Json, done: str, action: Callable[[Json], Json], *, dry_run: bool
) -> tuple[Json, Json | None]:
    """One run's result, and the run after it. A failure is a result: the others go on."""
    result: Json = {"name": run["name"], "run_id": run["run_id"], "outcome": done}
    if dry_run:
        possible = is_terminal(run["status"]) == (done == "retried")
        verb = "retry" if done == "retried" else "cancel"
        return {
            **result,
            "outcome": f"would {verb}" if possible else "skipped",
            "status": run["status"],
        }, None
    try:
        after = action(run)
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


def report(ctx: typer.Context, results: list[Json], wanted: output.Format, what: str) -> None:
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
