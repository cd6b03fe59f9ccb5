"""`codexrun whoami`: who api or cluster take the user for."""

import typer

from codexrun_cli import context, output
from codexrun_cli.errors import say
from codexrun_cli.transports.connection import opened, settings_of


def whoami(ctx: typer.Context) -> None:
    """Print the server, and the name under which your runs are recorded."""
    flags = context.flags(ctx)
    with opened(flags) as transport:
        user = transport.user()
    settings = settings_of(flags)
    output.write(f"{user}\n")
    say(f"at {settings.server}" if settings.server else "in the cluster of your kubeconfig")
