"""`codexrun --version`: client, server and CRD, and a warning where they do not belong together."""

from typing import Any

import typer

from codexrun_cli import context, output
from codexrun_cli.errors import CommandError, say

SECONDS = 2.0
API_VERSION = "v1alpha1"


def own() -> str:
    from importlib.metadata import version

    return version("codexrun")


def print_versions(ctx: typer.Context) -> None:
    """The client's at once; the others as far as somebody answers."""
    from codexrun_cli.transports.connection import settings_of

    mine = own()
    output.write(f"codexrun {mine}\n")
    settings = settings_of(context.flags(ctx))
    if settings.server is None:
        crds = _of_cluster(settings)
        output.write(f"crd      {crds or 'not known'}\n")
        if crds and API_VERSION not in crds:
            say(f"this client speaks {API_VERSION}; update it, or the chart")
        return
    try:
        from codexrun_cli.transports.rest.http import Http

        http = Http(settings.server, settings.token, seconds=SECONDS)
        there: Any = http.json("GET", "/version", repeatable=False)
    except CommandError as error:
        output.write("server   not known\n")
        say(f"{error.detail}")
        return
    output.write(f"server   {there['version']}\ncrd      {there['resources']}\n")
    if skew(mine, there["version"]):
        say(
            f"client {mine} and server {there['version']} differ by more than a minor version;"
            " update the older one"
        )


def skew(mine: str, theirs: str) -> bool:
    """Whether two versions are too far apart: another major one, or more than one minor. Pure."""

    def parts(version: str) -> tuple[int, int]:
        first, second, *_ = [*version.split("."), "0", "0"]
        return (int(first) if first.isdecimal() else 0), (int(second) if second.isdecimal() else 0)

    (a, b), (c, d) = parts(mine), parts(theirs)
    return a != c or abs(b - d) > 1


def _of_cluster(settings: Any) -> str | None:
    from codexrun_cli.transports.connection import open_transport

    try:
        transport: Any = open_transport(settings, ask=False)
    except CommandError:
        return None
    try:
        group = transport.loop.call(transport.kube.get("/apis/codexrun.dev"))
        return ", ".join(version["version"] for version in group["versions"])
    except CommandError:
        return None
    finally:
        transport.close()
