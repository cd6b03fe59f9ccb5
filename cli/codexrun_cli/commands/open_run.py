"""`codexrun open`: a run's page of the web console."""

import typer

from codexrun_cli import context, options, output, run_selection


def open_run(ctx: typer.Context, name: options.OneName = None) -> None:
    """Open a run's page in the web console."""
    from codexrun_cli.transports.connection import opened

    with opened(context.flags(ctx)) as transport:
        run = run_selection.find_run(transport, name)
        url = transport.console(run)
        context.open_in_browser(url)
        output.write(f"{url}\n")
