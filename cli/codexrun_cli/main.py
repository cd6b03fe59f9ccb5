"""`codexrun`: the command line. A command is a module in commands/; what is slow to import is
imported when it runs."""

import logging
import os
import sys
from typing import Annotated

import typer

from codexrun_cli import options
from codexrun_cli.commands import (
    apply,
    artifacts,
    cancel,
    cleanup,
    completion,
    config,
    delete,
    diff,
    doctor,
    edit,
    jobtypes,
    list_runs,
    login,
    logs,
    open_run,
    prompts,
    registry_file,
    retry,
    start,
    stats,
    status,
    tail,
    wait,
    whoami,
)
from codexrun_cli.commands import (
    help as help_command,
)
from codexrun_cli.context import Root
from codexrun_cli.settings import Flags

app = typer.Typer(
    name="codexrun",
    cls=Root,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="""\b
Examples:
  codexrun start hello -p name=world --follow
  codexrun list --status running,queued
  codexrun status @latest
  codexrun tail @latest
  codexrun cancel hello-1a2b3c4d --reason "wrong branch"
  codexrun retry @latest-failed --follow

Data goes to stdout, and messages go to stderr. Global options may appear anywhere.
`codexrun help exit-codes` lists the exit codes.""",
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of the client, the server and the CRDs, and exit.",
        ),
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=(
                "URL of the REST API. Without this option, CODEX_CONTROL_URL applies, then the"
                " URL stored by `codexrun login`; without any of them, commands go directly to"
                " the cluster."
            ),
        ),
    ] = None,
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Path of the kubeconfig; default: $KUBECONFIG. With this option, commands go"
            " to the cluster, not to the REST API.",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Kubeconfig context. With this option, commands go to the cluster, not to the REST"
            " API.",
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            callback=options.read_namespace,
            help="Kubernetes namespace. With this option, commands go to the cluster, not to the"
            " REST API.",
        ),
    ] = None,
    all_namespaces: Annotated[
        bool,
        typer.Option(
            "--all-namespaces", "-A", help="With `codexrun list`: show the runs in all namespaces."
        ),
    ] = False,
    color: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="When to use color: auto (which respects NO_COLOR), always or never.",
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print without color, symbols or animation.")
    ] = False,
    no_utf8: Annotated[
        bool, typer.Option("--no-utf8", help="Print only ASCII characters.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show each call to the server.")] = False,
) -> None:
    """Unattended Codex runs on Kubernetes."""
    ctx.obj = Flags(
        server=server,
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        all_namespaces=all_namespaces,
        color=color,
        utf8=not no_utf8,
        plain=plain,
        debug=debug,
    )
    if version:
        from codexrun_cli.versions import print_versions

        print_versions(ctx)
        raise typer.Exit


app.command("start")(start.start)
app.command("list")(list_runs.list_runs)
app.command("status")(status.status)
app.command("get", hidden=True)(status.status)
app.command("describe", hidden=True)(status.status)
app.command("logs")(logs.logs)
app.command("tail")(tail.tail)
app.command("wait")(wait.wait)
app.command("cancel")(cancel.cancel)
app.command("retry")(retry.retry)
app.command("diff")(diff.diff)
app.command("artifacts")(artifacts.artifacts)
app.command("apply")(apply.apply)
app.command("edit")(edit.edit)
app.command("delete")(delete.delete)
app.command("open")(open_run.open_run)
app.command("stats")(stats.stats)
app.command("cost", hidden=True)(stats.stats)
app.command("doctor")(doctor.doctor)
app.command("cleanup")(cleanup.cleanup)
app.command("cleanup_runs", hidden=True)(cleanup.cleanup)
app.command("export")(registry_file.export_runs)
app.command("import")(registry_file.import_runs)
app.command("login")(login.login)
app.command("logout")(login.logout)
app.command("whoami")(whoami.whoami)
app.command("completion")(completion.completion)
app.command("help")(help_command.help_topic)
app.add_typer(prompts.app, name="prompts")
app.add_typer(jobtypes.app, name="jobtypes")
app.add_typer(config.app, name="config")


def main(prog_name: str = "codexrun") -> None:
    """Run the console script. A closed stdin, stdout or stderr is an empty one."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    # commands tell people in words of their own
    logging.getLogger("codexrun_core").addHandler(logging.NullHandler())
    app(prog_name=prog_name)
