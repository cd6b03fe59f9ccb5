"""Which run does the user mean? A name, its unique beginning, a run id, `@latest`,
`@latest-failed`; or one of a list."""

from collections.abc import Collection, Sequence
from datetime import datetime

import typer

from codexrun_cli import context, durations
from codexrun_cli.errors import CommandError, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import fit, printable, width
from codexrun_cli.terminal import interactive
from codexrun_cli.transports import RunFilter, Transport
from codexrun_cli.transports.schemas import Run
from codexrun_core.resources.phases import STATUSES

MAX_ABOUT_CHARACTERS = 40
LATEST = {"@latest": None, "@latest-failed": "failed"}
NO_RUNS = "there are no runs yet"
START_ONE = "codexrun start JOB_TYPE"
MAX_LISTED_RUNS = 15  # to pick one from
MAX_SEARCHED_RUNS = 500


def find_run(transport: Transport, name: str | None, statuses: Collection[str] = STATUSES) -> Run:
    """Return the run that is meant. statuses: of runs that are offered where none was named.

    Raises:
        CommandError: there is none, or several.
        BadParameter: none was named, and nobody can be asked.
    """
    if name is None:
        return _pick(transport, statuses)
    if name.startswith("@"):
        return _latest(transport, name)
    try:
        return transport.run(name)
    except CommandError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        runs = _by_prefix(transport, name)
        if len(runs) == 1:
            return runs[0]
        if runs:
            names = ", ".join(sorted(run["name"] for run in runs)[:5])
            raise CommandError(
                Code.USAGE,
                f'"{name}" matches {len(runs)} runs: {names}{", ..." if len(runs) > 5 else ""}',
                hint="type more of the run's name",
            ) from None
        raise


def find_runs(
    transport: Transport, names: list[str], statuses: Collection[str] = STATUSES
) -> list[Run]:
    """Return the runs that are meant, each once, in their order."""
    runs = [find_run(transport, name, statuses) for name in names or (None,)]
    return list({run["run_id"]: run for run in runs}.values())


def _latest(transport: Transport, name: str) -> Run:
    if name not in LATEST:
        raise typer.BadParameter(f'"{name}" is not a valid name; use {" or ".join(LATEST)}')
    status = LATEST[name]
    for run in transport.runs(RunFilter(status=status), 1):
        return run
    raise CommandError(
        Code.NOT_FOUND,
        f"{name}: there is no {status} run" if status else f"{name}: {NO_RUNS}",
        hint="" if status else START_ONE,
    )


def _by_prefix(transport: Transport, prefix: str) -> list[Run]:
    """Return runs whose names begin so; the server's search finds them among all."""
    return [
        run
        for run in transport.runs(RunFilter(search=prefix), MAX_SEARCHED_RUNS)
        if run["name"].startswith(prefix) or (len(prefix) > 7 and run["run_id"].startswith(prefix))
    ]


def _pick(transport: Transport, statuses: Collection[str]) -> Run:
    if not interactive():
        raise typer.BadParameter("name a run, or @latest")
    chosen = None if len(statuses) == len(STATUSES) else ",".join(sorted(statuses))
    runs = list(transport.runs(RunFilter(status=chosen), MAX_LISTED_RUNS))
    if not runs:
        raise CommandError(
            Code.NOT_FOUND,
            f"there are no runs with one of these statuses: {', '.join(sorted(statuses))}"
            if chosen
            else NO_RUNS,
            hint="" if chosen else START_ONE,
        )
    for line in choices(runs, context.now()):
        say(line)
    choice: int = typer.prompt("which run", type=int, default=1, err=True)
    if not 1 <= choice <= len(runs):
        raise typer.BadParameter(f"{choice} is not in the list")
    return runs[choice - 1]


def choices(runs: Sequence[Run], now: datetime) -> list[str]:
    """Return a numbered line for each run: name, status, age, and what it is about. Pure."""
    names = max(width(run["name"]) for run in runs)
    return [
        f"{number:3}  {run['name']:<{names}}  {run['status']:<9}"
        f"  {durations.age(run.get('created_at'), now):>4}"
        f"  {fit(printable(run.get('title') or ''), MAX_ABOUT_CHARACTERS)}".rstrip()
        for number, run in enumerate(runs, 1)
    ]
