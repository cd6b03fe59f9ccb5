"""`codexrun jobtypes`: what can be started, what it takes, and whether a file is a job type."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from codexrun_cli import completion, context, options, output
from codexrun_cli.errors import CommandError, fail, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import Column, counted, printable
from codexrun_cli.transports.schemas import JobType

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Work with job types, the kinds of runs that you can start.",
)


@app.command("list")
def list_job_types(
    ctx: typer.Context, fmt: options.Output = None, no_headers: options.NoHeaders = False
) -> None:
    """List job types with their prompt, model and slots in use."""
    from codexrun_cli.transports.connection import opened

    output_format = output.parse(fmt, headers=not no_headers)
    with opened(context.flags(ctx)) as transport:
        job_types = transport.job_types()
    output.emit(job_types, _KIND, output_format, context.out(ctx))
    if not job_types and output_format.human:
        say("no job types; create some with `codexrun prompts manifests DIR | kubectl apply -f -`")


@app.command("show")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="JOB_TYPE", autocompletion=completion.job_types)],
    fmt: options.Output = None,
) -> None:
    """Show a job type: its inputs, limits and models, and how to start it."""
    from codexrun_cli.transports.connection import opened
    from codexrun_core.prompts.rendering import placeholders

    output_format = output.parse(fmt)
    with opened(context.flags(ctx)) as transport:
        job_type = next((item for item in transport.job_types() if item["name"] == name), None)
        if job_type is None:
            raise CommandError(
                Code.NOT_FOUND,
                f'there is no job type "{name}"',
                hint="`codexrun jobtypes list` shows what can be started",
            )
        if output_format.name != "table":
            output.emit([job_type], _KIND, output_format, context.out(ctx), single=True)
            return
        schema = job_type.get("inputs_schema")
        if schema is None:
            text = transport.prompt_text(job_type["prompt_name"], job_type["prompt_version"])
            inputs = [f"{placeholder}  text, required" for placeholder in placeholders(text)]
        else:
            inputs = _inputs(schema)
    output.write(_in_full(job_type, inputs))
    required = " ".join(f"-p {line.split()[0]}=..." for line in inputs if " required" in line)
    say(f"next: codexrun start {name} {required}".rstrip())


def _in_full(job_type: JobType, inputs: Sequence[str]) -> str:
    rows = [
        ("Name", job_type["name"]),
        ("Description", job_type.get("description") or ""),
        ("Prompt", f"{job_type['prompt_name']}@{job_type['prompt_version']}"),
        ("Model", f"{job_type['model']} (of {', '.join(job_type['allowed_models'])})"),
        (
            "Limits",
            ", ".join(f"{key}={value}" for key, value in job_type.get("limits", {}).items()),
        ),
        (
            "Slots",
            f"{job_type['running']} of {job_type['concurrency_limit']} taken,"
            f" {job_type['queued']} waiting",
        ),
        ("Ready", _not_ready(job_type) if job_type.get("ready") is False else ""),
        ("Suspended", "yes" if job_type["suspended"] else ""),
    ]
    text = "".join(f"{label + ':':<13}{printable(str(value))}\n" for label, value in rows if value)
    return text + (
        "Inputs:\n" + "".join(f"  {line}\n" for line in inputs) if inputs else "Inputs:      none\n"
    )


def _not_ready(job_type: JobType) -> str:
    message = job_type.get("message")
    return f"no: {message}" if message else "no"


@app.command("validate")
def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Job type file: configs/jobs/NAME.yaml.")
    ],
) -> None:
    """Check job type files as the cluster would, and also their prompts if there is a directory
    prompts/ next to configs/."""
    from codexrun_core.prompts import index, manifests

    problems: list[str] = []
    for file in files:
        root = file.resolve().parent.parent.parent
        try:
            if (root / "prompts/index.json").exists():
                manifests.job_type(str(file), file, index.load(root / "prompts"))
            else:
                manifests.read_job_type(str(file), file)
        except index.FolderError as error:
            problems += error.problems
    if problems:
        fail(*problems)
    output.write(f"{counted(len(files), 'job type')}: valid\n")


def _inputs(schema: Mapping[str, Any]) -> list[str]:
    """Return a line for each input. The schema may be any JSON until the operator has validated
    it."""
    properties = schema.get("properties")
    required = schema.get("required")
    lines = []
    for name, value in properties.items() if isinstance(properties, dict) else ():
        field = value if isinstance(value, dict) else {}
        facts = [str(field.get("type", "any"))]
        if isinstance(required, list) and name in required:
            facts.append("required")
        if isinstance(field.get("enum"), list):
            facts.append(f"one of {', '.join(map(str, field['enum']))}")
        if "default" in field:
            facts.append(f"default {field['default']}")
        line = f"{name}  {', '.join(facts)}"
        description = field.get("description")
        lines.append(printable(f"{line}  {description}" if description else line))
    return lines


def _readiness(job_type: JobType) -> str:
    if job_type["suspended"]:
        return "suspended"
    words = {True: "yes", False: "no", None: ""}
    return words[job_type.get("ready")]


_KIND = output.Kind[JobType](
    schema="codexrun.job-type/v1",
    plural="job_types",
    columns=[
        Column("NAME", lambda job_type: job_type["name"]),
        Column(
            "PROMPT", lambda job_type: f"{job_type['prompt_name']}@{job_type['prompt_version']}"
        ),
        Column("MODEL", lambda job_type: job_type["model"]),
        Column(
            "RUNNING",
            lambda job_type: f"{job_type['running']}/{job_type['concurrency_limit']}",
            right=True,
        ),
        Column("QUEUED", lambda job_type: str(job_type["queued"]), right=True),
        Column(
            "READY",
            _readiness,
            lambda job_type: "red" if job_type.get("ready") is False else None,
        ),
        Column("DESCRIPTION", lambda job_type: job_type.get("description") or "", flexible=True),
    ],
)
