"""Options that several commands have, with one meaning and one help text each."""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from codexrun_cli import completion, context, output
from codexrun_cli.errors import file_problem
from codexrun_cli.transports import RunFilter
from codexrun_core.resources.phases import STATUSES

LIMIT_NAMES = (
    "max_tokens",
    "max_cost_cents",
    "timeout_seconds",
    "stall_seconds",
    "start_seconds",
    "max_wait_seconds",
)


def _format(text: str | None) -> str | None:
    if text is not None:
        output.parse(text)
    return text


def _read_by(read: Callable[[str], object], text: str) -> str:
    """Return what was typed, once it can be read; else raise the reader's own words, as every other
    door says them."""
    try:
        read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def read_duration(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_cli.durations import seconds

    return _read_by(seconds, text)


def read_moment(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_core.times import moment

    return _read_by(lambda value: moment(value, context.now()), text)


def _statuses(values: list[str] | None) -> list[str] | None:
    for value in values or ():
        for status in value.split(","):
            if status.lower() not in STATUSES:
                raise typer.BadParameter(
                    f'"{status}" is not a valid status; use {", ".join(STATUSES)}'
                )
    return values


def _selector(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_core.runs.label_rules import parse_selector

    return _read_by(parse_selector, text)


def _sort(text: str | None) -> str | None:
    if text is None:
        return None
    from codexrun_core.runs.sorting import parse_sort

    return _read_by(parse_sort, text)


def read_namespace(name: str | None) -> str | None:
    """Return a namespace's name, as an option's value."""
    from codexrun_core.prompts.index import NAME_PATTERN, NAME_RULE

    if name is not None and not NAME_PATTERN.fullmatch(name):
        raise typer.BadParameter(f'"{name}" is not a valid name for a namespace; {NAME_RULE}')
    return name


Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FORMAT", callback=_format, help=output.HELP, show_default=False
    ),
]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="Omit the table's header.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="A run's name or the beginning of it, its run ID, @latest or @latest-failed.",
        autocompletion=completion.runs,
    ),
]
OneName = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="A run's name or the beginning of it, its run ID, @latest or @latest-failed.",
        autocompletion=completion.runs,
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        callback=read_duration,
        help="Stop waiting after this time (90s, 10m, 2h), with exit code 124.",
    ),
]

JobTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--job-type",
        "-j",
        metavar="NAME",
        help="Only runs of this job type. Repeatable.",
        autocompletion=completion.job_types,
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
        help="Only runs with this status. Repeatable.",
        autocompletion=completion.statuses,
    ),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="NAME[@VERSION]",
        help="Only runs with this prompt. Repeatable.",
        autocompletion=completion.prompts,
    ),
]
Users = Annotated[
    list[str] | None, typer.Option("--user", help="Only runs started by this user. Repeatable.")
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="Only runs with this model. Repeatable.")
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        callback=read_moment,
        help="Only runs created at or after this time: an age (7d, 12h) or an RFC 3339 time.",
    ),
]
Older = Annotated[
    str | None,
    typer.Option(
        "--until",
        "--older",
        metavar="TIME",
        callback=read_moment,
        help="Only runs created before this time: an age (7d, 12h) or an RFC 3339 time.",
    ),
]
Search = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        help=(
            "Only runs with these words, or words that begin with them, in their name, final"
            " message or error."
        ),
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "-l",
        "--selector",
        metavar="LABELS",
        callback=_selector,
        help="Label selector, as in kubectl: k=v, k!=v, k, !k, k in (a,b); a comma means AND.",
    ),
]
SortBy = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="[-]ORDER",
        callback=_sort,
        help=(
            "Sort by created, started, finished, duration, tokens or cost; with a leading -,"
            " highest or latest first."
        ),
        show_default="-created",
    ),
]
NewLabels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="A label for the run. Repeatable."),
]

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--set",
        metavar="KEY=VALUE",
        help=(
            "An input, converted to the type in the job type's schema; KEY:=JSON passes JSON."
            " Repeatable."
        ),
    ),
]
InputsFile = Annotated[
    Path | None,
    typer.Option(
        "-f",
        "--file",
        metavar="FILE",
        help="File with inputs in YAML or JSON; - reads stdin. -p takes precedence.",
    ),
]
PromptVersion = Annotated[
    str | None,
    typer.Option(
        "--prompt-version",
        metavar="vN",
        help=("Prompt version to use, if the job type allows a choice (prompt.allowOverride)."),
    ),
]
Model = Annotated[
    str | None, typer.Option(help="Model to use: one of the job type's allowedModels.")
]
Effort = Annotated[
    str | None, typer.Option(help="Reasoning effort: one of the job type's allowedEfforts.")
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=N",
        help=(
            "Set a limit for the run, not higher than the job type's. NAME is one of"
            f" {', '.join(LIMIT_NAMES)}. Repeatable."
        ),
    ),
]
Reject = Annotated[
    bool,
    typer.Option(
        "--reject",
        help=(
            "Reject the run at once if it cannot start yet, for example because every slot is"
            " taken, instead of queueing it."
        ),
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        metavar="KEY",
        help="Return the existing run if this key was used before.",
    ),
]
Reason = Annotated[
    str | None,
    typer.Option(
        "--reason", "-m", "--message", help="Reason for the cancellation; recorded with the run."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]

Wait = Annotated[
    bool,
    typer.Option(
        "--wait", "-w", help="Return when the run has ended; the exit code says how it ended."
    ),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Like --wait, but also show each change of status.")
]
Follow = Annotated[
    bool,
    typer.Option("--follow", "-F", "--logs", help="Like --wait, but also show what Codex does."),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Return when the run is admitted or queued (the default)."),
]
Web = Annotated[bool, typer.Option("--web", help="Open the run in the browser.")]


@dataclass(frozen=True)
class ChangeOptions:
    """What a run is started with, or a retry has otherwise than its source."""

    sets: Sets = None
    file: InputsFile = None
    prompt_version: PromptVersion = None
    model: Model = None
    effort: Effort = None
    limit: Limits = None

    @property
    def from_text(self) -> frozenset[str]:
        """Return the inputs that `-p KEY=VALUE` gave as text which could be another type's."""
        from codexrun_core.schemas.typed_inputs import is_json_value

        pairs = (value.partition("=") for value in self.sets or ())
        return frozenset(
            key for key, _, text in pairs if not key.endswith(":") and is_json_value(text)
        )

    def body(self) -> dict[str, Any]:
        """Return the request's fields; those that were not given are absent."""
        fields = {
            "inputs": inputs(self.sets, self.file),
            "prompt_version": self.prompt_version,
            "model": self.model,
            "effort": self.effort,
            "limits": limits(self.limit),
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class FollowOptions:
    """How a command goes on once its run is there."""

    wait: Wait = False
    watch: Watch = False
    follow: Follow = False
    detach: Detach = False
    timeout: Timeout = None
    web: Web = False

    def __post_init__(self) -> None:
        if self.wait + self.watch + self.follow + self.detach > 1:
            raise typer.BadParameter("use only one of --wait, --watch, --follow and --detach")

    @property
    def mode(self) -> str:
        """Return `wait`, `watch`, `follow` or `detach`."""
        return next((mode for mode in ("wait", "watch", "follow") if getattr(self, mode)), "detach")


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take groups of options: a parameter whose type is a dataclass stands for the
    options that are its fields.

    typer reads options from the signature alone, so this writes them out there.
    """
    signature = inspect.signature(command)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if is_dataclass(parameter.annotation):
            group: Any = parameter.annotation
            groups[parameter.name] = group
            parameters += inspect.signature(group).parameters.values()
        else:
            parameters.append(parameter)
    # Groups have no default and may stand anywhere, which only keyword parameters may.
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in parameters]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group_type in groups.items():
            values[name] = group_type(
                **{field.name: values.pop(field.name) for field in fields(group_type)}
            )
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run


def run_filter(
    *,
    job_type: list[str] | None = None,
    status: list[str] | None = None,
    prompt: list[str] | None = None,
    model: list[str] | None = None,
    user: list[str] | None = None,
    since: str | None = None,
    older: str | None = None,
    search: str | None = None,
    labels: str | None = None,
) -> RunFilter:
    """Build the list's filter from its options; several values of one mean any of them."""
    statuses = joined(status)
    return RunFilter(
        job_type=joined(job_type),
        status=statuses.lower() if statuses else None,
        prompt=joined(prompt),
        model=joined(model),
        user=joined(user),
        since=since,
        until=older,
        search=search,
        label=labels,
    )


def joined(values: list[str] | None) -> str | None:
    return ",".join(values) if values else None


def limits(values: list[str] | None) -> dict[str, int] | None:
    by_name = {}
    for value in values or ():
        name, _, number = value.partition("=")
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if name not in LIMIT_NAMES or not number.isdecimal() or int(number) < 1:
            raise typer.BadParameter(
                f'"{value}" is not a valid limit; write NAME=N, where N is a whole number above 0'
                f" and NAME is one of {', '.join(LIMIT_NAMES)}",
                param_hint="--limit",
            )
        by_name[name] = int(number)
    return by_name or None


def labels(values: list[str] | None) -> dict[str, str] | None:
    from codexrun_core.runs.label_rules import check_labels

    by_key = {}
    for value in values or ():
        key, equals, text = value.partition("=")
        if not equals:
            raise typer.BadParameter(
                f'"{value}" is not a valid label; write KEY=VALUE', param_hint="--label"
            )
        by_key[key] = text
    try:
        check_labels(by_key)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--label") from None
    return by_key or None


def inputs(sets: list[str] | None, file: Path | None) -> dict[str, Any] | None:
    """Return inputs: from the file first, then each -p. `k=v` is text, `k:=v` is JSON.

    Raises:
        BadParameter: something is none of these.
    """
    from codexrun_core.schemas.nesting import nesting_problem

    by_name: dict[str, Any] = {}
    if file is not None:
        by_name = _from_file(file)
    for value in sets or ():
        key, equals, text = value.partition("=")
        if not equals or not key.rstrip(":"):
            raise typer.BadParameter(
                f'"{value}" is not a valid input; write KEY=VALUE, or KEY:=JSON', param_hint="-p"
            )
        if key.endswith(":"):
            by_name[key[:-1]] = _json(value, text)
        else:
            by_name[key] = text
    if problem := nesting_problem(by_name):
        raise typer.BadParameter(f"spec.inputs: {problem}")
    return by_name or None


def _json(value: str, text: str) -> Any:
    import json

    from codexrun_core.schemas.nesting import TOO_DEEP

    try:
        return json.loads(text)
    except RecursionError:
        raise typer.BadParameter(f"spec.inputs: {TOO_DEEP}") from None
    except ValueError as error:
        raise typer.BadParameter(
            f'"{value}": the part after := is not valid JSON: {error}', param_hint="-p"
        ) from None


def _from_file(file: Path) -> dict[str, Any]:
    import sys

    import yaml

    from codexrun_core.schemas.nesting import TOO_DEEP

    try:
        if str(file) == "-":
            if sys.stdin is None:
                raise typer.BadParameter("stdin is closed; name a file", param_hint="-f")
            text = sys.stdin.read()
        else:
            text = file.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except RecursionError:
        raise typer.BadParameter(f"spec.inputs: {TOO_DEEP}") from None
    except yaml.YAMLError as error:
        raise typer.BadParameter(
            f"{file}: not valid YAML: {' '.join(str(error).split())}", param_hint="-f"
        ) from None
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file}: {file_problem(error)}", param_hint="-f") from None
    if not isinstance(values, dict):
        raise typer.BadParameter(
            f"{file}: must contain the inputs as KEY: VALUE lines", param_hint="-f"
        )
    return {str(key): value for key, value in values.items()}
