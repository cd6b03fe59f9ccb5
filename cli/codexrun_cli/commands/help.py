"""`codexrun help`: about a command, or about exit codes."""

from typing import Annotated

import typer

from codexrun_cli import output
from codexrun_cli.errors import usage
from codexrun_cli.exit_codes import MEANING


def help_topic(
    ctx: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND|exit-codes]", help="Name of a command, or exit-codes."),
    ] = None,
) -> None:
    """Show help for a command, or list the exit codes (`exit-codes`)."""
    if topic == ["exit-codes"]:
        output.write("".join(f"{code.value:>4}  {text}\n" for code, text in MEANING.items()))
        return
    context = ctx.find_root()
    command = context.command
    for name in topic or []:
        subcommand = command.get_command(context, name) if hasattr(command, "get_command") else None
        if subcommand is None:
            usage(f'"{name}" is not a command')
        command = subcommand
    inner = (
        type(context)(command, info_name=" ".join(topic or []), parent=context)
        if topic
        else context
    )
    output.write(command.get_help(inner) + "\n")
