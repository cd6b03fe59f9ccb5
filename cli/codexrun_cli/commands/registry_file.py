"""`codexrun export` and `codexrun import`: the registry as a file, and back, also into the other
kind of database. They work on the database itself, beside an api or without one."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from codexrun_cli import output
from codexrun_cli.errors import CommandError, Unreachable, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import counted

if TYPE_CHECKING:
    from codexrun_core.registry.export.format import Entry, Reader

RUNS_PER_TRANSACTION = 100


def export_runs() -> None:
    """Print every run in the registry as JSON lines.

    Keep the output as a backup, or import it into another database with `codexrun
    import`. The command reads the database directly, so run it in the REST API's pod:

    \b
      kubectl exec -n codexrun deploy/codexrun-api -- \\
        python3 -m codexrun_cli export > runs.jsonl

    CODEXRUN_REGISTRY_URL selects another database. Logs and artifacts are not
    included; they are in the directory `archive` on the REST API's volume.
    """
    with _problems():
        runs = asyncio.run(_export())
    say(f"{counted(runs, 'run')} exported")


def import_runs() -> None:
    """Import runs into the registry from stdin, in the format of `codexrun export`.

    Runs that already exist are kept as they are, so you can repeat an interrupted import. The
    REST API can keep running during the import. Example:

    \b
      kubectl exec -i -n codexrun deploy/codexrun-api -- \\
        python3 -m codexrun_cli import < runs.jsonl
    """
    from codexrun_core.registry.export.format import Reader

    reader = Reader()
    with _problems():
        inserted = asyncio.run(_import(reader))
    present = reader.runs - inserted
    say(
        f"{counted(inserted, 'run')} imported; {counted(present, 'run')} already existed, and"
        f" {'was' if present == 1 else 'were'} kept"
    )
    if not reader.ended:
        raise CommandError(
            Code.FAILED,
            f"the file is truncated after {counted(reader.runs, 'run')}: its last line is missing",
            hint=(
                "export the runs again and import the new file; runs that already exist are kept"
            ),
        )


async def _export() -> int:
    from codexrun_core.registry import Registry, schema
    from codexrun_core.registry.engines import registry_url
    from codexrun_core.registry.export.format import end_line, entry_line, head_line

    runs = 0
    async with await Registry.open(registry_url(os.environ)) as registry:
        await registry.check()
        output.write_bytes(head_line(schema.head()))
        async for entry in registry.entries():
            output.write_bytes(entry_line(entry))
            runs += 1
        output.write_bytes(end_line(runs))
    return runs


async def _import(reader: "Reader") -> int:
    from codexrun_core.registry import Registry
    from codexrun_core.registry.engines import registry_url

    inserted = 0
    async with await Registry.open(registry_url(os.environ)) as registry:
        await registry.migrate()
        batch: list[Entry] = []
        for line in _lines():
            entry = reader.read(line)
            if entry is not None:
                batch.append(entry)
            if len(batch) == RUNS_PER_TRANSACTION:
                inserted += await registry.insert(batch)
                batch = []
        inserted += await registry.insert(batch)
    return inserted


def _lines() -> Iterator[bytes]:
    from codexrun_core.registry.export.format import MAX_LINE_BYTES

    while line := sys.stdin.buffer.readline(MAX_LINE_BYTES):
        yield line


@contextmanager
def _problems() -> Iterator[None]:
    """Put what is wrong with file or database into words."""
    from codexrun_core.errors import Unavailable
    from codexrun_core.registry import SchemaError
    from codexrun_core.registry.export.format import BadExport

    try:
        yield
    except BadExport as error:
        raise CommandError(
            Code.FAILED, str(error), hint="runs from earlier lines may already have been imported"
        ) from None
    except SchemaError as error:
        raise CommandError(Code.FAILED, str(error)) from None
    except Unavailable as error:
        raise Unreachable(
            str(error),
            hint="set CODEXRUN_REGISTRY_URL or CODEXRUN_DATA to say where the registry is",
        ) from None
    except ValueError as error:  # the URL; the message holds no password
        raise CommandError(Code.USAGE, f"CODEXRUN_REGISTRY_URL: {error}") from None
