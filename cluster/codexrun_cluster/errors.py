"""What stops a command, in words that name the way out."""

from pathlib import Path


class Failure(Exception):
    """A person has to do something: what happened, and the line to type.

    `log` is the file whose end explains it, where there is one.
    """

    def __init__(self, what: str, way_out: str = "", log: Path | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.way_out = way_out
        self.log = log


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, indented; empty when there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join("    " + line[:300] for line in text.splitlines()[-lines:])
