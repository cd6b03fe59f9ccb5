"""`codexrun apply`: the patch that a run has left, put into a working tree."""

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from codexrun_cli import context, options, run_selection
from codexrun_cli.errors import CommandError, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports import Transport
from codexrun_cli.transports.schemas import Run

PATCH = "workspace.patch"


def apply(
    ctx: typer.Context,
    name: options.OneName = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check whether the patch applies.")
    ] = False,
    directory: Annotated[
        Path,
        typer.Option(
            "--dir",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Directory in the Git working tree.",
        ),
    ] = Path(),
) -> None:
    """Apply the patch of a run's workspace to a Git working tree, completely or not at all. Nothing
    is committed. Needs the REST API."""
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        run = run_selection.find_run(transport, name)
        patch = patch_of(transport, run)
    root = Path(_git(directory, "rev-parse", "--show-toplevel").strip())
    _git(root, "apply", "--check", patch=patch)
    stat = _git(root, "apply", "--stat", patch=patch)
    if not check:
        _git(root, "apply", patch=patch)
    say(stat.rstrip("\n"))
    say(f"the patch of {run['name']} {'applies' if check else 'was applied'} to {root}")


def patch_of(transport: Transport, run: Run) -> bytes:
    """Return the patch of a run's workspace.

    Raises:
        CommandError: it has none.
    """
    try:
        return transport.data(f"/runs/{run['run_id']}/artifacts/{PATCH}")
    except CommandError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        raise CommandError(
            Code.NOT_FOUND,
            f"{run['name']} has no patch: the run has not ended, had no Git workspace or changed"
            " nothing in it, or its patch was not stored or was cleaned up",
            hint=f"`codexrun status {run['name']}` shows the status and the warnings of the run",
        ) from None


def _git(directory: Path, *arguments: str, patch: bytes | None = None) -> str:
    """Run Git, and return what it printed.

    Raises:
        CommandError: with Git's own words.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            input=patch,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(Code.FAILED, "git is not on the PATH; install Git") from None
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()
        hint = ""
        if arguments[0] == "apply":
            hint = "check out the commit that the run worked on, and commit or stash local changes"
        elif arguments[0] == "rev-parse":
            hint = "use --dir to name a Git working tree"
        raise CommandError(Code.FAILED, words or "git failed", hint=hint)
    return done.stdout.decode("utf-8", "replace")
