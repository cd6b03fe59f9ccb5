"""What every command shares: global options that may stand anywhere on the line, and an end in
words instead of a traceback."""

import os
import sys
import traceback
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

VALUE_OPTIONS = {"--server", "--kubeconfig", "--context", "--namespace", "-n", "--color"}
SWITCH_OPTIONS = {"--all-namespaces", "-A", "--debug", "--plain", "--no-utf8"}


class Root(TyperGroup):
    """The program itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoist(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandError as error:
            for line in error.lines():
                say(line)
            raise typer.Exit(error.code) from None
        except KeyboardInterrupt:
            raise typer.Exit(Code.INTERRUPTED) from None
        except typer.BadParameter as error:
            error.message = _in_own_words(error)
            raise
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError, EOFError):
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            file = os.path.relpath(frame.filename, Path(__file__).parent)
            fail(
                f"internal error: {type(error).__name__}: {error}",
                f"  at {file}:{frame.lineno}; please report it",
            )


def _in_own_words(error: typer.BadParameter) -> str:
    """Return the message of an option's error; pydantic's, which Typer shows, in the words that
    REST and admission have for it."""
    from pydantic import ValidationError

    from codexrun_core.resources.field_problems import explain

    if not isinstance(error.__cause__, ValidationError):
        return error.message
    return "; ".join(explain(problem) for problem in error.__cause__.errors())


def hoist(args: list[str]) -> list[str]:
    """Return the words with global options first, wherever they stood: `codexrun list --server URL`
    is what people type. Pure."""
    global_words: list[str] = []
    command_words: list[str] = []
    remaining = list(args)
    while remaining:
        word = remaining.pop(0)
        if word == "--":
            command_words += [word, *remaining]
            break
        name, equals, _ = word.partition("=")
        if word in VALUE_OPTIONS and remaining:
            global_words += [word, remaining.pop(0)]
        elif (name in VALUE_OPTIONS and equals and name.startswith("--")) or word in SWITCH_OPTIONS:
            global_words.append(word)
        elif word.startswith("-n") and not word.startswith("--") and len(word) > 2:
            global_words += ["-n", word[2:]]
        else:
            command_words.append(word)
    return global_words + command_words


def flags(ctx: typer.Context) -> Flags:
    """Return the global options of this call."""
    root = ctx.find_root()
    if isinstance(root.obj, Flags):
        return root.obj
    params = root.params  # completion parses, and calls nothing
    return Flags(**{key: params[key] for key in Flags.__dataclass_fields__ if key in params})


def out(ctx: typer.Context) -> Terminal:
    """Return what stdout can show."""
    return _terminal(ctx, sys.stdout)


def err(ctx: typer.Context) -> Terminal:
    """Return what stderr can show."""
    return _terminal(ctx, sys.stderr)


def _terminal(ctx: typer.Context, stream: Any) -> Terminal:
    from codexrun_cli.transports.connection import settings_of

    options = flags(ctx)
    colour = settings_of(options).color
    return terminal(stream, colour=colour, utf8=options.utf8, plain=options.plain)


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
    """Return the present, once a command: what ages are counted from."""
    from datetime import UTC, datetime

    return datetime.now(UTC)
