"""What can the terminal show? Colour, width, symbols: decided once, from flags, environment and
what stdout is."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

COLOURS = {
    "red": 31,
    "green": 32,
    "yellow": 33,
    "blue": 34,
    "magenta": 35,
    "cyan": 36,
    "dim": 2,
    "bold": 1,
}

# Sequences of this program's own: colours, and a link to a page of the console.
_COLOUR = rf"\x1b\[(?:0|{'|'.join(map(str, COLOURS.values()))})m"
_LINK = r"\x1b\]8;;[^\x00-\x1f\x7f-\x9f]*\x1b\\"
# What a terminal obeys or does not show: control characters, and marks that turn the direction of
# text or have no width.
_HIDDEN = (
    "(?:\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f])"
)
_COLOURS_KEPT = re.compile(f"({_COLOUR})|{_HIDDEN}")
_LINKS_KEPT = re.compile(f"({_COLOUR}|{_LINK})|{_HIDDEN}")


def harmless(text: str, *, links: bool = False) -> str:
    """Return text that a terminal only shows: what it would obey stands there as JSON writes it, so
    that JSON stays the same JSON.

    Agents, prompts and servers wrote most of it. Colours are let through; links where the caller
    has cleaned everything else.
    """
    pattern = _LINKS_KEPT if links else _COLOURS_KEPT
    return pattern.sub(lambda match: match[1] or json.dumps(match[0])[1:-1], text)


@dataclass(frozen=True)
class Terminal:
    """One stream's abilities. width: None where lines need not be cut."""

    tty: bool = False
    colour: bool = False
    utf8: bool = False
    width: int | None = None

    def paint(self, text: str, colour: str | None) -> str:
        """Return the text with colour, where there is any."""
        if not self.colour or not colour or not text:
            return text
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"

    def link(self, text: str, url: str) -> str:
        """Return the text as a link (OSC 8): a terminal that does not know it shows the text."""
        return f"\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\" if self.tty and self.colour else text


def is_tty(stream: IO[Any] | None) -> bool:
    """Return whether the stream is a terminal; a closed one is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def terminal(
    stream: IO[Any] | None,
    *,
    colour: str = "auto",
    utf8: bool = True,
    plain: bool = False,
    env: Mapping[str, str] = os.environ,
) -> Terminal:
    """Return what a stream can show. colour: auto, always or never. plain: neither colour nor
    redrawing nor symbols."""
    tty = is_tty(stream)
    dumb = env.get("TERM", "") == "dumb"
    wants = colour == "always" or (
        colour == "auto" and tty and not dumb and not env.get("NO_COLOR")
    )
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return Terminal(
        tty=tty and not dumb and not plain,
        colour=wants and not plain,
        utf8=utf8 and not plain and not dumb and encoding == "utf8",
        width=_width(env) if tty or env.get("COLUMNS", "").isdecimal() else None,
    )


def _width(env: Mapping[str, str]) -> int:
    columns = env.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return max(20, int(columns))
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def interactive() -> bool:
    """Return whether somebody can be asked."""
    return is_tty(sys.stdin) and is_tty(sys.stderr)
