"""How runs look: their columns, their colours, and one of them in full. Pure."""

import json
from datetime import UTC, datetime
from typing import Any

from codexrun_cli import durations
from codexrun_cli.output import details
from codexrun_cli.output.formats import Kind
from codexrun_cli.output.table import Column, printable, width
from codexrun_cli.output.usage import budget, cost, tokens
from codexrun_cli.terminal import Terminal
from codexrun_cli.transports import Details
from codexrun_cli.transports.schemas import Run, Usage
from codexrun_core import reasons
from codexrun_core.resources.phases import ENDED_STATUSES
from codexrun_core.times import short_duration

COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "rejected": "red",
    "cancelled": "yellow",
    "stopping": "yellow",
    "running": "cyan",
    "starting": "blue",
}


def colour(run: Run) -> str | None:
    return COLOURS.get(run["status"], "dim")


# Why a run does not run yet, for people.
WAITS = {
    reasons.CONCURRENCY_LIMIT: "waiting for a slot",
    reasons.SUSPENDED: "its job type is suspended",
    reasons.JOB_TYPE_HELD: "the cluster rejects all Jobs of this job type",
    reasons.JOB_REFUSED: "the cluster rejects the run's Job",
    reasons.JOB_TYPE_NOT_FOUND: "its job type does not exist",
    reasons.PROMPT_NOT_FOUND: "its prompt does not exist",
    reasons.UNREADABLE: "this version of codexrun cannot read the run, its job type or its prompt",
    reasons.UNKNOWN_VALUE: "this version of codexrun does not know the run's spec.whenFull",
    reasons.IMAGE_PULL: "an image of its pod cannot be pulled",
    reasons.UNSCHEDULABLE: "no node can run its pod",
    reasons.CLONING: "cloning the repository",
}


def last_message(run: Run, now: datetime) -> str:
    """Return why it waits or failed, or what the agent said last."""
    if run["status"] not in ENDED_STATUSES:
        if provider := waiting(run, now):
            return provider
        reason = run.get("reason") or ""
        return WAITS.get(reason, "" if run["status"] == "running" else reason)
    if failure := run.get("failure"):
        return f"{failure['class']}: {failure.get('message') or ''}"
    return str(run.get("error") or run.get("result") or "")


def prompt(run: Run) -> str:
    return (
        f"{run['prompt_name']}@{run.get('prompt_version', '?')}" if run.get("prompt_name") else ""
    )


def kind(now: datetime, *, namespaces: bool = False) -> Kind[Run]:
    """Return how runs are listed; now: what ages are counted from."""
    first = [Column[Run]("NAMESPACE", lambda run: run.get("namespace", ""))] if namespaces else []
    return Kind[Run](
        schema="codexrun.run/v1",
        plural="runs",
        prefix="codexrun/",
        columns=[
            *first,
            Column("NAME", lambda run: run["name"]),
            Column("STATUS", lambda run: run["status"], colour),
            Column("JOB-TYPE", lambda run: run["job_type"], flexible=True),
            Column("ABOUT", lambda run: run.get("title") or "", flexible=True, optional=4),
            Column(
                "AGE",
                lambda run: durations.age(run.get("created_at"), now),
                right=True,
                optional=3,
            ),
            Column("DURATION", lambda run: _duration(run, now), right=True, optional=1),
            Column("TOKENS", tokens, right=True, optional=2),
            Column("COST", cost, right=True, optional=5),
            Column("MESSAGE", lambda run: last_message(run, now), flexible=True),
        ],
        wide=[
            Column("REASON", lambda run: run.get("reason") or ""),
            Column("PROMPT", prompt),
            Column("MODEL", lambda run: run.get("model") or ""),
            Column("USER", lambda run: run.get("requested_by") or ""),
            Column("ORIGIN", lambda run: run.get("origin") or ""),
            Column("RUN-ID", lambda run: run["run_id"]),
        ],
    )


def _duration(run: Run, now: datetime) -> str:
    lasted = durations.lasted(dict(run), now)
    return "" if lasted is None else short_duration(lasted)


def queue(run: Run) -> str:
    """Return `position 2 in the queue, starts in about 40s`; nothing for a run that does not
    wait."""
    position = run.get("queue")
    if not position:
        return ""
    eta = position.get("eta_seconds")
    return f"position {position['position']} in the queue" + (
        "" if eta is None else f", starts in about {short_duration(eta)}"
    )


def state(run: Run) -> str:
    """Return status, reason and place in the queue, in a few words."""
    status = run["status"]
    reason = run.get("reason")
    text = status if not reason or reason.lower() == status else f"{status} ({reason})"
    return f"{text}, {queue(run)}" if queue(run) else text


def waiting(run: Run, now: datetime) -> str:
    """Return until when a run waits for the model's provider; nothing for one that does not."""
    until = durations.parsed(run.get("waiting_until"))
    if until is None or until <= now:
        return ""
    return f"waiting for the provider until {_utc(until)}"


def describe(
    run: Run,
    now: datetime,
    terminal: Terminal,
    *,
    url: str | None = None,
    more: Details | None = None,
) -> str:
    """Return one run in full, for people. url: of its page in the console; more: what
    `Transport.details` knows."""
    more = more or {}
    sha256 = run.get("prompt_sha256")
    rows = [
        ("Name", run["name"]),
        ("Status", ", ".join(filter(None, (state(run), waiting(run, now))))),
        ("Job type", run["job_type"]),
        ("About", run.get("title") or ""),
        (
            "Prompt",
            prompt(run) + (f" (sha256 {sha256[:12]})" if sha256 else ""),
        ),
        ("Model", " ".join(filter(None, (run.get("model"), run.get("effort"))))),
        ("Inputs", _inputs(run)),
        (
            "Labels",
            ", ".join(f"{key}={value}" for key, value in sorted((run.get("labels") or {}).items())),
        ),
        ("Started by", _by(run)),
        ("Retry of", run.get("retry_of_name") or run.get("retry_of") or ""),
        ("Created", _when(run.get("created_at"), now)),
        ("Started", _when(run.get("started_at"), now)),
        ("Finished", _when(run.get("finished_at"), now)),
        ("Duration", _duration(run, now)),
        ("Attempt", str(run["attempt"]) if (run.get("attempt") or 1) > 1 else ""),
        ("Tokens", _usage(run["usage"]) if tokens(run) else ""),
        ("Cost", cost(run)),
        ("Budget", budget(run, more.get("limits", {}))),
        ("Thread", run.get("thread_id") or ""),
        ("Commit", run.get("commit_id") or ""),
        ("Run ID", run["run_id"]),
        ("Console", url or ""),
        ("Failure", _failure(run)),
        ("Message", "" if run.get("failure") else run.get("error") or ""),
        *(("Warning", text) for text in run.get("warnings") or []),
    ]
    rows = [(label, printable(text)) for label, text in rows if text]
    label_width = max(len(label) for label, _ in rows) + 2

    def styled(label: str, text: str) -> str:
        match label:
            case "Status":
                return terminal.paint(text, colour(run))
            case "Failure":
                return terminal.paint(text, "red")
            case "Warning":
                return terminal.paint(text, "yellow")
            case "Console":
                return terminal.link(text, text)
        return text

    text = "".join(f"{label + ':':<{label_width}}{styled(label, value)}\n" for label, value in rows)
    text += details.sections(more, now, terminal)
    if result := run.get("result"):
        if output := run.get("output"):
            result = json.dumps(output, indent=2, ensure_ascii=False)
        text += f"\nThe agent said:\n{_block(result)}"
    return text


def _failure(run: Run) -> str:
    failure = run.get("failure")
    if not failure:
        return ""
    again = "a retry may succeed" if failure.get("retryable") else "a retry would end the same way"
    return f"{failure['class']}: {failure.get('message') or ''} ({again})"


def next_command(run: Run) -> str:
    """Return what somebody who looks at this run would type next."""
    name = run["name"]
    return {
        "queued": f"codexrun logs -f {name}",
        "pending": f"codexrun status {name}",
        "starting": f"codexrun logs -f {name}",
        "running": f"codexrun logs -f {name}    (to stop it: codexrun cancel {name})",
        "stopping": f"codexrun wait {name}",
        "failed": f"codexrun logs {name}    (to run it again: codexrun retry {name})",
        "rejected": f"codexrun jobtypes show {run['job_type']}",
        "cancelled": f"codexrun retry {name}",
    }.get(run["status"], "")


def _block(text: str) -> str:
    return "".join(
        f"  {''.join(c if c.isprintable() else ' ' for c in line)}".rstrip() + "\n"
        for line in text.splitlines()
    )


def _inputs(run: Run) -> str:
    return ", ".join(f"{key}={_short(value)}" for key, value in (run.get("params") or {}).items())


def _short(value: Any) -> str:
    text = printable(str(value))
    return text if width(text) <= 60 else text[:57] + "..."


def _by(run: Run) -> str:
    user = run.get("requested_by")
    origin = run.get("origin")
    return f"{user} ({origin})" if user and origin else user or origin or ""


def _when(text: str | None, now: datetime) -> str:
    when = durations.parsed(text)
    return f"{_utc(when)} ({durations.age(text, now)} ago)" if when else ""


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _usage(usage: Usage) -> str:
    text = (
        f"{usage['total_tokens']} ({usage['input_tokens']} in, {usage['cached_input_tokens']} of"
        " them cached; "
    )
    text += f"{usage['output_tokens']} out)"
    if usage.get("complete"):
        return text
    at_most = usage.get("at_most_tokens") or 0
    bound = f" (at most {at_most})" if at_most > usage["total_tokens"] else ""
    return f"{text}, partly an estimate{bound}: the usage of some responses was never reported"
