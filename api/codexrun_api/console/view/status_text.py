"""What a run's state is called, what is going on with it in one sentence, and what to do about it.
Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from codexrun_api.console.view.formats import about, capitalized, duration, utc
from codexrun_api.schemas.responses import QueueView
from codexrun_core import reasons
from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import RunRecord


@dataclass(frozen=True)
class State:
    """How a state is called and shown: a closed table, so that no state is told by colour alone."""

    word: str
    tone: str  # a class of the style sheet: wait, start, run, stop, ok, bad, off
    icon: str  # a symbol of icons.svg
    mark: str  # in the page's title
    active: bool


STATES = {
    "pending": State("Pending", "wait", "pending", "○", True),
    "queued": State("Queued", "wait", "queued", "◷", True),
    "starting": State("Starting", "start", "starting", "◔", True),
    "running": State("Running", "run", "running", "●", True),
    "stopping": State("Stopping", "stop", "stopping", "◍", True),
    "succeeded": State("Succeeded", "ok", "succeeded", "✓", False),
    "failed": State("Failed", "bad", "failed", "✗", False),
    "cancelled": State("Cancelled", "off", "cancelled", "⊘", False),
    "rejected": State("Rejected", "bad", "rejected", "⊗", False),
    "deleted": State("Deleted", "off", "deleted", "?", False),
}


def state_of(status: str) -> State:
    """Return how a status is shown; one that a newer operator writes by its own name, as going
    on."""
    return STATES.get(status) or State(status.capitalize(), "wait", "pending", "?", True)


ACTIVE = tuple(name for name, state in STATES.items() if state.active)


_MARKS = re.compile(r"^\s*(?:#{1,6}|[-*+]|>)\s+|\*\*|__|`|(?<=\s)\*(?=\S)|(?<=\S)\*(?=\s|[.,:;)])")

MAX_SHORT_CHARACTERS = 180  # characters of a message in the list

# What a person can do, where the failure's own message does not say.
WAYS_OUT = {
    "auth": (
        "Check the model's API key (in the Secret named in the job type or the chart) or the"
        " chart's model.identity, then retry."
    ),
    "rate_limit": "The model's provider is limiting requests; retry later.",
    "quota": (
        "The quota of the provider's account is used up; raise the quota or settle the invoice,"
        " then retry."
    ),
    "budget": (
        "The run reached its limit of tokens or of cost; retry with a smaller task, or raise the"
        " limit in the job type."
    ),
    "timeout": (
        "The run reached its time limit; retry with a smaller task, or raise the job type's"
        " timeoutSeconds."
    ),
    "stall": "Codex and the model sent nothing for too long; retry.",
    "oom": "The run exceeded its memory limit; raise the job type's resources.limits.memory.",
    "storage": (
        "The run filled its disk; raise sizes or resources.limits.ephemeral-storage in the job"
        " type."
    ),
    "evicted": "The node ran short of resources; retry the run.",
    "node_lost": "The run's node was lost; retry.",
    "image": (
        "One of the run's images could not be pulled, or its container could not be started; check"
        " the images in the job type and the chart, and their pull secrets."
    ),
    "unschedulable": (
        "No node could run the pod; check the job type's resources, placement and runtimeClassName,"
        " or retry later."
    ),
    "workspace": "The repository could not be cloned; check the URL, the ref and the credentials.",
    "config": (
        "A setting in the job type, the chart or the namespace prevented the run from starting;"
        " correct the setting named in the message, then retry."
    ),
    "guardrail": "The run did something that its job type does not allow; the message says what.",
    "policy": (
        "The provider's usage policy rejected the prompt or the response; change the prompt or the"
        " inputs."
    ),
    "model_error": "The request to the model failed; the message says what to do.",
    "silent_death": "The run ended without proof of success; check its log, then retry.",
    "internal": (
        "Something went wrong in codexrun or in the cluster; retry, and check the operator's log if"
        " it happens again."
    ),
}

_ADVICE = re.compile(r"\b(?:check|raise|lower|retry|top up|correct|use|rebuild)\b", re.IGNORECASE)

# What a waiting run waits for, where the queue itself does not tell.
WAITS = {
    reasons.SUSPENDED: "Waiting: its job type is suspended",
    reasons.JOB_TYPE_HELD: "Waiting: the cluster is rejecting all Jobs of this run's job type",
    reasons.JOB_REFUSED: "Waiting: the cluster is rejecting this run's Job",
    reasons.UNREADABLE: (
        "Waiting: this version of codexrun cannot read the run, its job type or its prompt; upgrade"
        " codexrun"
    ),
    reasons.UNKNOWN_VALUE: (
        "Waiting: this version of codexrun does not know the run's spec.whenFull; upgrade codexrun"
    ),
    reasons.JOB_TYPE_NOT_FOUND: "Waiting: its job type does not exist",
    reasons.PROMPT_NOT_FOUND: "Waiting: its prompt does not exist",
    reasons.IMAGE_PULL: "Starting: an image of its pod cannot be pulled",
    reasons.UNSCHEDULABLE: "Starting: no node can run its pod yet",
}
# For these the operator waits a minute, unless the run was queued before.
_MISSING = (reasons.JOB_TYPE_NOT_FOUND, reasons.PROMPT_NOT_FOUND)


def sentence(
    record: RunRecord,
    now: datetime,
    *,
    run: CodexRun | None = None,
    position: QueueView | None = None,
    busy: int = 0,
    limit: int = 0,
    usual: timedelta | None = None,
    doing: str = "",
) -> str:
    """Say what is going on with a run. `busy` of `limit` slots of its job type are taken;
    `usual` is how long such runs take; `doing` the open command."""
    status = run.status if run else None
    match record.status:
        case "pending":
            return _pending(record)
        case "queued":
            return _queued(record, position, busy, limit)
        case "starting":
            message = status.message if status and status.message else ""
            return _with_full_stop(
                WAITS.get(record.reason or "")
                or (f"Starting: {message}" if message else "Starting its pod")
            )
        case "running" if waiting := _waiting(record, now):
            return f"{waiting}."
        case "running":
            return _running(record, now, usual, doing)
        case "stopping":
            return _stopping(record, run)
        case "succeeded":
            return f"Succeeded after {duration(run_seconds(record, now))}."
        case "failed":
            kind = (record.failure_class or "unknown").replace("_", " ")
            after = (
                f" after {duration(run_seconds(record, now))}"
                if record.started_at
                else " before it ran"
            )
            return _with_full_stop(f"Failed{after} ({kind}): {record.error or 'no message'}")
        case "cancelled":
            return _with_full_stop(record.error or "Cancelled")
        case "rejected":
            return _with_full_stop(
                f"Rejected before it started: {record.error or record.reason or 'no message'}"
            )
        case "deleted":
            return _with_full_stop(
                record.error
                or (
                    "The run's object was deleted before the outcome was recorded, so the outcome"
                    " is unknown"
                )
            )
        case unknown:
            message = (
                status.message
                if status and status.message
                else record.reason or "a status set by a newer operator"
            )
            return _with_full_stop(f"{unknown.capitalize()}: {message}")


def way_out(record: RunRecord) -> str:
    """Return what to do about a failure; empty where there is nothing to do, or where the failure's
    own message says it."""
    if _ADVICE.search(record.error or ""):
        return ""
    return WAYS_OUT.get(record.failure_class or "", "")


def short(
    record: RunRecord,
    now: datetime,
    *,
    run: CodexRun | None = None,
    position: QueueView | None = None,
    busy: int = 0,
    limit: int = 0,
) -> str:
    """Return the list's line under the status."""
    match record.status:
        case "succeeded":
            text = plain(record.result or "")
        case "failed":
            text = (
                f"{(record.failure_class or 'unknown').replace('_', ' ')}:"
                f" {record.error or 'no message'}"
            )
        case "running":
            text = _waiting(record, now)
        case _:
            text = sentence(record, now, run=run, position=position, busy=busy, limit=limit)
            word_of_badge = state_of(record.status).word
            text = capitalized(re.sub(rf"^{word_of_badge}( before it started:|[:;]) ", "", text))
    return text if len(text) <= MAX_SHORT_CHARACTERS else text[: MAX_SHORT_CHARACTERS - 1] + "…"


def plain(markdown: str) -> str:
    """Return Markdown in one line, without its marks."""
    lines = (
        _MARKS.sub("", line)
        for line in markdown.splitlines()
        if not line.lstrip().startswith(("|", "```"))
    )
    return " ".join(" ".join(lines).split())


def run_seconds(record: RunRecord, now: datetime) -> float | None:
    """Return the seconds that the agent ran, up to now if it still does; None where it never
    did."""
    if record.started_at is None:
        return None
    end = record.finished_at or (None if record.terminal or record.status == "deleted" else now)
    return (end - record.started_at).total_seconds() if end else None


def _pending(record: RunRecord) -> str:
    text = WAITS.get(record.reason or "") or "Waiting for the operator"
    if record.reason in _MISSING:
        text += "; unless it is created, the run will be rejected after one minute"
    return _with_full_stop(text)


def _queued(record: RunRecord, position: QueueView | None, busy: int, limit: int) -> str:
    if record.reason and record.reason in WAITS:
        return _with_full_stop(WAITS[record.reason])
    parts = [f"{busy} of {limit} {record.job_type} slots are taken"] if limit else []
    if position:
        parts.append(
            "next in line"
            if position.position == 1
            else f"position {position.position} in the queue"
        )
        if position.eta_seconds is not None:
            parts.append(f"starts in {about(position.eta_seconds)}")
    return f"Waiting for a slot: {'; '.join(parts)}." if parts else "Waiting for a slot."


def _running(record: RunRecord, now: datetime, usual: timedelta | None, doing: str) -> str:
    seconds = run_seconds(record, now)
    text = f"Running for {duration(seconds)}"
    if doing:
        text += f", now {doing}"
    if usual is None:
        return f"{text}."
    if seconds is not None and seconds > usual.total_seconds():
        return f"{text}. Longer than usual ({duration(usual.total_seconds())})."
    return f"{text}. Usually takes {duration(usual.total_seconds())}."


def _waiting(record: RunRecord, now: datetime) -> str:
    """Return until when a run waits for the model's provider; "" if it does not."""
    until = record.waiting_until
    if until is None or until <= now:
        return ""
    return f"Waiting for the provider until {utc(until)}"


def _stopping(record: RunRecord, run: CodexRun | None) -> str:
    if run and run.spec.cancel:
        reason = f" ({run.spec.cancel.reason})" if run.spec.cancel.reason else ""
        return (
            f"Stopping: cancelled by {run.spec.cancel.requested_by}{reason}; waiting for its pod"
            " to end."
        )
    message = run.status.message if run and run.status.message else record.reason or ""
    return (
        f"Stopping: {message.rstrip('.')}; waiting for its pod to end."
        if message
        else "Stopping; waiting for its pod to end."
    )


def _with_full_stop(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
