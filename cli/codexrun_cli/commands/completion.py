"""`codexrun completion`: the script that a shell loads."""

from typing import Annotated

import typer

from codexrun_cli import output
from codexrun_cli.errors import say, usage

SHELLS = ("bash", "zsh", "fish", "powershell")
INSTALL = {
    "bash": "codexrun completion bash > ~/.local/share/bash-completion/completions/codexrun",
    "zsh": "codexrun completion zsh > DIR/_codexrun    # DIR: a directory in $fpath",
    "fish": "codexrun completion fish > ~/.config/fish/completions/codexrun.fish",
    "powershell": "codexrun completion powershell | Out-String | Invoke-Expression",
}


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print a completion script."""
    from typer._completion_shared import get_completion_script

    if shell not in SHELLS:
        usage(f'"{shell}" is not a supported shell; use {", ".join(SHELLS)}')
    name = "pwsh" if shell == "powershell" else shell
    output.write(
        get_completion_script(prog_name="codexrun", complete_var="_CODEXRUN_COMPLETE", shell=name)
        + "\n"
    )
    say(f"to install: {INSTALL[shell]}")
