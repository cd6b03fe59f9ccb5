"""Which run does the user mean? A name, its unique beginning, a run id, `@latest`,
`@latest-failed`; or one of a list."""

import typer

from codexrun_cli.errors import Trouble, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.terminal import interactive
from codexrun_cli.transports import Json, RunFilter, Transport

LATEST = {"@latest": None, "@latest-failed": "failed"}
OFFERED = 15
MANY = 500


def one(transport: Transport, wanted: str | None) -> Json:
    """The run that is meant.

    Raises:
        Trouble: there is none, or several.
        BadParameter: none was named, and nobody can be asked.
    """
    if wanted is None:
        return _asked(transport)
    if wanted.startswith("@"):
        return _latest(transport, wanted)
    try:
        return transport.run(wanted)
    except Trouble as trouble:
        if trouble.code is not Code.NOT_FOUND:
            raise
        found = _beginning(transport, wanted)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(sorted(run["name"] for run in found)[:5])
            raise Trouble(
                Code.USAGE,
                f'"{wanted}" is the beginning of {len(found)} names:'
                f" {names}{', ...' if len(found) > 5 else ''}",
            ) from None
        raise


def several(transport: Transport, wanted: list[str]) -> list[Json]:
    """The runs that are meant, each once, in their order."""
    found = [one(transport, name) for name in wanted] if wanted else [one(transport, None)]
    return list({run["run_id"]: run for run in found}.values())


def _latest(transport: Transport, wanted: str) -> Json:
    if wanted not in LATEST:
        raise typer.BadParameter(f'"{wanted}" is no name; use {" or ".join(LATEST)}')
    for run in transport.runs(RunFilter(status=LATEST[wanted]), 1):
        return run
    raise Trouble(
        Code.NOT_FOUND, f"there is no run that {wanted} could mean", hint="codexrun start JOB_TYPE"
    )


def _beginning(transport: Transport, wanted: str) -> list[Json]:
    """Runs whose names begin so; the server's search finds them among all."""
    found = transport.runs(RunFilter(search=wanted), MANY)
    return [
        run
        for run in found
        if run["name"].startswith(wanted) or (len(wanted) > 7 and run["run_id"].startswith(wanted))
    ]


def _asked(transport: Transport) -> Json:
    if not interactive():
        raise typer.BadParameter("name a run, or @latest")
    runs = list(transport.runs(RunFilter(), OFFERED))
    if not runs:
        raise Trouble(Code.NOT_FOUND, "there are no runs yet", hint="codexrun start JOB_TYPE")
    for number, run in enumerate(runs, 1):
        say(f"{number:3}  {run['name']}  {run['status']}")
    picked: int = typer.prompt("which run", type=int, default=1, err=True)
    if not 1 <= picked <= len(runs):
        raise typer.BadParameter(f"{picked} is not in the list")
    return runs[picked - 1]
