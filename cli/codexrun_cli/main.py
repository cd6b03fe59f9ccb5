"""`codexrun`: the command line. Each group of commands is a module; what is slow to import is imported late."""

from typing import Annotated

import typer

from codexrun_cli import prompts

app = typer.Typer(
    name="codexrun",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  codexrun prompts verify
  codexrun prompts manifests -n codexrun | kubectl apply -f -

Data goes to stdout, what is said to people to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.""",
)
app.add_typer(prompts.app, name="prompts")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"codexrun {version('codexrun')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Unattended Codex runs on Kubernetes."""
