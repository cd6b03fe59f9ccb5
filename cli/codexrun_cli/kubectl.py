"""`kubectl codexrun`: the same program as a plug-in, and the completion that kubectl asks it
for."""

import sys

from codexrun_cli.main import main as program

NO_FILES = 4  # kubectl's (cobra's) directive: offer nothing else


def main() -> None:
    """`kubectl-codexrun`."""
    program("kubectl codexrun")


def complete() -> None:
    """`kubectl_complete-codexrun WORD... PART`: what could stand in place of PART, a line each,
    then the directive."""
    from typer._completion_classes import BashComplete
    from typer.main import get_command

    from codexrun_cli.main import app

    *words, incomplete = sys.argv[1:] or [""]
    offer = BashComplete(get_command(app), {}, "kubectl codexrun", "_CODEXRUN_COMPLETE")
    for item in offer.get_completions(words, incomplete):
        print(f"{item.value}\t{item.help}" if item.help else item.value)
    print(f":{NO_FILES}")
