"""Options that several commands have, with one meaning and one help text each."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from codexrun_cli import completion, context, output
from codexrun_cli.statuses import STATUSES


def _format(text: str | None) -> str | None:
    if text is not None:
        output.parse(text)
    return text


def _read_by(read: Callable[[str], object], text: str) -> str:
    """What was typed, once it can be read; else the reader's own words, as every other door says
    them."""
    try:
        read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def read_duration(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_cli.times import seconds

    return _read_by(seconds, text)


def read_moment(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_cli.times import moment

    return _read_by(lambda given: moment(given, context.now()), text)


def _statuses(values: list[str] | None) -> list[str] | None:
    for value in values or ():
        for one in value.split(","):
            if one.lower() not in STATUSES:
                raise typer.BadParameter(f'"{one}" is no status; use {", ".join(STATUSES)}')
    return values


def _selector(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_core.runs.labels import selector

    return _read_by(selector, text)


def _sort(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_core.runs.sorting import read_sort

    return _read_by(read_sort, text)


def read_namespace(name: str | None) -> str | None:
    """A namespace's name, as an option's value."""
    from codexrun_core.prompts.index import NAME, NAME_FORM

    if name is not None and not NAME.fullmatch(name):
        raise typer.BadParameter(f'"{name}" is no name for a namespace; {NAME_FORM}')
    return name


Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FORMAT", callback=_format, help=output.HELP, show_default=False
    ),
]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="Leave the table's first line out.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Name, its beginning, run id, or @latest.",
        autocompletion=completion.runs,
    ),
]
OneName = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="Name, its beginning, run id, or @latest.",
        autocompletion=completion.runs,
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        callback=read_duration,
        help="Stop waiting after 90s, 10m, 2h: exit code 124.",
    ),
]

JobTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--job-type", "-j", metavar="NAME", help="Repeatable.", autocompletion=completion.job_types
    ),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        "-s",
        "--phase",
        metavar="STATUS",
        callback=_statuses,
        help="Repeatable.",
        autocompletion=completion.statuses,
    ),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt", metavar="NAME[@VERSION]", help="Repeatable.", autocompletion=completion.prompts
    ),
]
Users = Annotated[list[str] | None, typer.Option("--user", help="Who started it. Repeatable.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Repeatable.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", callback=read_moment, help="Created since 7d, 12h ago, or an RFC 3339 time."
    ),
]
Older = Annotated[
    str | None,
    typer.Option("--older", metavar="TIME", callback=read_moment, help="Created before then."),
]
Search = Annotated[
    str | None, typer.Option(metavar="WORDS", help="Words in name, message or error.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        "-l",
        "--selector",
        metavar="LABELS",
        callback=_selector,
        help="Label selector, as kubectl's: k=v, k!=v, k, !k, k in (a,b); a comma means AND.",
    ),
]
SortBy = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="[-]ORDER",
        callback=_sort,
        help=(
            "created, started, finished, duration, tokens or cost; - before it: the highest or"
            " latest first."
        ),
        show_default="-created",
    ),
]
GivenLabels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="To find the run by. Repeatable."),
]

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--set",
        metavar="KEY=VALUE",
        help="An input; KEY:=JSON for numbers, lists, objects. Repeatable.",
    ),
]
InputsFile = Annotated[
    Path | None,
    typer.Option(
        "-f", "--file", metavar="FILE", help="Inputs as YAML or JSON; - is stdin. -p wins over it."
    ),
]
PromptVersion = Annotated[
    str | None, typer.Option("--prompt-version", metavar="vN", help="Instead of the job type's.")
]
Model = Annotated[str | None, typer.Option(help="One of the job type's models.")]
Effort = Annotated[str | None, typer.Option(help="One of the job type's efforts.")]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=N",
        help=(
            "Lower a limit: max_tokens, max_cost_cents, timeout_seconds, stall_seconds,"
            " start_seconds. Repeatable."
        ),
    ),
]
Reject = Annotated[
    bool, typer.Option("--reject", help="Fail at once if every slot is taken, instead of queueing.")
]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", metavar="KEY", help="The same key is the same run."),
]
Reason = Annotated[
    str | None, typer.Option("--reason", "-m", "--message", help="Why, for the record.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]

Wait = Annotated[
    bool,
    typer.Option(
        "--wait", "-w", help="Return when the run has ended; its status is the exit code."
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="The same, and show each change of status.")]
Follow = Annotated[
    bool, typer.Option("--follow", "-F", "--logs", help="The same, and show what Codex does.")
]
Detach = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Return when the run is admitted or queued (the default)."),
]
Web = Annotated[bool, typer.Option("--web", help="Open it in the browser.")]

LIMITS = ("max_tokens", "max_cost_cents", "timeout_seconds", "stall_seconds", "start_seconds")


def joined(values: list[str] | None, *, lower: bool = False) -> str | None:
    """Several values mean any of them."""
    text = ",".join(values) if values else None
    return text.lower() if text and lower else text


def limits(values: list[str] | None) -> dict[str, int] | None:
    found = {}
    for value in values or ():
        name, _, number = value.partition("=")
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if name not in LIMITS or not number.isdecimal() or int(number) < 1:
            raise typer.BadParameter(
                f'"{value}" is no limit; write NAME=N with one of {", ".join(LIMITS)}',
                param_hint="--limit",
            )
        found[name] = int(number)
    return found or None


def labels(values: list[str] | None) -> dict[str, str] | None:
    from codexrun_core.runs.labels import check

    found = {}
    for value in values or ():
        key, equals, text = value.partition("=")
        if not equals:
            raise typer.BadParameter(
                f'"{value}" is no label; write KEY=VALUE', param_hint="--label"
            )
        found[key] = text
    try:
        check(found)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--label") from None
    return found or None


def inputs(sets: list[str] | None, file: Path | None) -> dict[str, Any] | None:
    """From the file first, then each -p. `k=v` is text, `k:=v` is JSON.

    Raises:
        BadParameter: something is none of these.
    """
    from codexrun_core.schemas.nesting import nesting_problem

    found: dict[str, Any] = {}
    if file is not None:
        found = _from_file(file)
    for value in sets or ():
        key, equals, text = value.partition("=")
        if not equals or not key.rstrip(":"):
            raise typer.BadParameter(
                f'"{value}" is no input; write KEY=VALUE, or KEY:=JSON', param_hint="-p"
            )
        if key.endswith(":"):
            found[key[:-1]] = _json(value, text)
        else:
            found[key] = text
    if problem := nesting_problem(found):
        raise typer.BadParameter(f"spec.inputs: {problem}")
    return found or None


def _json(value: str, text: str) -> Any:
    import json

    from codexrun_core.schemas.nesting import TOO_DEEP

    try:
        return json.loads(text)
    except RecursionError:
        raise typer.BadParameter(f"spec.inputs: {TOO_DEEP}") from None
    except ValueError as error:
        raise typer.BadParameter(
            f'"{value}": what stands after := is no JSON: {error}', param_hint="-p"
        ) from None


def _from_file(file: Path) -> dict[str, Any]:
    import sys

    import yaml

    from codexrun_core.schemas.nesting import TOO_DEEP

    try:
        if str(file) == "-":
            if sys.stdin is None:
                raise typer.BadParameter("stdin is closed", param_hint="-f")
            text = sys.stdin.read()
        else:
            text = file.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except RecursionError:
        raise typer.BadParameter(f"spec.inputs: {TOO_DEEP}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise typer.BadParameter(
            f"{file}: {' '.join(str(error).split())}", param_hint="-f"
        ) from None
    if not isinstance(found, dict):
        raise typer.BadParameter(
            f"{file}: must hold the inputs as KEY: VALUE lines", param_hint="-f"
        )
    return {str(key): value for key, value in found.items()}
