"""`codexrun diff`: what differs between two runs, and nothing else."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from codexrun_cli import completion, context, durations, options, output, run_selection
from codexrun_cli.commands.apply import patch_of
from codexrun_cli.errors import usage
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import printable
from codexrun_cli.transports import Json, LogRange, Transport
from codexrun_cli.transports.schemas import Run

SPEC_FIELDS = (
    "job_type",
    "params",
    "prompt_name",
    "prompt_version",
    "prompt_sha256",
    "model",
    "effort",
    "priority",
)
RESULT_FIELDS = ("status", "result", "error", "failure", "usage")
MAX_OUTPUT_LINES = 1000  # of one command

Name = Annotated[str, typer.Argument(metavar="RUN", autocompletion=completion.runs)]


def diff(
    ctx: typer.Context,
    a: Name,
    b: Annotated[
        str | None, typer.Argument(metavar="[RUN]", autocompletion=completion.runs)
    ] = None,
    spec: Annotated[bool, typer.Option("--spec", help="Compare only the specs.")] = False,
    result: Annotated[bool, typer.Option("--result", help="Compare only the results.")] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Compare the logs, as readable text without timestamps.")
    ] = False,
    fmt: options.Output = None,
) -> None:
    """Show the differences between two runs; exit with 1 if there are any. For a single
    run, show the changes in its workspace, which needs the REST API."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt)
    if sum((spec, result, log)) > 1:
        usage("use only one of --spec, --result and --log")
    if b is None and (spec or result or log or not output_format.human):
        usage("name two runs to compare; for a single run, only its patch can be shown")
    with opened(context.flags(ctx)) as transport:
        first = run_selection.find_run(transport, a)
        if b is None:
            output.write_bytes(patch_of(transport, first))
            return
        second = run_selection.find_run(transport, b)
        if log:
            text = _diff_logs(transport, first, second)
            output.write(text)
            raise typer.Exit(Code.FAILED if text else Code.DONE)
    fields: tuple[str, ...] = (*SPEC_FIELDS, *RESULT_FIELDS)
    if spec or result:
        fields = SPEC_FIELDS if spec else RESULT_FIELDS
    changes = list(differences(_comparable(first, fields), _comparable(second, fields)))
    if output_format.human:
        terminal = context.out(ctx)
        for change in changes:
            removed = [terminal.paint(f"- {line}", "red") for line in _value_lines(change["a"])]
            added = [terminal.paint(f"+ {line}", "green") for line in _value_lines(change["b"])]
            lines = [terminal.paint(change["field"], "bold"), *removed, *added]
            output.write("".join(f"{line}\n" for line in lines))
    else:
        document = {
            "schema": "codexrun.diff/v1",
            "a": first["name"],
            "b": second["name"],
            "differences": changes,
        }
        output.emit_document(document, output_format)
    raise typer.Exit(Code.FAILED if changes else Code.DONE)


def differences(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> Iterator[Json]:
    """Yield fields whose values differ, objects field by field; null: not there. Pure."""
    for key in dict.fromkeys([*a, *b]):
        left = a.get(key)
        right = b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from differences(left, right, f"{path}{key}.")
        elif left != right:
            yield {"field": f"{path}{key}", "a": left, "b": right}


def _comparable(run: Mapping[str, Any], fields: tuple[str, ...]) -> Json:
    """Return the fields; duration_seconds stands for the two times it comes from, which always
    differ."""
    values = {key: run[key] for key in fields if key in run}
    start = durations.parsed(run.get("started_at"))
    end = durations.parsed(run.get("finished_at"))
    if "usage" in fields and start and end:
        values["duration_seconds"] = round((end - start).total_seconds())
    return values


def _value_lines(value: Any) -> list[str]:
    if value is None:
        return []
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [printable(line) for line in text.splitlines()] or [""]


def _diff_logs(transport: Transport, first: Run, second: Run) -> str:
    a = _log_lines(transport, first)
    b = _log_lines(transport, second)
    lines = difflib.unified_diff(a, b, first["name"], second["name"], lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _log_lines(transport: Transport, run: Run) -> list[str]:
    from codexrun_cli.follow.lines import Reader

    reader = Reader(MAX_OUTPUT_LINES)
    log = b"".join(transport.log(run, LogRange()).chunks)
    return [
        line.plain()
        for raw in log.splitlines()
        for line in reader.read(raw)
        if not line.text.startswith("thread ")
    ]
