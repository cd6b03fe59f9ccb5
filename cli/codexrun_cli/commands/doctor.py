"""`codexrun doctor`: look at everything that runs need.

The checks are in codexrun_cli/doctor/.
"""

from typing import Annotated

import typer

from codexrun_cli import context, options, output
from codexrun_cli.exit_codes import Code
from codexrun_cli.output import Json
from codexrun_cli.output.table import Column

COLOURS = {"ok": "green", "failed": "red", "note": "yellow"}
CHECKS = output.Kind[Json](
    schema="codexrun.check/v1",
    plural="checks",
    columns=[
        Column("CHECK", lambda check: check["name"]),
        Column(
            "RESULT",
            lambda check: check["result"],
            lambda check: COLOURS[check["result"]],
        ),
        Column("WHAT", lambda check: check["detail"]),
    ],
)


def doctor(
    ctx: typer.Context,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help=(
                "Also send a small request to the first job type's model through a gate, in a run"
                " that is deleted afterwards. The request costs a few thousand tokens."
            ),
        ),
    ] = False,
    fmt: options.Output = None,
) -> None:
    """Check everything that a run needs: cluster, CRDs, permissions, REST API, registry, API
    key, CAs, proxy, images, Git, quotas, sandbox and metrics. The exit code is 1 if anything is
    wrong; each problem comes with a fix."""
    from codexrun_cli.doctor import examine

    output_format = output.parse(fmt)
    terminal = context.out(ctx)
    failed = False
    checks = []
    for check in examine(context.flags(ctx), probe=probe):
        failed = failed or check["result"] == "failed"
        checks.append(check)
        if output_format.name == "table":
            colour = COLOURS[check["result"]]
            output.write(
                f"{terminal.paint(check['result'].ljust(6), colour)}  {check['name']}:"
                f" {check['detail']}\n"
            )
            if check.get("fix"):
                output.write(f"        fix: {check['fix']}\n")
    if output_format.name != "table":
        output.emit(checks, CHECKS, output_format, terminal)
    raise typer.Exit(Code.FAILED if failed else Code.DONE)
