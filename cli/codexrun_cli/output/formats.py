"""`-o`: one place that turns what a command found into bytes on stdout, and nothing else goes
there."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import typer

from codexrun_cli.output.table import Column, table
from codexrun_cli.terminal import Terminal, harmless, is_tty

Json = dict[str, Any]
T = TypeVar("T", bound=Mapping[str, Any])

SIMPLE_FORMATS = ("table", "wide", "name", "json", "yaml", "jsonl")
HELP = "table|wide|name|json|yaml|jsonl|jsonpath=…|custom-columns=…"


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How things of one kind are shown. schema: the name and version that JSON carries; plural: the
    list's key in it."""

    schema: str
    plural: str
    columns: Sequence[Column[T]]
    wide: Sequence[Column[T]] = ()
    name: Callable[[T], str] = lambda item: str(item["name"])
    prefix: str = ""


@dataclass(frozen=True)
class Format:
    """What -o asks for."""

    name: str = "table"
    argument: str = ""
    headers: bool = True

    @property
    def human(self) -> bool:
        return self.name in ("table", "wide")


def parse(text: str | None, headers: bool = True) -> Format:
    """Read the value of -o.

    Raises:
        BadParameter: it is not a valid format.
    """
    name, equals, argument = (text or "table").partition("=")
    if name in SIMPLE_FORMATS and not equals:
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
    raise typer.BadParameter(f'-o "{text}" is not a valid format; use {HELP}')


def emit(
    items: Iterable[T], kind: Kind[T], fmt: Format, terminal: Terminal, *, single: bool = False
) -> None:
    """Print things of one kind. single: one was asked for, and JSON is the thing itself rather than
    a list of one."""
    if fmt.name == "jsonl":
        for item in items:
            write(line(document(item, kind.schema)))
        return
    all_items = list(items)
    match fmt.name:
        case "name":
            write("".join(f"{kind.prefix}{kind.name(item)}\n" for item in all_items))
        case "table" | "wide":
            columns = [*kind.columns, *(kind.wide if fmt.name == "wide" else ())]
            write(table(all_items, columns, terminal, headers=fmt.headers, cut=fmt.name == "table"))
        case _:
            if single:
                emit_document(document(all_items[0], kind.schema), fmt)
            else:
                emit_document(listing(all_items, kind), fmt)


def emit_document(value: Mapping[str, Any], fmt: Format) -> None:
    """Print one JSON document in any of the formats for programs."""
    match fmt.name:
        case "yaml":
            write(to_yaml(value))
        case "jsonl":
            write(line(value))
        case "jsonpath" | "custom-columns":
            from codexrun_cli.output import paths

            write(paths.show(fmt.name, fmt.argument, value, headers=fmt.headers))
        case _:
            write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def document(item: Mapping[str, Any], schema: str) -> Json:
    """Return the item with the name of its schema, which changes when a field goes or changes its
    meaning."""
    return {"schema": schema, **item}


def listing(items: Sequence[T], kind: Kind[T]) -> Json:
    name, _, version = kind.schema.partition("/")
    return {"schema": f"{name}-list/{version}", kind.plural: items}


def line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def to_yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)


def write(text: str, *, links: bool = False) -> None:
    """Write to stdout, in UTF-8 whatever the locale; surrogates that came from outside are
    replaced.

    A terminal gets nothing that it would obey, and its own encoding: 0x9b begins a control sequence
    in Latin-1. links: as in `terminal.harmless`.
    """
    if is_tty(sys.stdout):
        _write(harmless(text, links=links).encode(sys.stdout.encoding or "utf-8", "replace"))
    else:
        _write(text.encode("utf-8", "replace"))


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout as they are; to a terminal as the text that they are."""
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
