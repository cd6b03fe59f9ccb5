"""`codexrun start`, and what start and retry do when their run is there: detach, wait, watch or
follow."""

import uuid
from typing import Annotated

import typer

from codexrun_cli import completion, context, options, output
from codexrun_cli.errors import say, usage
from codexrun_cli.exit_codes import Code, of_run
from codexrun_cli.output.runs import kind, next_command, state
from codexrun_cli.transports import Json, Transport
from codexrun_core.runs import new_run

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

MODES = ("wait", "watch", "follow")


def mode(*, wait: bool, watch: bool, follow: bool, detach: bool) -> str:
    """How to go on once the run is there."""
    chosen = [name for name, on in zip(MODES, (wait, watch, follow), strict=True) if on]
    if len(chosen) > 1 or (chosen and detach):
        usage("give one of --wait, --watch, --follow and --detach")
    return chosen[0] if chosen else "detach"


def start(
    ctx: typer.Context,
    job_type: Annotated[
        str,
        typer.Argument(
            metavar="JOB_TYPE", help="What to run.", autocompletion=completion.job_types
        ),
    ],
    sets: options.Sets = None,
    file: options.InputsFile = None,
    prompt_version: options.PromptVersion = None,
    model: options.Model = None,
    effort: options.Effort = None,
    limit: options.Limits = None,
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
            metavar="DURATION", callback=options._duration, help="When the finished object goes."
        ),
    ] = None,
    label: options.GivenLabels = None,
    reject: options.Reject = False,
    key: options.Key = None,
    wait: Wait = False,
    watch: Watch = False,
    follow: Follow = False,
    detach: Detach = False,
    timeout: options.Timeout = None,
    dry_run: Annotated[
        str | None,
        typer.Option(
            "--dry-run",
            metavar="client|server",
            help="Print the CodexRun; server: have it checked.",
        ),
    ] = None,
    web: Web = False,
    fmt: options.Output = None,
) -> None:
    """Start a run. It queues if every slot is taken, unless --reject."""
    wanted, going = output.parse(fmt), mode(wait=wait, watch=watch, follow=follow, detach=detach)
    if ref and not git:
        usage("--ref is of a repository; give --git too")
    wish: Json = {
        "job_type": job_type,
        "inputs": options.inputs(sets, file),
        "prompt_version": prompt_version,
        "model": model,
        "effort": effort,
        "limits": options.limits(limit),
        "workspace": {"git": {"url": git, **({"ref": ref} if ref else {})}} if git else None,
        "name": name,
        "labels": options.labels(label),
        "priority": priority,
        "ttl_seconds_after_finished": _seconds(ttl),
        "when_full": "Reject" if reject else "Queue",
    }
    wish = {field: value for field, value in wish.items() if value is not None}
    if dry_run is not None:
        _print_manifest(ctx, wish, dry_run, wanted)
        return
    from codexrun_cli.transports.connection import opened

    # A name and a key of this very call: repeated after a lost answer, it is the same run.
    mine = {} if key or name else {"name": new_run.fresh_name(job_type)}
    with opened(context.flags(ctx)) as transport:
        run = transport.start({**wish, **mine}, key or (str(uuid.uuid4()) if mine else None))
        go_on(ctx, transport, run, going, wanted, timeout=timeout, web=web)


def _seconds(text: str | None) -> int | None:
    from codexrun_cli.times import seconds

    return None if text is None else int(seconds(text))


def _print_manifest(ctx: typer.Context, wish: Json, where: str, wanted: output.Format) -> None:
    if where not in ("client", "server"):
        usage(f'--dry-run "{where}": write client (print it) or server (have the cluster check it)')
    flags = context.flags(ctx)
    if where == "server":
        from codexrun_cli.transports.connection import opened

        # The api stores what it is asked for; only the apiserver has a dry run.
        with opened(flags, straight=True) as transport:
            shown = transport.start(wish, None, dry_run=True)
            shown.get("metadata", {}).pop("managedFields", None)
    else:
        # A name that is free again and again: `kubectl apply` needs one, and a second run another
        # one.
        name = wish.get("name") or new_run.fresh_name(wish["job_type"])
        shown = new_run.manifest(
            name, new_run.spec_of(wish), namespace=flags.namespace, labels=wish.get("labels")
        )
    output.emit_document(shown, output.Format("yaml") if wanted.human else wanted)


def go_on(
    ctx: typer.Context,
    transport: Transport,
    run: Json,
    going: str,
    wanted: output.Format,
    *,
    timeout: str | None = None,
    web: bool = False,
) -> None:
    """Detach, or see it through and end with its exit code."""
    name = run["name"]
    err = context.err(ctx)
    url = transport.console(run)
    say(f"{err.paint(name, 'bold')}: {state(run)}")
    if url and err.tty:
        say(f"console: {err.link(url, url)}", links=True)
    if web:
        show_in_browser(url)
    if going == "detach":
        if err.tty and (command := next_command(run)):
            say(f"next: {command}")
        _print(ctx, run, wanted)
        return
    last = see_through(ctx, transport, run, going, timeout=timeout)
    finish(ctx, transport, last, wanted)


def _print(ctx: typer.Context, run: Json, wanted: output.Format) -> None:
    if wanted.name == "table":
        output.write(f"{run['name']}\n")
        return
    output.emit([run], kind(context.now()), wanted, context.out(ctx), single=True)


def see_through(
    ctx: typer.Context, transport: Transport, run: Json, going: str, *, timeout: str | None
) -> Json:
    """Until it has ended. Ctrl-C and time-out end only this, and say so."""
    from codexrun_cli.follow import follower, screen
    from codexrun_cli.follow.lines import Reader
    from codexrun_cli.times import seconds

    terminal, reader = context.err(ctx), Reader()
    view: screen.View = screen.Quiet()
    if going != "wait":
        view = screen.Plain(terminal)
        if terminal.tty:
            limits, usual = _expected(transport, run)
            view = screen.Live(terminal, reader, limits=limits, usual=usual)
    try:
        return follower.follow(
            transport,
            run,
            view,
            log=going == "follow",
            reader=reader,
            seconds=seconds(timeout) if timeout else None,
        )
    except KeyboardInterrupt:
        say(f"\nno longer following; the run goes on. To stop it: codexrun cancel {run['name']}")
        raise typer.Exit(Code.INTERRUPTED) from None
    except follower.TimeUp:
        say(
            f"codexrun: {run['name']} has not ended after {timeout}; it goes on. To stop it:"
            f" codexrun cancel {run['name']}"
        )
        raise typer.Exit(Code.TIMEOUT) from None


def _expected(transport: Transport, run: Json) -> tuple[Json, float | None]:
    """The limits in force and the usual length; a status line does without what nobody knows."""
    from codexrun_cli.errors import Trouble

    try:
        return transport.details(run).get("limits", {}), transport.usual_seconds(run["job_type"])
    except Trouble:
        return {}, None


def finish(ctx: typer.Context, transport: Transport, run: Json, wanted: output.Format) -> None:
    """The end in a line on stderr, the final message (or what -o asks for) on stdout, and the
    status as exit code."""
    from codexrun_cli.follow.summary import final_message, print_message, summary

    terminal = context.err(ctx)
    for line in summary(run, terminal):
        say(line)
    if command := next_command(run):
        say(f"next: {command}")
    if wanted.name != "table":
        output.emit([run], kind(context.now()), wanted, context.out(ctx), single=True)
    elif message := final_message(transport, run):
        print_message(message, context.out(ctx))
    raise typer.Exit(of_run(run["status"]))


def show_in_browser(url: str | None) -> None:
    from codexrun_cli.errors import NeedsApi

    if url is None:
        raise NeedsApi("the console")
    say(f"opening {url}")
    typer.launch(url)
