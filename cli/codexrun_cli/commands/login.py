"""`codexrun login` and `logout`: remember an api and a token for it, and forget them."""

import sys
from typing import Annotated

import typer

from codexrun_cli import context, settings
from codexrun_cli.errors import say, usage
from codexrun_cli.terminal import interactive


def login(
    ctx: typer.Context,
    server: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="URL of the REST API, such as https://codexrun.example.com"
        ),
    ],
    with_token: Annotated[
        bool, typer.Option("--with-token", help="Read the token from stdin.")
    ] = False,
) -> None:
    """Store the URL of a REST API and a token for it. You are prompted for the token, or it is read
    from stdin; it cannot be given as an argument."""
    from codexrun_cli.transports.rest.http import Http

    settings.settle(settings.Flags(server=server), {}, {})
    if with_token:
        token = sys.stdin.readline().strip() if sys.stdin else ""
    elif interactive():
        token = typer.prompt(f"token for {server}", hide_input=True, err=True).strip()
    else:
        usage("stdin is not a terminal; pipe the token in: codexrun login URL --with-token < FILE")
    if not token:
        usage("the token is empty; paste it, or pipe it in: codexrun login URL --with-token < FILE")
    # proves URL and token
    Http(server.rstrip("/"), token, debug=context.flags(ctx).debug).json("GET", "/jobtypes")
    file = settings.path()
    settings.write(file, {**settings.read(file), "server": server.rstrip("/"), "token": token})
    say(f"{server} and its token are stored in {file}, which only you can read")


def logout() -> None:
    """Remove the stored URL and token of the REST API. The token stays valid until the REST
    API's owner revokes it."""
    file = settings.path()
    stored = settings.read(file)
    if "token" not in stored and "server" not in stored:
        say("no URL and no token are stored")
        return
    settings.write(file, {k: v for k, v in stored.items() if k not in ("server", "token")})
    if "server" not in stored:
        removed = "the token was"
    elif "token" not in stored:
        removed = f"{stored['server']} was"
    else:
        removed = f"{stored['server']} and its token were"
    say(f"{removed} removed from {file}")
