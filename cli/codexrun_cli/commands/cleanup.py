"""`codexrun cleanup`: remove what the api keeps of runs that ended long ago."""

from typing import Annotated

import typer

from codexrun_cli import context, options, output
from codexrun_cli.output.table import counted


def cleanup(
    ctx: typer.Context,
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            metavar="TIME",
            callback=options.read_moment,
            help="Remove runs that ended before this time: an age (14d, 12h) or an RFC 3339 time.",
        ),
    ] = "14d",
    dry_run: options.DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Allow a time within the last hour for --older-than.")
    ] = False,
    fmt: options.Output = None,
) -> None:
    """Remove the logs, artifacts and records of runs that ended long ago. Needs the REST API."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt)
    with opened(context.flags(ctx)) as transport:
        body = {"older_than": older_than, "dry_run": dry_run}
        if force:  # an api of an earlier version knows no such field
            body["force"] = True
        answer = transport.ask("POST", "/cleanup", "`codexrun cleanup`", body=body)
    if output_format.human:
        removed = counted(answer["removed"], "run")
        verb = "would be removed" if dry_run else "removed"
        output.write(f"{verb}: {removed} that ended before {answer['before']}\n")
    else:
        output.emit_document({"schema": "codexrun.cleanup/v1", **answer}, output_format)
