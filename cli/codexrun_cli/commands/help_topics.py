"""`codexrun help` and `completion`."""

from typing import Annotated

import typer

from codexrun_cli import output
from codexrun_cli.errors import say, usage
from codexrun_cli.exit_codes import MEANING

SHELLS = ("bash", "zsh", "fish", "powershell")
INSTALL = {
    "bash": "codexrun completion bash > ~/.local/share/bash-completion/completions/codexrun",
    "zsh": "codexrun completion zsh > a file _codexrun in a folder of $fpath",
    "fish": "codexrun completion fish > ~/.config/fish/completions/codexrun.fish",
    "powershell": "codexrun completion powershell | Out-String | Invoke-Expression",
}


def help_topic(
    ctx: typer.Context,
    topic: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND|exit-codes]", help="What about.")
    ] = None,
) -> None:
    """Help about a command, or `exit-codes`."""
    if topic == ["exit-codes"]:
        output.write("".join(f"{code.value:>4}  {text}\n" for code, text in MEANING.items()))
        return
    context = ctx.find_root()
    command = context.command
    for name in topic or []:
        found = command.get_command(context, name) if hasattr(command, "get_command") else None
        if found is None:
            usage(f'"{name}" is no command')
        command = found
    inner = (
        type(context)(command, info_name=" ".join(topic or []), parent=context)
        if topic
        else context
    )
    output.write(command.get_help(inner) + "\n")


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print a completion script."""
    from typer._completion_shared import get_completion_script

    if shell not in SHELLS:
        usage(f'"{shell}" is no shell that is known; use {", ".join(SHELLS)}')
    name = "pwsh" if shell == "powershell" else shell
    output.write(
        get_completion_script(prog_name="codexrun", complete_var="_CODEXRUN_COMPLETE", shell=name)
        + "\n"
    )
    say(f"to install: {INSTALL[shell]}")
