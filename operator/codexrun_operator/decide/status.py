"""Build a whole status from a phase: one place knows which conditions a phase means. Pure."""

from datetime import datetime
from typing import Any

from codexrun_core import reasons
from codexrun_core.resources import CodexRun, Condition, RunStatus
from codexrun_core.resources.phases import Phase
from codexrun_operator.decide.run_reader import unreadable_fields

MAX_MESSAGE_CHARS = 2048

# The status of each condition in a phase; "" leaves it as it is (absent, if it never was). The
# reason of a condition is the phase's reason where this phase decides it, else the phase's name.
# Finished is there for whoever waits for the end, whichever it is (`kubectl wait`).
CONDITIONS: dict[Phase, dict[str, str]] = {
    Phase.PENDING: {"Accepted": "Unknown", "Succeeded": "Unknown"},
    Phase.QUEUED: {"Accepted": "True", "Admitted": "False", "Succeeded": "Unknown"},
    Phase.STARTING: {
        "Accepted": "True",
        "Admitted": "True",
        "Started": "False",
        "Succeeded": "Unknown",
    },
    Phase.RUNNING: {
        "Accepted": "True",
        "Admitted": "True",
        "Started": "True",
        "Succeeded": "Unknown",
    },
    Phase.STOPPING: {"Accepted": "True", "Admitted": "True", "Succeeded": "Unknown"},
    Phase.SUCCEEDED: {
        "Accepted": "True",
        "Admitted": "True",
        "Started": "True",
        "Succeeded": "True",
        "Finished": "True",
    },
    Phase.FAILED: {"Accepted": "True", "Succeeded": "False", "Finished": "True"},
    Phase.CANCELLED: {"Cancelled": "True", "Succeeded": "False", "Finished": "True"},
    Phase.REJECTED: {"Accepted": "False", "Succeeded": "False", "Finished": "True"},
}

# Which condition a phase is about: that one carries the phase's own reason and message.
SUBJECT: dict[Phase, tuple[str, ...]] = {
    Phase.PENDING: ("Accepted",),
    Phase.QUEUED: ("Admitted",),
    Phase.STARTING: ("Started",),
    Phase.RUNNING: ("Succeeded",),
    Phase.STOPPING: ("Succeeded",),
    Phase.SUCCEEDED: ("Succeeded",),
    Phase.FAILED: ("Succeeded",),
    Phase.CANCELLED: ("Cancelled", "Succeeded"),
    Phase.REJECTED: ("Accepted", "Succeeded"),
}

# Only a run that another version has written, or somebody has edited, has this one; in any phase.
READABLE = "Readable"

SETTLED_REASONS = {
    "Accepted": reasons.VALID,
    "Admitted": reasons.SLOT_TAKEN,
    "Started": reasons.AGENT_RUNNING,
}


def with_phase(
    run: CodexRun, phase: Phase, reason: str, message: str, now: datetime, **fields: Any
) -> RunStatus:
    """Return the run's status after it has moved to `phase`; `fields` are further status fields.

    Going back is refused: a phase of a smaller rank in the same attempt would rewrite history.
    """
    previous = run.status
    if phase.rank < previous.phase.rank or (
        previous.phase.terminal and phase is not previous.phase
    ):
        raise ValueError(f"{run.metadata.name}: {previous.phase} -> {phase} would move backwards")
    message = (
        message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 1] + "…"
    )
    conditions = {condition.type: condition for condition in previous.conditions}
    for kind, status in CONDITIONS[phase].items():
        subject = kind in SUBJECT[phase]
        conditions[kind] = _condition(
            conditions.get(kind),
            type=kind,
            status=status,
            reason=reason if subject else SETTLED_REASONS.get(kind, phase.value),
            message=message if subject else "",
            observed_generation=run.metadata.generation,
            now=now,
        )
    if (fields_left_out := unreadable_fields(run)) or READABLE in conditions:
        conditions[READABLE] = _condition(
            conditions.get(READABLE),
            type=READABLE,
            status="False" if fields_left_out else "True",
            reason=reasons.UNREADABLE if fields_left_out else reasons.VALID,
            message=unreadable_message(fields_left_out) if fields_left_out else "",
            observed_generation=run.metadata.generation,
            now=now,
        )
    return previous.model_copy(
        update={
            "phase": phase,
            "reason": reason,
            "message": message,
            "observed_generation": run.metadata.generation,
            "conditions": list(conditions.values()),
            **fields,
        }
    )


def unreadable_message(fields: tuple[str, ...]) -> str:
    """Return what follows for a run from the fields that cannot be read."""
    message = (
        f"{', '.join(fields)}: not readable by this version of codexrun; the operator's log says"
        " why. Cancellation, deadlines and usage still apply; to start the run, upgrade codexrun"
    )
    return message[:MAX_MESSAGE_CHARS]


def tells_what_is_unreadable(run: CodexRun) -> bool:
    """Return whether the run's conditions say which of its fields cannot be read, if any."""
    conditions = {condition.type: condition for condition in run.status.conditions}
    readable = conditions.get(READABLE)
    fields = unreadable_fields(run)
    if readable is None:
        return not fields
    return readable.status == ("False" if fields else "True")


def _condition(old: Condition | None, *, now: datetime, **fields: Any) -> Condition:
    """Build a condition: lastTransitionTime moves with the status only (Kubernetes API
    conventions)."""
    since = old.last_transition_time if old and old.status == fields["status"] else now
    return Condition(last_transition_time=since, **fields)


def same_content(old: RunStatus, new: RunStatus) -> bool:
    """Return whether writing `new` would change nothing: such a write confuses kopf and costs the
    apiserver."""
    return _content(old) == _content(new)


def only_message_differs(old: RunStatus, new: RunStatus) -> bool:
    """Return whether `new` is `old` with other messages."""
    return not same_content(old, new) and same_content(
        _without_messages(old), _without_messages(new)
    )


def _without_messages(status: RunStatus) -> RunStatus:
    conditions = [c.model_copy(update={"message": ""}) for c in status.conditions]
    return status.model_copy(update={"message": "", "conditions": conditions})


def _content(status: RunStatus) -> dict[str, Any]:
    content = status.dump()
    content.pop("observedGeneration", None)
    for condition in content.get("conditions", []):
        condition.pop("observedGeneration", None)
    return content


def duration(start: datetime, end: datetime) -> str:
    """Format a duration for people, as kubectl prints ages: 42s, 3m5s, 1h2m."""
    seconds = max(0, int((end - start).total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
