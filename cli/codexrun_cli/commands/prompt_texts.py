"""`codexrun prompts list`, `show`, `diff`, `render`, `add`: the texts, of the cluster or of a
folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from codexrun_cli import completion, context, options, output
from codexrun_cli.commands.prompts import app, proven
from codexrun_cli.errors import Trouble, fail, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import Column

FOLDER_HELP = "Of this folder, rather than of the cluster."
From = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", exists=True, file_okay=False, help=FOLDER_HELP),
]
Prompt = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", autocompletion=completion.prompts)]


@app.command("list")
def list_prompts(
    ctx: typer.Context,
    folder: From = None,
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """List prompts: versions, checksums, who answers for them, and which job types use them."""
    wanted = output.parse(fmt, headers=not no_headers)
    rows = [
        {"name": prompt["name"], **version, "used_by": prompt["used_by"]}
        for prompt in _prompts(ctx, folder)
        for version in prompt["versions"]
    ]
    output.emit(rows, _KIND, wanted, context.out(ctx))
    wrong = [f"{row['name']}@{row['version']}" for row in rows if not row["checksum_ok"]]
    if wrong:
        say(f"checksum mismatch: {', '.join(wrong)}; runs that name it are rejected")


@app.command("show")
def show(ctx: typer.Context, prompt: Prompt, folder: From = None) -> None:
    """Print a version's text; the newest one if none is named."""
    output.write(_text(ctx, prompt, folder)[1])


@app.command("diff")
def diff(ctx: typer.Context, before: Prompt, after: Prompt, folder: From = None) -> None:
    """Show what differs between two versions; exit code 1 if anything does."""
    import difflib

    (old, text), (new, other) = _text(ctx, before, folder), _text(ctx, after, folder)
    lines = difflib.unified_diff(
        text.splitlines(keepends=True), other.splitlines(keepends=True), old, new
    )
    shown = "".join(
        line if line.endswith("\n") else line + "\n\\ no newline at the end\n" for line in lines
    )
    output.write(shown)
    raise typer.Exit(Code.FAILED if shown else Code.DONE)


@app.command("render")
def render(
    ctx: typer.Context,
    prompt: Prompt,
    sets: options.Sets = None,
    file: options.InputsFile = None,
    folder: From = None,
) -> None:
    """Print the exact text that Codex would be given with these inputs."""
    from codexrun_core.prompts.rendering import UnknownPlaceholderError
    from codexrun_core.prompts.rendering import render as rendered

    try:
        output.write(rendered(_text(ctx, prompt, folder)[1], options.inputs(sets, file) or {}))
    except UnknownPlaceholderError as error:
        raise Trouble(Code.FAILED, str(error), hint=f"add -p {error.name}=VALUE") from None


@app.command(
    "add",
    epilog="""\b
Example:
  codexrun prompts add hello hello.md --owner docs

Published versions are never touched: a new text is a new version.""",
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The prompt; it may be new.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new text; - is stdin.")],
    owner: Annotated[
        str | None, typer.Option(help="Who answers for it; the last version's owner if absent.")
    ] = None,
    folder: Annotated[
        Path,
        typer.Option(
            "--dir", metavar="DIR", exists=True, file_okay=False, help="The folder with prompts/."
        ),
    ] = Path(),
) -> None:
    """Publish a new version of a prompt: its text, and its entry in prompts/index.json."""
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
                raise typer.BadParameter(
                    "a new prompt needs somebody who answers for it: --owner NAME"
                )
            owner = list(versions.values())[-1].owner
        made = add_version(folder / "prompts", name, text, owner, datetime.now(UTC).date())
    except FolderError as error:
        fail(*error.problems)
    output.write(f"{made.name}@{made.version}\n")
    say(
        f"prompts/{made.path}, sha256 {made.sha256}; a job type takes it with prompt.version:"
        f" {made.version}"
    )


def _read(file: Path) -> str:
    import sys

    try:
        data = sys.stdin.buffer.read() if str(file) == "-" and sys.stdin else file.read_bytes()
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint="FILE") from None


def _prompts(ctx: typer.Context, folder: Path | None) -> list[dict[str, Any]]:
    """As the api lists them; a folder's are proven, or not shown at all."""
    if folder is None:
        from codexrun_cli.transports.connection import opened

        with opened(context.flags(ctx)) as transport:
            return transport.prompts()
    found = proven(folder)
    users: dict[str, list[str]] = {}
    for manifest in found.job_types:
        users.setdefault(manifest["spec"]["prompt"]["name"], []).append(
            str(manifest["metadata"]["name"])
        )
    return [
        {
            "name": name,
            "versions": [
                {
                    "version": v.version,
                    "sha256": v.sha256,
                    "checksum_ok": True,
                    "owner": v.owner,
                    "updated_at": v.updated_at,
                }
                for v in versions.values()
            ],
            "used_by": users.get(name, []),
        }
        for name, versions in sorted(found.index.versions.items())
    ]


def _text(ctx: typer.Context, prompt: str, folder: Path | None) -> tuple[str, str]:
    """`name@version` and its text."""
    name, _, version = prompt.partition("@")
    if folder is not None:
        index = proven(folder).index
        try:
            found = index.find(
                name,
                version or [*index.versions.get(name, {}), "v1"][-1 - (name in index.versions)],
            )
        except LookupError as error:
            raise Trouble(Code.NOT_FOUND, str(error)) from None
        return f"{name}@{found.version}", found.text
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        if not version:
            known = next((one for one in transport.prompts() if one["name"] == name), None)
            if known is None:
                raise Trouble(
                    Code.NOT_FOUND,
                    f'there is no prompt "{name}"',
                    hint="`codexrun prompts list` shows what there is",
                )
            version = known["versions"][-1]["version"]
        return f"{name}@{version}", transport.prompt_text(name, version)


_KIND = output.Kind(
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
