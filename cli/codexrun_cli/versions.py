"""`codexrun --version`: client, server and CRD, and a warning where they do not belong together."""

from typing import Any

import typer

from codexrun_cli import context, output
from codexrun_cli.errors import CommandError, say

TIMEOUT_SECONDS = 2.0
API_VERSION = "v1alpha1"


def own() -> str:
    from importlib.metadata import version

    return version("codexrun")


def print_versions(ctx: typer.Context) -> None:
    """Print the client's at once; the others as far as somebody answers."""
    from codexrun_cli.transports.connection import settings_of

    client = own()
    output.write(f"codexrun {client}\n")
    settings = settings_of(context.flags(ctx))
    if settings.server is None:
        crds = _of_cluster(settings)
        output.write(f"crd      {crds or 'unknown'}\n")
        if crds and API_VERSION not in crds:
            say(
                f"the cluster has codexrun.dev {crds}, but this client supports only {API_VERSION};"
                " update the client or the chart"
            )
        return
    try:
        from codexrun_cli.transports.rest.http import Http

        http = Http(settings.server, settings.token, seconds=TIMEOUT_SECONDS)
        server: Any = http.json("GET", "/version", repeatable=False)
    except CommandError as error:
        output.write("server   unknown\n")
        say(f"{error.detail}")
        return
    output.write(f"server   {server['version']}\ncrd      {server['resources']}\n")
    if skew(client, server["version"]):
        say(
            f"client {client} and server {server['version']} differ by more than one minor"
            " version; update the older one"
        )


def skew(client: str, server: str) -> bool:
    """Return whether two versions are too far apart: another major one, or more than one minor.
    Pure."""

    def parts(version: str) -> tuple[int, int]:
        first, second, *_ = [*version.split("."), "0", "0"]
        return (int(first) if first.isdecimal() else 0), (int(second) if second.isdecimal() else 0)

    client_major, client_minor = parts(client)
    server_major, server_minor = parts(server)
    return client_major != server_major or abs(client_minor - server_minor) > 1


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
