"""`codexrun artifacts`: what is kept of a run besides its log, listed or downloaded."""

from pathlib import Path
from typing import Annotated

import typer

from codexrun_cli import context, durations, options, output, run_selection
from codexrun_cli.errors import CommandError, say, usage
from codexrun_cli.exit_codes import Code
from codexrun_cli.output import Json
from codexrun_cli.output.table import Column

SUBJECT = "`codexrun artifacts`"


def artifacts(
    ctx: typer.Context,
    name: options.OneName = None,
    download: Annotated[
        list[str] | None,
        typer.Option(
            "--download",
            metavar="ARTIFACT",
            help="Save this artifact, such as workspace.patch. Repeatable.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Save all artifacts.")] = False,
    directory: Annotated[
        Path,
        typer.Option(
            "--dir",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Directory to save to.",
        ),
    ] = Path(),
    fmt: options.Output = None,
    no_headers: options.NoHeaders = False,
) -> None:
    """List or save the artifacts of a run, such as its final message, the patch of its workspace
    and the Codex session file. Existing files are not overwritten. Needs the REST API."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt, headers=not no_headers)
    if download and everything:
        usage("use either --download or --all, not both")
    with opened(context.flags(ctx)) as transport:
        run = run_selection.find_run(transport, name)
        path = f"/runs/{run['run_id']}/artifacts"
        listed = transport.ask("GET", path, SUBJECT)["artifacts"]
        names = [item["name"] for item in listed]
        if not download and not everything:
            output.emit(listed, _kind(), output_format, context.out(ctx))
            if not listed and output_format.human:
                say(f"{run['name']} has no artifacts")
            return
        wanted = names if everything else list(dict.fromkeys(download or ()))
        for artifact in wanted:
            if artifact not in names:
                raise CommandError(
                    Code.NOT_FOUND,
                    f'{run["name"]} has no artifact "{artifact}"',
                    hint=(
                        f"the run has {', '.join(names)}" if names else "the run has no artifacts"
                    ),
                )
        for artifact in wanted:
            file = directory / artifact
            _save(file, transport.data(f"{path}/{artifact}"))
            output.write(f"{file}\n")


def _save(file: Path, data: bytes) -> None:
    try:
        with file.open("xb") as out:
            out.write(data)
    except FileExistsError:
        raise CommandError(
            Code.CONFLICT, f"{file} already exists", hint="use --dir to choose another directory"
        ) from None
    except OSError as error:
        raise CommandError(Code.FAILED, f"{file}: {error.strerror or error}") from None


def _kind() -> output.Kind[Json]:
    now = context.now()
    return output.Kind[Json](
        schema="codexrun.artifact/v1",
        plural="artifacts",
        columns=[
            Column("NAME", lambda item: item["name"]),
            Column("BYTES", lambda item: str(item["bytes"]), right=True),
            Column("AGE", lambda item: durations.age(item["updated_at"], now), right=True),
        ],
        wide=[Column("URL", lambda item: item["url"])],
    )
