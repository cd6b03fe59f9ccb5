"""`codexrun prompts`: the texts of the cluster or of a folder, and from a folder of prompts and job
types to what a cluster can apply."""

from pathlib import Path
from typing import Annotated

import typer

from codexrun_cli import completion, context, options, output, prompt_source
from codexrun_cli.errors import CommandError, fail, file_problem, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.output import Json
from codexrun_cli.output.table import Column, counted

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Work with prompts, in the cluster or in a directory of source files.",
)


Directory = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Directory with prompts/index.json and configs/jobs/*.yaml; default: the current one.",
        show_default=False,
    ),
]


@app.command(
    short_help="Print the manifests of a directory.",
    epilog="""\b
Examples:
  codexrun prompts manifests | kubectl apply -n codexrun -f -
  codexrun prompts manifests ../team-prompts -n codexrun > codexrun.yaml

The same directory always gives the same output, so you can commit it for Flux or Argo CD.""",
)
def manifests(
    ctx: typer.Context,
    directory: Directory = Path(),
) -> None:
    """Print the manifests of a directory: a ConfigMap per prompt version, and the job types.

    -n NAME sets the namespace of every object. Each job type gets the sha256 of its prompt
    version, so a run either uses the reviewed text or does not start. Nothing is printed if
    anything in the directory is wrong.
    """
    from codexrun_core.prompts.manifests import to_yaml

    output.write(
        to_yaml(prompt_source.load_folder(directory).manifests(context.flags(ctx).namespace))
    )


@app.command(
    short_help="Check a directory and report all problems.",
    epilog="""\b
Examples:
  codexrun prompts verify
  codexrun prompts verify ../team-prompts
  codexrun prompts verify --since origin/main

Each problem is printed on one line, with the file, the field and the fix.""",
)
def verify(
    directory: Directory = Path(),
    since: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help=(
                "Also check that the versions already published on this Git branch or commit are"
                " unchanged."
            ),
        ),
    ] = None,
) -> None:
    """Check the prompts and job types in a directory: checksums and versions must be correct, and
    each job type must be valid and use an existing prompt."""
    folder = prompt_source.load_folder(directory)
    if since is not None:
        from codexrun_core.prompts.history import find_edited_versions
        from codexrun_core.prompts.index import FolderError

        try:
            problems = find_edited_versions(directory, since, folder.index)
        except FolderError as error:
            raise typer.BadParameter(str(error)) from None
        if problems:
            fail(*problems)
    texts = len(folder.index.all())
    job_types = len(folder.job_types)
    typer.echo(f"OK: {counted(texts, 'prompt version')}, {counted(job_types, 'job type')}")


FOLDER_HELP = "Read this directory instead of the cluster."
From = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", exists=True, file_okay=False, help=FOLDER_HELP),
]
Prompt = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", autocompletion=completion.prompts)]


Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "-p", "--set", metavar="KEY=VALUE", help="An input; KEY:=JSON passes JSON. Repeatable."
    ),
]


@app.command("list")
def list_prompts(
    ctx: typer.Context,
    folder: From = None,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """List prompts: versions, checksums, owners, and the job types that use them."""
    output_format = output.parse(fmt, headers=not no_headers)
    rows = [
        # An api before 0.2 knows only the job types of all versions together.
        {"name": prompt["name"], "used_by": prompt["used_by"], **version}
        for prompt in prompt_source.list_prompts(ctx, folder)
        for version in prompt["versions"]
    ]
    output.emit(rows, _KIND, output_format, context.out(ctx))
    wrong = [f"{row['name']}@{row['version']}" for row in rows if not row["checksum_ok"]]
    if wrong:
        say(f"checksum mismatch: {', '.join(wrong)}; runs with these versions are rejected")


@app.command("show")
def show(ctx: typer.Context, prompt: Prompt, folder: From = None) -> None:
    """Print the text of a prompt version; default: the newest version."""
    output.write(prompt_source.read_text(ctx, prompt, folder)[1])


@app.command("diff")
def diff(ctx: typer.Context, before: Prompt, after: Prompt, folder: From = None) -> None:
    """Show the differences between two versions; exit with 1 if there are any."""
    import difflib

    (old, text) = prompt_source.read_text(ctx, before, folder)
    (new, other) = prompt_source.read_text(ctx, after, folder)
    lines = difflib.unified_diff(
        text.splitlines(keepends=True), other.splitlines(keepends=True), old, new
    )
    text_diff = "".join(
        line if line.endswith("\n") else line + "\n\\ no newline at the end\n" for line in lines
    )
    output.write(text_diff)
    raise typer.Exit(Code.FAILED if text_diff else Code.DONE)


@app.command("render")
def render(
    ctx: typer.Context,
    prompt: Prompt,
    sets: Inputs = None,
    file: options.InputsFile = None,
    folder: From = None,
) -> None:
    """Print the exact text that Codex would get with the given inputs."""
    from codexrun_core.prompts.rendering import UnknownPlaceholderError
    from codexrun_core.prompts.rendering import render as rendered

    try:
        output.write(
            rendered(
                prompt_source.read_text(ctx, prompt, folder)[1], options.inputs(sets, file) or {}
            )
        )
    except UnknownPlaceholderError as error:
        raise CommandError(Code.FAILED, str(error), hint=f"add -p {error.name}=VALUE") from None


@app.command(
    "add",
    epilog="""\b
Example:
  codexrun prompts add hello hello.md --owner docs

Published versions never change: a new text becomes a new version.""",
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The prompt's name; it may be new.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File with the new text; - reads stdin.")
    ],
    owner: Annotated[
        str | None,
        typer.Option(
            help="The owner; default: the previous version's owner. Required for a new prompt."
        ),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option(
            "--dir",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Directory that contains prompts/.",
        ),
    ] = Path(),
) -> None:
    """Add a new version of a prompt: the text itself, and an entry in prompts/index.json."""
    from datetime import UTC, datetime

    from codexrun_core.prompts.add import add_version
    from codexrun_core.prompts.index import FolderError, load

    try:
        text = _read(file)
        if owner is None:
            versions = (
                load(folder / "prompts").versions.get(name)
                if (folder / "prompts/index.json").exists()
                else None
            )
            if not versions:
                raise typer.BadParameter("a new prompt needs an owner; give --owner NAME")
            owner = list(versions.values())[-1].owner
        published = add_version(folder / "prompts", name, text, owner, datetime.now(UTC).date())
    except FolderError as error:
        fail(*error.problems)
    output.write(f"{published.name}@{published.version}\n")
    say(
        f"prompts/{published.path} was added (sha256 {published.sha256}); to use it, set"
        f" prompt.version: {published.version} in a job type"
    )


def _read(file: Path) -> str:
    import sys

    try:
        data = sys.stdin.buffer.read() if str(file) == "-" and sys.stdin else file.read_bytes()
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file}: {file_problem(error)}", param_hint="FILE") from None


_KIND = output.Kind[Json](
    schema="codexrun.prompt-version/v1",
    plural="prompts",
    name=lambda row: f"{row['name']}@{row['version']}",
    columns=[
        Column("NAME", lambda row: row["name"]),
        Column("VERSION", lambda row: row["version"]),
        Column(
            "CHECKSUM",
            lambda row: "ok" if row["checksum_ok"] else "MISMATCH",
            lambda row: None if row["checksum_ok"] else "red",
        ),
        Column("OWNER", lambda row: row["owner"], flexible=True),
        Column("UPDATED", lambda row: row["updated_at"]),
        Column("USED-BY", lambda row: ",".join(row["used_by"]), flexible=True),
    ],
    wide=[Column("SHA256", lambda row: row["sha256"])],
)
