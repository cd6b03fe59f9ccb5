"""`codexrun config`: what is remembered between calls, and where a value comes from."""

from typing import Annotated

import typer

from codexrun_cli import context, options, output, settings
from codexrun_cli.errors import say, usage
from codexrun_cli.output.table import Column
from codexrun_cli.transports.connection import settings_of

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show and change the configuration.",
)

HIDDEN = "********"


@app.command("view")
def view(ctx: typer.Context, fmt: options.Output = None) -> None:
    """Show the effective settings and where each comes from; a token is never shown."""
    output_format = output.parse(fmt)
    current = settings_of(context.flags(ctx))
    rows = []
    for key in settings.KEYS:
        value = getattr(current, key)
        source = dict(current.sources).get(key, "default")
        if value is not None:
            rows.append(
                {
                    "key": key,
                    "value": HIDDEN if key in settings.SECRET_KEYS else value,
                    "source": source,
                }
            )
    if output_format.human:
        say(f"file: {settings.path()}")
    output.emit(rows, _KIND, output_format, context.out(ctx))


@app.command("set")
def set_value(
    key: Annotated[str, typer.Argument(help="The setting: server, context, namespace or color.")],
    value: Annotated[
        str, typer.Argument(help="Value of the setting; an empty value removes the setting.")
    ],
) -> None:
    """Store a setting. To store a token, use `codexrun login`, which keeps it off the command
    line."""
    if key in settings.SECRET_KEYS:
        usage("a token on the command line is visible to every process; use `codexrun login URL`")
    if key not in settings.KEYS:
        usage(
            f'"{key}" is not a valid setting; use'
            f" {', '.join(k for k in settings.KEYS if k not in settings.SECRET_KEYS)}"
        )
    file = settings.path()
    values = {**settings.read(file), key: value}
    if not value:
        del values[key]
    settings.settle(settings.Flags(), {}, values)
    settings.write(file, values)


@app.command("path")
def show_path() -> None:
    """Print the path of the configuration file."""
    output.write(f"{settings.path()}\n")


def _column(name: str) -> Column[dict[str, str]]:
    return Column(name.upper(), lambda row: str(row[name]))


_KIND = output.Kind[dict[str, str]](
    schema="codexrun.setting/v1",
    plural="settings",
    columns=[_column("key"), _column("value"), _column("source")],
    name=lambda row: str(row["key"]),
)
