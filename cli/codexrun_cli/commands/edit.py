"""`codexrun edit`: what of a run may change after its start, which is its priority."""

from typing import Annotated

import typer

from codexrun_cli import context, options, output, run_selection
from codexrun_cli.errors import say
from codexrun_cli.output.runs import state
from codexrun_core.resources.phases import LIVE_STATUSES


def edit(
    ctx: typer.Context,
    name: options.OneName = None,
    *,
    priority: Annotated[
        int,
        typer.Option(
            "--priority", min=-1000, max=1000, help="Runs with a higher priority start first."
        ),
    ],
) -> None:
    """Change the priority of a run that has not ended. If the run is waiting, its place in the
    queue changes too."""
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        run = run_selection.find_run(transport, name, LIVE_STATUSES)
        run = transport.set_priority(run["run_id"], priority)
    output.write(f"{run['name']}\n")
    say(f"{run['name']}: {state(run)}, priority {priority}")
