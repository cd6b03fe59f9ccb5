"""What every command shares: global options that may stand anywhere on the line, and an end in
words instead of a traceback."""

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from codexrun_cli.errors import ApiRequired, CommandError, fail, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.settings import Flags
from codexrun_cli.terminal import Terminal, terminal

if TYPE_CHECKING:
    from datetime import datetime

VALUED = {"--server", "--kubeconfig", "--context", "--namespace", "-n", "--color"}
SWITCHES = {"--all-namespaces", "-A", "--debug", "--plain", "--no-utf8"}


class Root(TyperGroup):
    """The program itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandError as error:
            for line in error.lines():
                say(line)
            raise typer.Exit(error.code) from None
        except KeyboardInterrupt:
            raise typer.Exit(Code.INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError, EOFError):
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            file = os.path.relpath(where.filename, Path(__file__).parent)
            fail(
                f"a fault of this program: {type(error).__name__}: {error}",
                f"  at {file}:{where.lineno}; please report it",
            )


def hoisted(args: list[str]) -> list[str]:
    """Global options first, wherever they stood: `codexrun list --server URL` is what people type.
    Pure."""
    front: list[str] = []
    rest: list[str] = []
    queue = list(args)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        name, equals, _ = word.partition("=")
        if word in VALUED and queue:
            front += [word, queue.pop(0)]
        elif (name in VALUED and equals and name.startswith("--")) or word in SWITCHES:
            front.append(word)
        elif word.startswith("-n") and not word.startswith("--") and len(word) > 2:
            front += ["-n", word[2:]]
        else:
            rest.append(word)
    return front + rest


def flags(ctx: typer.Context) -> Flags:
    """The global options of this call."""
    root = ctx.find_root()
    if isinstance(root.obj, Flags):
        return root.obj
    given = root.params  # completion parses, and calls nothing
    known = {key: given[key] for key in Flags.__dataclass_fields__ if key in given}
    return Flags(**known)


def changed(ctx: typer.Context, **more: Any) -> Flags:
    return replace(flags(ctx), **more)


def out(ctx: typer.Context) -> Terminal:
    """What stdout can show."""
    return _terminal(ctx, sys.stdout)


def err(ctx: typer.Context) -> Terminal:
    """What stderr can show."""
    return _terminal(ctx, sys.stderr)


def _terminal(ctx: typer.Context, stream: Any) -> Terminal:
    from codexrun_cli.transports.connection import settings_of

    given = flags(ctx)
    return terminal(stream, colour=settings_of(given).color, utf8=given.utf8, plain=given.plain)


def open_in_browser(url: str | None) -> None:
    """Open a page of the console.

    Raises:
        ApiRequired: there is none.
    """
    if url is None:
        raise ApiRequired("the console")
    say(f"opening {url}")
    typer.launch(url)


def now() -> "datetime":
    """The present, asked once a command: what ages are told from."""
    from datetime import UTC, datetime

    return datetime.now(UTC)
