"""`codexrun start`: a run of a job type, or with --dry-run the object that would be made."""

import uuid
from collections.abc import Collection
from typing import Annotated

import typer

from codexrun_cli import completion, context, options, output
from codexrun_cli.errors import CommandError, say, usage
from codexrun_cli.exit_codes import Code
from codexrun_cli.follow import run_to_end
from codexrun_cli.terminal import interactive
from codexrun_cli.transports import Json, Transport
from codexrun_cli.transports.schemas import JobType
from codexrun_core.prompts.rendering import placeholders
from codexrun_core.runs import names, new_run
from codexrun_core.schemas.typed_inputs import coerced, missing


@options.grouped
def start(
    ctx: typer.Context,
    *,
    job_type: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB_TYPE",
            help="The job type; on a terminal, you can omit it and choose from a list.",
            autocompletion=completion.job_types,
        ),
    ] = None,
    changes: options.ChangeOptions,
    git: Annotated[
        str | None, typer.Option(metavar="URL", help="Git repository to work on.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option(metavar="REF", help="Branch, tag or commit of the repository.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; generated if omitted.")] = None,
    priority: Annotated[
        int | None,
        typer.Option(min=-1000, max=1000, help="Runs with a higher priority start first."),
    ] = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            callback=options.read_duration,
            help="Delete the run's object this long after the run ends.",
        ),
    ] = None,
    label: options.NewLabels = None,
    reject: options.Reject = False,
    key: options.Key = None,
    following: options.FollowOptions,
    dry_run: Annotated[
        str | None,
        typer.Option(
            "--dry-run",
            metavar="client|server",
            help="Only print the CodexRun; --dry-run=server also has the cluster check it.",
        ),
    ] = None,
    fmt: options.Output = None,
) -> None:
    """Start a run. It waits in the queue if every slot is taken, unless --reject is given. On a
    terminal, you are prompted for missing inputs."""
    output_format = output.parse(fmt)
    asks = interactive() and dry_run is None
    if job_type is None and not asks:
        usage("name a job type; `codexrun jobtypes list` shows what can be started")
    if ref and not git:
        usage("--ref needs a repository; add --git")
    request: Json = {
        "job_type": job_type,
        **changes.body(),
        "workspace": {"git": {"url": git, **({"ref": ref} if ref else {})}} if git else None,
        "name": name,
        "labels": options.labels(label),
        "priority": priority,
        "ttl_seconds_after_finished": _seconds(ttl),
        "when_full": "Reject" if reject else "Queue",
    }
    request = {field: value for field, value in request.items() if value is not None}
    if dry_run is not None:
        _print_manifest(ctx, request, dry_run, output_format)
        return
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        if asks or changes.from_text:
            request = _completed(transport, request, changes.from_text, asks=asks)
        # A name and a key of this very call: repeated after a lost answer, it is the same run.
        generated = {} if key or name else {"name": names.fresh_name(request["job_type"])}
        try:
            run = transport.start(
                {**request, **generated}, key or (str(uuid.uuid4()) if generated else None)
            )
        except CommandError as error:
            error.hint = error.hint.replace("JOB_TYPE", request["job_type"])
            raise
        run_to_end.go_on(ctx, transport, run, following, output_format)


def _completed(
    transport: Transport, request: Json, from_text: Collection[str], *, asks: bool
) -> Json:
    """Return the request with inputs as the job type's schema wants them; asks: for what is
    missing."""
    job_types = transport.job_types()
    name = request.get("job_type") or _pick_job_type(job_types)
    chosen = next((item for item in job_types if item["name"] == name), None)
    if chosen is None:  # the answer to the start says so
        return request
    from codexrun_core.schemas.inputs import inputs_schema

    schema = chosen.get("inputs_schema")
    inputs = coerced(request.get("inputs") or {}, from_text, schema)
    if asks:
        if schema is None:
            prompt = transport.prompt_text(chosen["prompt_name"], chosen["prompt_version"])
            schema = inputs_schema(None, placeholders(prompt))
        asked = {
            key: typer.prompt(f"{key} ({about.rstrip('.')})" if about else key, err=True)
            for key, about in missing(inputs, schema).items()
        }
        inputs |= coerced(asked, asked, schema)
    return {**request, "job_type": name, **({"inputs": inputs} if inputs else {})}


def _pick_job_type(job_types: list[JobType]) -> str:
    if not job_types:
        raise CommandError(
            Code.NOT_FOUND,
            "there are no job types",
            hint="create some with `codexrun prompts manifests DIR | kubectl apply -f -`",
        )
    for number, item in enumerate(job_types, 1):
        say(f"{number:3}  {item['name']}  {item.get('description') or ''}".rstrip())
    choice: int = typer.prompt("which job type", type=int, default=1, err=True)
    if not 1 <= choice <= len(job_types):
        usage(f"{choice} is not in the list")
    return job_types[choice - 1]["name"]


def _seconds(text: str | None) -> int | None:
    from codexrun_cli.durations import seconds

    return None if text is None else int(seconds(text))


def _print_manifest(
    ctx: typer.Context, request: Json, side: str, output_format: output.Format
) -> None:
    if side not in ("client", "server"):
        usage(
            f'"{side}" is not a valid value for --dry-run; use client (print the run) or server'
            " (also have the cluster check it)"
        )
    flags = context.flags(ctx)
    if side == "server":
        from codexrun_cli.transports.connection import opened

        # The api stores what it is asked for; only the apiserver has a dry run.
        with opened(flags, straight=True) as transport:
            body = transport.dry_run(request)
            body.get("metadata", {}).pop("managedFields", None)
    else:
        # A name that is free again and again: `kubectl apply` needs one, and a second run another
        # one.
        name = request.get("name") or names.fresh_name(request["job_type"])
        body = new_run.manifest(
            name,
            new_run.spec_of(request),
            namespace=flags.namespace,
            labels=request.get("labels"),
        )
    output.emit_document(body, output.Format("yaml") if output_format.human else output_format)
