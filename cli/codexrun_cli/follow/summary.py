"""How a followed run ends on the screen: one line of summary, then what the agent said."""

import json
import sys
from datetime import UTC, datetime

from codexrun_cli import durations, output
from codexrun_cli.errors import CommandError
from codexrun_cli.follow.lines import clean
from codexrun_cli.output.runs import colour, last_message
from codexrun_cli.output.usage import cost, tokens
from codexrun_cli.terminal import Terminal, is_tty
from codexrun_cli.transports import Transport
from codexrun_cli.transports.schemas import Run
from codexrun_core.times import short_duration

MIN_CUT_BYTES = 2000  # a stored message is cut at 2 KiB, and a shorter one is whole


def summary(run: Run, terminal: Terminal) -> list[str]:
    """Return what came of the run, in a line or two."""
    now = datetime.now(UTC)
    lasted = durations.lasted(dict(run), now)
    parts = [
        f"{run['name']}: {terminal.paint(run['status'], colour(run))}",
        f"after {short_duration(lasted)}" if lasted is not None else "",
        f"{tokens(run)} tokens" if tokens(run) else "",
        cost(run),
    ]
    text = clean(last_message(run, now)) if run["status"] != "succeeded" else ""
    if run["status"] == "deleted":
        text = "the run was deleted; how it ended is unknown"
    warnings = [clean(f"  warning: {warning}") for warning in run.get("warnings") or []]
    return [
        ", ".join(filter(None, parts)),
        *([f"  {terminal.paint(text, 'red')}"] if text else []),
        *(terminal.paint(warning, "yellow") for warning in warnings),
    ]


def final_message(transport: Transport, run: Run) -> str:
    """Return all of the final message, where the api keeps it; what the run's record has
    elsewhere."""
    message = str(run.get("result") or "")
    cut = run.get("result_truncated")
    if cut is None:  # the api, or the row, is of an earlier version
        cut = len(message.encode()) >= MIN_CUT_BYTES
    if transport.rest and cut:
        try:
            data = transport.data(f"/runs/{run['run_id']}/artifacts/final-message.md")
            return data.decode("utf-8", "replace")
        except CommandError:
            return message
    return message


def laid_out(message: str) -> str:
    """Return JSON with one value a line; anything else as it is."""
    if not message.lstrip().startswith(("{", "[")):
        return message
    try:
        return json.dumps(json.loads(message), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return message


def print_message(message: str, terminal: Terminal) -> None:
    """Print Markdown for people; its text for a terminal that cannot show that; for programs what
    the agent wrote."""
    on_terminal = is_tty(sys.stdout)
    if on_terminal:
        message = laid_out(message)
        message = "\n".join(clean(line) for line in message.split("\n"))
    if not (on_terminal and terminal.tty and terminal.utf8) or message.startswith(("{", "[")):
        output.write(message if message.endswith("\n") else message + "\n")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=terminal.width, no_color=not terminal.colour, highlight=False).print(
        Markdown(message, hyperlinks=False)
    )
