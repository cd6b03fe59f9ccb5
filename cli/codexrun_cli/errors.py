"""How a command ends when it could not do its work: on stderr, in words, never a traceback."""

import sys
from typing import Any, NoReturn

import typer

from codexrun_cli.exit_codes import Code
from codexrun_cli.terminal import harmless, is_tty


class CommandError(Exception):
    """What went wrong, for people: the detail, the request's id where a server gave one, and what
    to do next."""

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        hint: str = "",
        request_id: str = "",
        errors: list[dict[str, Any]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.request_id = request_id
        self.errors = errors or []
        self.retry_after = retry_after

    def lines(self) -> list[str]:
        """Return what is printed: the problem first, then fields, request id and hint, one a
        line."""
        lines = [f"codexrun: {self.detail}"]
        for error in self.errors:
            location = error.get("pointer") or error.get("parameter") or "body"
            if str(error.get("detail")) not in self.detail:
                lines.append(f"  {location}: {error.get('detail')}")
        if self.retry_after:
            lines.append(f"  try again in {self.retry_after}s")
        if self.request_id:
            lines.append(f"  request ID: {self.request_id}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return lines


def file_problem(error: OSError | ValueError) -> str:
    """Return why a file of the user's cannot be read, or not as UTF-8, without its name."""
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or type(error).__name__})"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 (byte {error.start}); save it as UTF-8"
    return " ".join(str(error).split())


class Unreachable(CommandError):
    """Server or cluster does not answer; nothing is known about what happened. timed_out: it was
    waited for, and nobody would wait once more."""

    def __init__(self, detail: str, *, timed_out: bool = False, **fields: Any) -> None:
        super().__init__(Code.UNREACHABLE, detail, **fields)
        self.timed_out = timed_out


class ApiRequired(CommandError):
    """Only the api keeps what this command shows."""

    def __init__(self, subject: str) -> None:
        super().__init__(
            Code.UNREACHABLE,
            f"{subject} needs the REST API",
            hint="give --server URL, set CODEX_CONTROL_URL, or run `codexrun login URL` once",
        )


def fail(*problems: str, code: Code = Code.FAILED) -> NoReturn:
    for problem in problems:
        say(f"codexrun: {problem}")
    raise typer.Exit(code)


def usage(problem: str) -> NoReturn:
    """End the command for wrong usage, in typer's own form."""
    raise typer.BadParameter(problem)


def say(text: str, *, links: bool = False) -> None:
    """Print something for people, beside the data; links: as in `terminal.harmless`."""
    typer.echo(harmless(text, links=links) if is_tty(sys.stderr) else text, err=True)
