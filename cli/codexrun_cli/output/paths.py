"""`-o jsonpath=` and `-o custom-columns=`, as kubectl has them, over the JSON that -o json
prints."""

import json
import re
from functools import partial
from typing import Any

import typer

from codexrun_cli.output.table import Column, table
from codexrun_cli.terminal import Terminal

_PART = re.compile(r"\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_TEXT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
_LISTS = ("runs", "job_types", "prompts", "results", "groups", "checks")


def check(name: str, argument: str) -> None:
    """Check an expression before anything is asked of a server.

    Raises:
        BadParameter: it is not a valid expression.
    """
    if name == "jsonpath":
        for text in _expressions(argument):
            _compiled(text)
    else:
        for _, text in _columns(argument):
            _compiled(text)


def show(name: str, argument: str, document: Any, *, headers: bool = True) -> str:
    if name == "jsonpath":
        return _template(argument, document)
    items = next(
        (document[key] for key in _LISTS if isinstance(document.get(key), list)), [document]
    )
    columns = [Column(title, partial(_cell, path)) for title, path in _columns(argument)]
    return table(items, columns, Terminal(), headers=headers, cut=False)


def _template(argument: str, document: Any) -> str:
    """kubectl's form: text stands as it is, `{.path}` is replaced, `{"\\n"}` is text too; without
    braces all is one path."""
    if "{" not in argument:
        return _joined(_find(argument, document)) + "\n"

    def value(match: re.Match[str]) -> str:
        inner = match[1].strip()
        if quoted := _TEXT.fullmatch(inner):
            literal: str = json.loads(f'"{quoted[1] if quoted[1] is not None else quoted[2]}"')
            return literal
        return _joined(_find(inner, document))

    text = _PART.sub(value, argument)
    return text if text.endswith("\n") else text + "\n"


def _expressions(argument: str) -> list[str]:
    if "{" not in argument and "}" not in argument:
        return [argument]
    if any(brace in _PART.sub("", argument) for brace in "{}"):
        raise typer.BadParameter(
            f'"{argument}" has an unmatched brace; write, for example, {{.runs[*].name}}'
        )
    texts = [match.strip() for match in _PART.findall(argument)]
    for text in texts:
        if text.partition(" ")[0] in ("range", "end"):
            raise typer.BadParameter(
                f"{{{text}}} is not supported; use {{.runs[*].name}} for all values of a list, or"
                " -o custom-columns=NAME:.name,STATUS:.status for one line each"
            )
    return [text for text in texts if not _TEXT.fullmatch(text)]


def _columns(argument: str) -> list[tuple[str, str]]:
    columns = []
    for part in argument.split(","):
        title, colon, path = part.partition(":")
        if not colon or not title or not path:
            raise typer.BadParameter(
                f'"{part}" is not a valid column; write TITLE:.path, such as'
                " NAME:.name,TOKENS:.usage.total_tokens"
            )
        columns.append((title, path))
    return columns


def _cell(path: str, item: Any) -> str:
    values = _find(path, item)
    return ",".join(map(_text, values)) if values else "<none>"


def _joined(values: list[Any]) -> str:
    return " ".join(map(_text, values))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _find(path: str, document: Any) -> list[Any]:
    values: list[Any] = _compiled(path).findall(document)
    return values


def _compiled(path: str) -> Any:
    import jsonpath

    text = path.strip()
    if not text.startswith(("$", "@")):
        text = "$" + text if text.startswith((".", "[")) else f"$.{text}"
    try:
        return jsonpath.compile("$" if text == "$." else text)
    except (jsonpath.JSONPathError, ValueError) as error:
        raise typer.BadParameter(
            f'"{path}" is not a valid JSONPath: {error}; write, for example, {{.runs[*].name}}'
        ) from None
