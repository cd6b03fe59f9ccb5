"""A table of plain text, aligned, that fits its terminal: what people compare stands first, long
text is cut last. Pure."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from codexrun_cli.terminal import Terminal

T = TypeVar("T")

GAP = "  "
MIN_WIDTH = 10  # characters of a cut column; below that it is left out
MAX_CELL_WIDTH = 120  # characters of a flexible cell where there is no terminal to fit


@dataclass(frozen=True)
class Column(Generic[T]):
    """value: the cell's text. flexible: cut where the terminal is too narrow, and left out where
    that is not enough. optional: left out before any other is, the lowest number first."""

    title: str
    value: Callable[[T], str]
    colour: Callable[[T], str | None] = lambda _: None
    right: bool = False
    flexible: bool = False
    optional: int | None = None


def table(
    items: Sequence[T],
    columns: Sequence[Column[T]],
    terminal: Terminal,
    *,
    headers: bool = True,
    cut: bool = True,
) -> str:
    """Return the rows, each a line; nothing where there are none."""
    if not items:
        return ""
    cells = [[printable(column.value(item)) for column in columns] for item in items]
    titles = [[column.title for column in columns]] if headers else []
    sizes = [max(map(width, column), default=0) for column in zip(*titles, *cells, strict=True)]
    if cut and terminal.width is not None:
        sizes = fit_columns(sizes, columns, terminal.width)
    elif cut:
        sizes = [
            min(size, MAX_CELL_WIDTH) if column.flexible else size
            for size, column in zip(sizes, columns, strict=True)
        ]
    visible = [i for i, size in enumerate(sizes) if size > 0]
    lines = (
        [_line(titles[0], sizes, visible, columns, lambda _, text: terminal.paint(text, "bold"))]
        if headers
        else []
    )
    for item, row in zip(items, cells, strict=True):

        def paint(i: int, text: str, item: T = item) -> str:
            return terminal.paint(text, columns[i].colour(item))

        lines.append(_line(row, sizes, visible, columns, paint))
    return "".join(f"{line}\n" for line in lines)


def fit_columns(sizes: Sequence[int], columns: Sequence[Column[T]], limit: int) -> list[int]:
    """Return sizes that fit: flexible columns shrink to MIN_WIDTH, the last first; where that is
    not enough optional ones are left out, and then flexible ones, the last first."""
    kept = list(sizes)
    optional = [i for i, column in enumerate(columns) if column.optional is not None]
    flexible = [i for i, column in enumerate(columns) if column.flexible and i not in optional]
    leavable = sorted(optional, key=lambda i: columns[i].optional or 0) + flexible[::-1]
    fitted = _shrunk(kept, columns, limit)
    for i in leavable:
        if _excess(fitted, limit) <= 0:
            break
        kept[i] = 0
        fitted = _shrunk(kept, columns, limit)
    return fitted


def _shrunk(sizes: Sequence[int], columns: Sequence[Column[T]], limit: int) -> list[int]:
    fitted = list(sizes)
    for i in range(len(fitted) - 1, -1, -1):
        excess = _excess(fitted, limit)
        if excess > 0 and columns[i].flexible and fitted[i] > MIN_WIDTH:
            fitted[i] = max(MIN_WIDTH, fitted[i] - excess)
    return fitted


def _excess(sizes: Sequence[int], limit: int) -> int:
    """Return how many columns of the terminal a line has too many."""
    return sum(size + len(GAP) for size in sizes if size) - len(GAP) - limit


def _line(
    row: Sequence[str],
    sizes: Sequence[int],
    visible: Sequence[int],
    columns: Sequence[Column[T]],
    paint: Callable[[int, str], str],
) -> str:
    parts = []
    for i in visible:
        text = fit(row[i], sizes[i])
        space = " " * (sizes[i] - width(text))
        parts.append(space + paint(i, text) if columns[i].right else paint(i, text) + space)
    return GAP.join(parts).rstrip()


def fit(text: str, size: int) -> str:
    """Return text of at most `size` columns, with dots where something is missing."""
    if width(text) <= size:
        return text
    start = ""
    used = 0
    for character in text:
        used += width(character)
        if used > max(0, size - 3):
            break
        start += character
    return (start + "...")[:size]


def width(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: `1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return one line, and nothing that a terminal would obey: the text may be the agent's."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
