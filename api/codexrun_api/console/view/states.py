"""What a run's state is called, and which sign and tone it has: a closed table, so that no state is
told by colour alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    word: str
    tone: str  # a class of the style sheet: wait, run, stop, ok, bad, off
    icon: str  # a symbol of icons.svg
    mark: str  # in the page's title
    active: bool


STATES = {
    "pending": State("Pending", "wait", "pending", "○", True),
    "queued": State("Queued", "wait", "queued", "◷", True),
    "starting": State("Starting", "run", "starting", "◔", True),
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
