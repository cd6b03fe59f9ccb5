"""The statuses of a run, as REST and the command line write them: phases in lower case, and
`deleted`.

A copy of `codexrun_core.resources.phases`, held equal by a test: importing that takes longer than
completion may.
"""

LIVE = ("pending", "queued", "starting", "running", "stopping")
TERMINAL = ("succeeded", "failed", "cancelled", "rejected", "deleted")
STATUSES = (*LIVE, *TERMINAL)


def is_terminal(status: str) -> bool:
    """Return whether a run with this status never changes again."""
    return status in TERMINAL
