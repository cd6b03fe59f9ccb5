"""What stops a command, and what a person can do about it."""

from pathlib import Path


class LauncherError(Exception):
    """A person has to do something: what happened, and the line to type.

    `log` is the file whose end explains it, where there is one.
    """

    def __init__(self, message: str, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented; empty when there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join("    " + line[:300] for line in text.splitlines()[-lines:])
