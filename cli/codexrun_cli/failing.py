"""How a command ends when it could not do what was asked: on stderr, one line a problem, never a traceback."""

from typing import NoReturn

import typer

FAILED = 1


def fail(*problems: str, code: int = FAILED) -> NoReturn:
    for problem in problems:
        typer.echo(f"codexrun: {problem}", err=True)
    raise typer.Exit(code)
