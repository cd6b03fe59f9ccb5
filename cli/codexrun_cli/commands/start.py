"""`codexrun start`: a run of a job type, or with --dry-run the object that would be made."""

import uuid
from typing import Annotated

import typer

from codexrun_cli import completion, context, options, output
from codexrun_cli.errors import usage
from codexrun_cli.follow import run_to_end
from codexrun_cli.transports import Json
from codexrun_core.runs import names, new_run


@options.grouped
def start(
    ctx: typer.Context,
    *,
    job_type: Annotated[
        str,
        typer.Argument(
            metavar="JOB_TYPE", help="What to run.", autocompletion=completion.job_types
        ),
    ],
    changes: options.ChangeOptions,
    git: Annotated[str | None, typer.Option(metavar="URL", help="Repository to work on.")] = None,
    ref: Annotated[
        str | None, typer.Option(metavar="REF", help="Its branch, tag or commit.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; one is made if absent.")] = None,
    priority: Annotated[
        int | None, typer.Option(min=-1000, max=1000, help="Higher starts first.")
    ] = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            callback=options.read_duration,
            help="When the finished object goes.",
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
            help="Print the CodexRun; server: have it checked.",
        ),
    ] = None,
    fmt: options.Output = None,
) -> None:
    """Start a run. It queues if every slot is taken, unless --reject."""
    output_format = output.parse(fmt)
    if ref and not git:
        usage("--ref is of a repository; give --git too")
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

    # A name and a key of this very call: repeated after a lost answer, it is the same run.
    generated = {} if key or name else {"name": names.fresh_name(job_type)}
    with opened(context.flags(ctx)) as transport:
        run = transport.start(
            {**request, **generated}, key or (str(uuid.uuid4()) if generated else None)
        )
        run_to_end.go_on(ctx, transport, run, following, output_format)


def _seconds(text: str | None) -> int | None:
    from codexrun_cli.durations import seconds

    return None if text is None else int(seconds(text))


def _print_manifest(
    ctx: typer.Context, request: Json, side: str, output_format: output.Format
) -> None:
    if side not in ("client", "server"):
        usage(f'--dry-run "{side}": write client (print it) or server (have the cluster check it)')
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
