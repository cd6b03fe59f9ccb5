"""`codexrun jobtypes`: what can be started, what it takes, and whether a file is a job type."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from codexrun_cli import completion, context, options, output
from codexrun_cli.errors import Trouble, fail, say
from codexrun_cli.exit_codes import Code
from codexrun_cli.output.table import Column, printable

Json = dict[str, Any]

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Job types: what can be started."
)


@app.command("list")
def list_job_types(
    ctx: typer.Context, fmt: options.Output = None, no_headers: options.NoHeaders = False
) -> None:
    """List job types: prompt, model, and how full each is."""
    from codexrun_cli.transports.connection import opened

    wanted = output.parse(fmt, headers=not no_headers)
    with opened(context.flags(ctx)) as transport:
        found = transport.job_types()
    output.emit(found, _KIND, wanted, context.out(ctx))
    if not found and wanted.human:
        say("no job types; `codexrun prompts manifests DIR | kubectl apply -f -` brings some")


@app.command("show")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="JOB_TYPE", autocompletion=completion.job_types)],
    fmt: options.Output = None,
) -> None:
    """Show one: its inputs, limits and models, and how to start it."""
    from codexrun_cli.transports.connection import opened
    from codexrun_core.prompts.rendering import placeholders

    wanted = output.parse(fmt)
    with opened(context.flags(ctx)) as transport:
        found = next((kind for kind in transport.job_types() if kind["name"] == name), None)
        if found is None:
            hint = "`codexrun jobtypes list` shows what can be started"
            raise Trouble(
                Code.NOT_FOUND, f'there is no job type "{name}"', title="Not Found", hint=hint
            )
        if wanted.name != "table":
            output.emit([found], _KIND, wanted, context.out(ctx), single=True)
            return
        schema = found.get("inputs_schema")
        if schema is None:
            text = transport.prompt_text(found["prompt_name"], found["prompt_version"])
            inputs = [f"{name}  text, required" for name in placeholders(text)]
        else:
            inputs = _inputs(schema)
    output.write(_in_full(found, inputs))
    required = " ".join(f"-p {line.split()[0]}=..." for line in inputs if " required" in line)
    say(f"next: codexrun start {name} {required}".rstrip())


def _in_full(found: Json, inputs: Sequence[str]) -> str:
    rows = [
        ("Name", found["name"]),
        ("Description", found.get("description") or ""),
        ("Prompt", f"{found['prompt_name']}@{found['prompt_version']}"),
        ("Model", f"{found['model']} (of {', '.join(found['allowed_models'])})"),
        ("Limits", ", ".join(f"{key}={value}" for key, value in found.get("limits", {}).items())),
        (
            "Slots",
            f"{found['running']} of {found['concurrency_limit']} taken, {found['queued']} waiting",
        ),
        ("Ready", "" if found.get("ready") is not False else f"no: {found.get('message') or ''}"),
        ("Suspended", "yes" if found["suspended"] else ""),
    ]
    text = "".join(f"{label + ':':<13}{printable(str(value))}\n" for label, value in rows if value)
    return text + (
        "Inputs:\n" + "".join(f"  {line}\n" for line in inputs) if inputs else "Inputs:      none\n"
    )


@app.command("validate")
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="configs/jobs/NAME.yaml")],
) -> None:
    """Check job type files as the cluster would, and their prompts where prompts/ lies beside
    configs/jobs/."""
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
    output.write(f"{len(files)} job type{'' if len(files) == 1 else 's'}: valid\n")


def _inputs(schema: Json) -> list[str]:
    """A line for each input. The schema may be any JSON until the operator has judged it."""
    properties, required = schema.get("properties"), schema.get("required")
    lines = []
    for name, said in properties.items() if isinstance(properties, dict) else ():
        about = said if isinstance(said, dict) else {}
        kind = about.get("type", "any")
        more = ["required"] if isinstance(required, list) and name in required else []
        more += (
            [f"one of {', '.join(map(str, about['enum']))}"]
            if isinstance(about.get("enum"), list)
            else []
        )
        more += [f"default {about['default']}"] if "default" in about else []
        line = f"{name}  {', '.join([str(kind), *more])}"
        lines.append(
            printable(f"{line}  {about['description']}" if about.get("description") else line)
        )
    return lines


def _readiness(job_type: Mapping[str, Any]) -> str:
    if job_type["suspended"]:
        return "suspended"
    words = {True: "yes", False: "no", None: ""}
    return words[job_type.get("ready")]


_KIND = output.Kind(
    schema="codexrun.job-type/v1",
    plural="job_types",
    columns=[
        Column("NAME", lambda kind: kind["name"]),
        Column("PROMPT", lambda kind: f"{kind['prompt_name']}@{kind['prompt_version']}"),
        Column("MODEL", lambda kind: kind["model"]),
        Column(
            "RUNNING", lambda kind: f"{kind['running']}/{kind['concurrency_limit']}", right=True
        ),
        Column("QUEUED", lambda kind: str(kind["queued"]), right=True),
        Column(
            "READY",
            _readiness,
            lambda kind: "red" if kind.get("ready") is False else None,
        ),
        Column("DESCRIPTION", lambda kind: kind.get("description") or "", flexible=True),
    ],
)
