"""Write the table of values into the chart's README: `make generate` calls it.

A row is a value with a comment of its own in values.yaml, which is its description; what is below
it (the parts of a `resources`) is its default. A section's comment is for readers of values.yaml.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts/codexrun"
README = CHART / "README.md"
BEGIN = "<!-- written by dev/chart_values.py from here -->"
END = "<!-- to here -->"


def comments(text: str) -> dict[tuple[str, ...], str]:
    """Return the comment right above each key of a values.yaml, by the key's path.

    It reads block style with two spaces a level, which is what values.yaml is written in; a blank
    line ends a comment.
    """
    found = {}
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        content = line.strip()
        if content.startswith("#"):
            comment.append(content.lstrip("#").strip())
            continue
        name, colon, _ = content.partition(":")
        if colon and not content.startswith("- "):
            depth = (len(line) - len(line.lstrip())) // 2
            path = [*path[:depth], name]
            if comment:
                found[tuple(path)] = " ".join(comment)
        comment = []
    return found


def rows(values: Any, described: dict[tuple[str, ...], str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of each value.

    Raises:
        SystemExit: a value has no comment.
    """
    yield from _rows(values, described, ())


def _rows(
    value: Any, described: dict[tuple[str, ...], str], path: tuple[str, ...]
) -> Iterator[tuple[str, str, str]]:
    below = any(len(other) > len(path) and other[: len(path)] == path for other in described)
    if isinstance(value, dict) and value and below:
        for name, item in value.items():
            yield from _rows(item, described, (*path, name))
        return
    if path not in described:
        raise SystemExit(f"values.yaml: {'.'.join(path)} has no comment right above it")
    yield ".".join(path), json.dumps(value, ensure_ascii=False), described[path]


def table(text: str) -> str:
    """Return the table of a values.yaml, as Markdown."""
    lines = ["| value | default | means |", "|---|---|---|"]
    for name, default, means in rows(yaml.safe_load(text), comments(text)):
        lines.append(f"| `{name}` | `{default}` | {means.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def page(text: str, values: str) -> str:
    """Return the README with its table made anew."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{table(values)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    README.write_text(page(README.read_text(), (CHART / "values.yaml").read_text()))
    sys.stdout.write("wrote charts/codexrun/README.md\n")
