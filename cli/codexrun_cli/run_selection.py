"""Which run does the user mean? A name, its unique beginning, a run id, `@latest`,
`@latest-failed`; or one of a list."""

import typer

from codexrun_cli.errors import CommandError, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.terminal import interactive
from codexrun_cli.transports import RunFilter, Transport
from codexrun_cli.transports.schemas import Run

LATEST = {"@latest": None, "@latest-failed": "failed"}
MAX_LISTED_RUNS = 15  # to pick one from
MAX_SEARCHED_RUNS = 500


def find_run(transport: Transport, name: str | None) -> Run:
    """Return the run that is meant.

    Raises:
        CommandError: there is none, or several.
        BadParameter: none was named, and nobody can be asked.
    """
    if name is None:
        return _pick(transport)
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
                f'"{name}" is the beginning of {len(runs)} names:'
                f" {names}{', ...' if len(runs) > 5 else ''}",
            ) from None
        raise


def find_runs(transport: Transport, names: list[str]) -> list[Run]:
    """Return the runs that are meant, each once, in their order."""
    runs = [find_run(transport, name) for name in names] if names else [find_run(transport, None)]
    return list({run["run_id"]: run for run in runs}.values())


def _latest(transport: Transport, name: str) -> Run:
    if name not in LATEST:
        raise typer.BadParameter(f'"{name}" is not a valid name; use {" or ".join(LATEST)}')
    for run in transport.runs(RunFilter(status=LATEST[name]), 1):
        return run
    raise CommandError(
        Code.NOT_FOUND, f"there is no run that {name} could mean", hint="codexrun start JOB_TYPE"
    )


def _by_prefix(transport: Transport, prefix: str) -> list[Run]:
    """Return runs whose names begin so; the server's search finds them among all."""
    return [
        run
        for run in transport.runs(RunFilter(search=prefix), MAX_SEARCHED_RUNS)
        if run["name"].startswith(prefix) or (len(prefix) > 7 and run["run_id"].startswith(prefix))
    ]


def _pick(transport: Transport) -> Run:
    if not interactive():
        raise typer.BadParameter("name a run, or @latest")
    runs = list(transport.runs(RunFilter(), MAX_LISTED_RUNS))
    if not runs:
        raise CommandError(Code.NOT_FOUND, "there are no runs yet", hint="codexrun start JOB_TYPE")
    for number, run in enumerate(runs, 1):
        say(f"{number:3}  {run['name']}  {run['status']}")
    choice: int = typer.prompt("which run", type=int, default=1, err=True)
    if not 1 <= choice <= len(runs):
        raise typer.BadParameter(f"{choice} is not in the list")
    return runs[choice - 1]
