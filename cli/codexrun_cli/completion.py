"""What the shell offers: names from the server, within a second, and nothing where it does not
answer."""

import contextlib
import threading
from collections.abc import Callable

import typer

from codexrun_cli.transports import RunFilter, Transport
from codexrun_core.resources.phases import STATUSES

TIMEOUT_SECONDS = 1.0
MAX_RUNS = 50


def _from_server(
    ctx: typer.Context, get: Callable[[Transport], list[tuple[str, str]]]
) -> list[tuple[str, str]]:
    """Return what `get` finds before time is up; nothing on any error: a completion must never
    print one."""
    # Not within the server's time: a machine that is busy takes long to load them.
    from codexrun_cli.context import flags
    from codexrun_cli.transports.connection import open_transport, settings_of

    candidates: list[tuple[str, str]] = []

    def work() -> None:
        with contextlib.suppress(Exception):  # silence is the contract
            candidates.extend(
                get(open_transport(settings_of(flags(ctx)), ask=False, seconds=TIMEOUT_SECONDS))
            )

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(TIMEOUT_SECONDS)
    return list(candidates)


def runs(
    ctx: typer.Context,
    args: list[str],  # noqa: ARG001 - typer's form
    incomplete: str,
) -> list[tuple[str, str]]:
    def get(transport: Transport) -> list[tuple[str, str]]:
        listed = transport.runs(RunFilter(search=incomplete or None), MAX_RUNS)
        return [
            (run["name"], run["status"]) for run in listed if run["name"].startswith(incomplete)
        ]

    if incomplete.startswith("@"):
        return [("@latest", "the newest run"), ("@latest-failed", "the newest failed run")]
    return _from_server(ctx, get)


def job_types(
    ctx: typer.Context,
    args: list[str],  # noqa: ARG001 - typer's form
    incomplete: str,  # noqa: ARG001 - typer's form
) -> list[tuple[str, str]]:
    return _from_server(
        ctx,
        lambda transport: [
            (item["name"], item.get("description") or "") for item in transport.job_types()
        ],
    )


def prompts(
    ctx: typer.Context,
    args: list[str],  # noqa: ARG001 - typer's form
    incomplete: str,  # noqa: ARG001 - typer's form
) -> list[tuple[str, str]]:
    def get(transport: Transport) -> list[tuple[str, str]]:
        candidates = []
        for prompt in transport.prompts():
            candidates.append((prompt["name"], ""))
            candidates += [
                (f"{prompt['name']}@{version['version']}", "") for version in prompt["versions"]
            ]
        return candidates

    return _from_server(ctx, get)


def statuses(incomplete: str) -> list[str]:
    *before, last = incomplete.split(",")
    return [",".join([*before, status]) for status in STATUSES if status.startswith(last)]
