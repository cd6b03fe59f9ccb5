"""What commands print: formats.py has `-o`, the others what stands in the columns."""

from codexrun_cli.output.formats import (
    HELP,
    Format,
    Json,
    Kind,
    emit,
    emit_document,
    parse,
    write,
    write_bytes,
)

__all__ = [
    "HELP",
    "Format",
    "Json",
    "Kind",
    "emit",
    "emit_document",
    "parse",
    "write",
    "write_bytes",
]
