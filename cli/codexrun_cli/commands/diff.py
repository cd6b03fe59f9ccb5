"""`codexrun diff`: what differs between two runs, and nothing else."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from codexrun_cli import completion, context, options, output, run_selection, times
from codexrun_cli.errors import usage
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import printable
from codexrun_cli.transports import Json, LogRange, Transport

SPEC = (
    "job_type",
    "params",
    "prompt_name",
    "prompt_version",
    "prompt_sha256",
    "model",
    "effort",
    "priority",
)
RESULT = ("status", "result", "error", "failure", "usage")

Run = Annotated[str, typer.Argument(metavar="RUN", autocompletion=completion.runs)]


def diff(
    ctx: typer.Context,
    a: Run,
    b: Run,
    spec: Annotated[bool, typer.Option("--spec", help="Only what was asked for.")] = False,
    result: Annotated[bool, typer.Option("--result", help="Only what came of it.")] = False,
    log: Annotated[
        bool, typer.Option("--log", help="The logs, in words and without times.")
    ] = False,
    fmt: options.Output = None,
) -> None:
    """Show what differs between two runs. Exit code 1 if anything does, like diff."""
    from codexrun_cli.transports.connection import opened

    wanted = output.parse(fmt)
    if sum((spec, result, log)) > 1:
        usage("give one of --spec, --result and --log")
    with opened(context.flags(ctx)) as transport:
        first, second = run_selection.one(transport, a), run_selection.one(transport, b)
        if log:
            text = _logs(transport, first, second)
            output.write(text)
            raise typer.Exit(Code.FAILED if text else Code.DONE)
    fields = SPEC if spec else RESULT if result else (*SPEC, *RESULT)
    found = list(differences(_compared(first, fields), _compared(second, fields)))
    if wanted.human:
        terminal = context.out(ctx)
        for one in found:
            output.write(f"{terminal.paint(one['field'], 'bold')}\n")
            output.write(
                "".join(terminal.paint(f"- {line}", "red") + "\n" for line in _shown(one["a"]))
            )
            output.write(
                "".join(terminal.paint(f"+ {line}", "green") + "\n" for line in _shown(one["b"]))
            )
    else:
        shown = {
            "schema": "codexrun.diff/v1",
            "a": first["name"],
            "b": second["name"],
            "differences": found,
        }
        output.emit_document(shown, wanted)
    raise typer.Exit(Code.FAILED if found else Code.DONE)


def differences(a: Mapping[str, Any], b: Mapping[str, Any], at: str = "") -> Iterator[Json]:
    """Fields whose values differ, objects field by field; null: not there. Pure."""
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from differences(left, right, f"{at}{key}.")
        elif left != right:
            yield {"field": f"{at}{key}", "a": left, "b": right}


def _compared(run: Json, fields: tuple[str, ...]) -> Json:
    """duration_seconds stands for the two times it comes from, which always differ."""
    found = {key: run[key] for key in fields if key in run}
    start, end = times.parsed(run.get("started_at")), times.parsed(run.get("finished_at"))
    if "usage" in fields and start and end:
        found["duration_seconds"] = round((end - start).total_seconds())
    return found


def _shown(value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [printable(line) for line in text.splitlines()] or [""]


def _logs(transport: Transport, first: Json, second: Json) -> str:
    a, b = _words(transport, first), _words(transport, second)
    lines = difflib.unified_diff(a, b, first["name"], second["name"], lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _words(transport: Transport, run: Json) -> list[str]:
    from codexrun_cli.follow.lines import Reader

    reader = Reader(most_output=1000)
    log = b"".join(transport.log(run, LogRange()).pieces)
    return [
        said.plain()
        for line in log.splitlines()
        for said in reader.read(line)
        if not said.text.startswith("thread ")
    ]
