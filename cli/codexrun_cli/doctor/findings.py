"""What a look found: ok, failed (with its fix), or a note where it cannot be known."""

from collections.abc import Callable
from typing import Any

from codexrun_cli.errors import CommandError, Unreachable

Json = dict[str, Any]
Get = Callable[[str], Json]  # what the apiserver has under a path

CHART = "charts/codexrun"  # from a checkout


def install(namespace: str) -> str:
    """Return the command that installs the chart."""
    return f"helm upgrade --install codexrun {CHART} -n {namespace} --create-namespace"


def ok(name: str, detail: str) -> Json:
    return {"name": name, "result": "ok", "detail": detail}


def failed(name: str, detail: str, fix: str) -> Json:
    return {"name": name, "result": "failed", "detail": detail, "fix": fix}


def note(name: str, detail: str, fix: str = "") -> Json:
    return {"name": name, "result": "note", "detail": detail, **({"fix": fix} if fix else {})}


def attempt(call: Callable[[], Any]) -> Any:
    """Return what `call` returns, or the error that hid it.

    Raises:
        Unreachable: nobody answers; the rest need not be asked.
    """
    try:
        return call()
    except Unreachable:
        raise
    except CommandError as error:
        return error
