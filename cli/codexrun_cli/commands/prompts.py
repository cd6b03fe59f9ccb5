"""`codexrun prompts`: from a folder of prompts and job types to what a cluster can apply."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codexrun_cli import context, output
from codexrun_cli.errors import fail

if TYPE_CHECKING:
    from codexrun_core.prompts.manifests import Folder

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Prompts: those of the cluster, and of a folder that is turned into manifests.",
)


Directory = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Folder with prompts/index.json and configs/jobs/*.yaml; the current one if left out.",
        show_default=False,
    ),
]


def namespace(name: str | None) -> str | None:
    """A namespace's name, as an option's value."""
    from codexrun_core.prompts.index import NAME_PATTERN, NAME_RULE

    if name is not None and not NAME_PATTERN.fullmatch(name):
        raise typer.BadParameter(f'"{name}" is no name for a namespace; {NAME_RULE}')
    return name


@app.command(
    short_help="Print the manifests of a folder.",
    epilog="""\b
Examples:
  codexrun prompts manifests | kubectl apply -n codexrun -f -
  codexrun prompts manifests ../team-prompts -n codexrun > codexrun.yaml

The same folder always gives the same bytes, so the output can be committed for Flux or Argo CD.""",
)
def manifests(
    ctx: typer.Context,
    directory: Directory = Path(),
) -> None:
    """Print the manifests of a folder: a ConfigMap per prompt version, and the job types.

    With -n NAME the namespace is written into every object. Each job type gets the sha256 of the
    prompt version it names, so that a run uses the reviewed text or none. Nothing is printed if
    anything in the folder is wrong.
    """
    from codexrun_core.prompts.manifests import to_yaml

    output.write(to_yaml(proven(directory).manifests(context.flags(ctx).namespace)))


@app.command(
    short_help="Check a folder and say what is wrong.",
    epilog="""\b
Examples:
  codexrun prompts verify
  codexrun prompts verify ../team-prompts
  codexrun prompts verify --since origin/main

All problems are printed, one a line, with file, field and what to do.""",
)
def verify(
    directory: Directory = Path(),
    since: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help=(
                "Also check that no version published in the history of this Git branch or commit"
                " has changed."
            ),
        ),
    ] = None,
) -> None:
    """Check a folder: checksums, versions, and that each job type is valid and names a prompt that
    is there."""
    folder = proven(directory)
    if since is not None:
        from codexrun_core.prompts.history import find_edited_versions
        from codexrun_core.prompts.index import FolderError

        try:
            problems = find_edited_versions(directory, since, folder.index)
        except FolderError as error:
            raise typer.BadParameter(str(error)) from None
        if problems:
            fail(*problems)
    texts, job_types = len(folder.index.all()), len(folder.job_types)
    typer.echo(
        f"{_count(texts, 'prompt version')} and {_count(job_types, 'job type')} are as they"
        " should be"
    )


def proven(directory: Path) -> "Folder":
    from codexrun_core.prompts.index import FolderError
    from codexrun_core.prompts.manifests import load

    try:
        return load(directory)
    except FolderError as error:
        fail(*error.problems)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
