"""What the shell offers: names from the server, within a second, and silence when it is away."""

import contextlib
import threading
from collections.abc import Callable

import typer

from codexrun_cli.statuses import STATUSES
from codexrun_cli.transports import RunFilter, Transport

SECONDS = 1.0
MOST = 50


def _from_server(
    ctx: typer.Context, look: Callable[[Transport], list[tuple[str, str]]]
) -> list[tuple[str, str]]:
    """What `look` finds before time is up; nothing on any trouble: a completion must never print an
    error."""
    found: list[tuple[str, str]] = []

    def work() -> None:
        from codexrun_cli.context import flags
        from codexrun_cli.transports.connection import open_transport, settings_of

        with contextlib.suppress(Exception):  # silence is the contract
            found.extend(look(open_transport(settings_of(flags(ctx)), ask=False, seconds=SECONDS)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(SECONDS)
    return list(found)


def runs(ctx: typer.Context, args: list[str], incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001 - typer's form
    def look(transport: Transport) -> list[tuple[str, str]]:
        listed = transport.runs(RunFilter(search=incomplete or None), MOST)
        return [
            (run["name"], run["status"]) for run in listed if run["name"].startswith(incomplete)
        ]

    if incomplete.startswith("@"):
        return [("@latest", "the newest run"), ("@latest-failed", "the newest that failed")]
    return _from_server(ctx, look)


def job_types(ctx: typer.Context, args: list[str], incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001
    return _from_server(
        ctx,
        lambda transport: [(k["name"], k.get("description") or "") for k in transport.job_types()],
    )


def prompts(ctx: typer.Context, args: list[str], incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001
    def look(transport: Transport) -> list[tuple[str, str]]:
        found = []
        for prompt in transport.prompts():
            found.append((prompt["name"], ""))
            found += [
                (f"{prompt['name']}@{version['version']}", "") for version in prompt["versions"]
            ]
        return found

    return _from_server(ctx, look)


def statuses(incomplete: str) -> list[str]:
    *before, last = incomplete.split(",")
    return [",".join([*before, status]) for status in STATUSES if status.startswith(last)]
