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


@dataclass(frozen=True)
class Column(Generic[T]):
    """value: the cell's text. flexible: cut, or left out, where the terminal is too narrow."""

    title: str
    value: Callable[[T], str]
    colour: Callable[[T], str | None] = lambda _: None
    right: bool = False
    flexible: bool = False


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
    """Return sizes that fit: flexible columns give way from the right, first to MIN_WIDTH and then
    altogether."""
    fitted = list(sizes)
    for least in (MIN_WIDTH, 0):
        for i in range(len(fitted) - 1, -1, -1):
            excess = sum(size + len(GAP) for size in fitted if size) - len(GAP) - limit
            if excess > 0 and columns[i].flexible and fitted[i] > least:
                fitted[i] = max(least, fitted[i] - excess) if least else 0
    return fitted


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


def printable(text: str) -> str:
    """Return one line, and nothing that a terminal would obey: the text may be the agent's."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
