"""Return what the command line asks of a status: REST's word for a phase, or `deleted`."""

from codexrun_core.resources.phases import ENDED_STATUSES


def is_terminal(status: str) -> bool:
    """Return whether a run with this status never changes again."""
    return status in ENDED_STATUSES
