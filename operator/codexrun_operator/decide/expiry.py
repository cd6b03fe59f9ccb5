"""When is a finished run's object to be deleted? Pure."""

from datetime import datetime

from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.verdict import is_provisional
from codexrun_operator.decide.run_reader import is_readable


def seconds_to_live(run: CodexRun, now: datetime) -> float | None:
    """Return the seconds until a finished run's object is to be deleted; None for a live run, and
    for one whose time to live cannot be read.

    A refused REST start leaves no object, also when the api that would have deleted it has died.
    """
    if run.status.phase is Phase.REJECTED and is_provisional(run):
        return 0.0
    if not run.status.phase.terminal or run.status.finished_at is None:
        return None
    if not is_readable(run, "ttlSecondsAfterFinished"):
        return None
    age = (now - run.status.finished_at).total_seconds()
    return run.spec.ttl_seconds_after_finished - age
