"""`-o`: one place that turns what a command found into bytes on stdout, and nothing else goes
there."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import typer

from codexrun_cli.output.table import Column, table
from codexrun_cli.terminal import Terminal, harmless, is_tty

Json = dict[str, Any]

PLAIN = ("table", "wide", "name", "json", "yaml", "jsonl")
HELP = "table|wide|name|json|yaml|jsonl|jsonpath=…|custom-columns=…"


@dataclass(frozen=True)
class Kind:
    """How things of one kind are shown. schema: the name and version that JSON carries; plural: the
    list's key in it."""

    schema: str
    plural: str
    columns: Sequence[Column]
    wide: Sequence[Column] = ()
    name: Callable[[Json], str] = lambda item: str(item["name"])
    prefix: str = ""


@dataclass(frozen=True)
class Format:
    """What -o asks for."""

    name: str = "table"
    argument: str = ""
    headers: bool = True
    csv: bool = field(default=False)

    @property
    def human(self) -> bool:
        return self.name in ("table", "wide")


def parse(text: str | None, headers: bool = True) -> Format:
    """-o's value.

    Raises:
        BadParameter: it is none.
    """
    name, equals, argument = (text or "table").partition("=")
    if name in PLAIN and not equals:
        return Format(name, headers=headers)
    if name in ("jsonpath", "custom-columns"):
        if not argument:
            example = "{.status}" if name == "jsonpath" else "NAME:.name,STATUS:.status"
            raise typer.BadParameter(
                f"-o {name} needs an expression, such as -o {name}='{example}'"
            )
        from codexrun_cli.output import paths

        paths.check(name, argument)
        return Format(name, argument, headers)
    raise typer.BadParameter(f'-o "{text}" is no format; use {HELP}')


def emit(
    items: Iterable[Json], kind: Kind, wanted: Format, terminal: Terminal, *, single: bool = False
) -> None:
    """Print things of one kind. single: one was asked for, and JSON is the thing itself rather than
    a list of one."""
    if wanted.name == "jsonl":
        for item in items:
            write(line(document(item, kind.schema)))
        return
    found = list(items)
    match wanted.name:
        case "name":
            write("".join(f"{kind.prefix}{kind.name(item)}\n" for item in found))
        case "table" | "wide":
            columns = [*kind.columns, *(kind.wide if wanted.name == "wide" else ())]
            write(
                table(found, columns, terminal, headers=wanted.headers, cut=wanted.name == "table")
            )
        case _:
            shown = document(found[0], kind.schema) if single else listing(found, kind)
            emit_document(shown, wanted)


def emit_document(shown: Json, wanted: Format) -> None:
    """One JSON document in any of the formats for programs."""
    match wanted.name:
        case "yaml":
            write(to_yaml(shown))
        case "jsonl":
            write(line(shown))
        case "jsonpath" | "custom-columns":
            from codexrun_cli.output import paths

            write(paths.show(wanted.name, wanted.argument, shown, headers=wanted.headers))
        case _:
            write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")


def document(item: Mapping[str, Any], schema: str) -> Json:
    """With the name of its schema, which changes when a field goes or changes its meaning."""
    return {"schema": schema, **item}


def listing(items: list[Json], kind: Kind) -> Json:
    name, _, version = kind.schema.partition("/")
    return {"schema": f"{name}-list/{version}", kind.plural: items}


def line(shown: Any) -> str:
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")) + "\n"


def to_yaml(shown: Any) -> str:
    import yaml

    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=1000)


def write(text: str, *, links: bool = False) -> None:
    """To stdout, in UTF-8 whatever the locale; surrogates that came from outside are replaced.

    A terminal gets nothing that it would obey, and its own encoding: 0x9b begins a control sequence
    in Latin-1. links: as in `terminal.harmless`.
    """
    if is_tty(sys.stdout):
        _write(harmless(text, links=links).encode(sys.stdout.encoding or "utf-8", "replace"))
    else:
        _write(text.encode("utf-8", "replace"))


def write_bytes(data: bytes) -> None:
    """To stdout as they are; to a terminal as the text that they are."""
    if is_tty(sys.stdout):
        write(data.decode("utf-8", "replace"))
    else:
        _write(data)


def _write(data: bytes) -> None:
    if sys.stdout is None or not data:
        return
    sys.stdout.flush()
    out = sys.stdout.buffer
    out.write(data)
    out.flush()
