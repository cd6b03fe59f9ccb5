"""Rules for a run that has no Job: wait, refuse, queue, start."""

from datetime import datetime, timedelta

from codexrun_core import reasons
from codexrun_core.resources.codexrun import WHEN_FULL
from codexrun_core.resources.phases import FailureClass, Phase
from codexrun_operator.decide.outcome import failed
from codexrun_operator.decide.plan.decision import (
    Blocked,
    CreateJob,
    Decision,
    Seen,
)
from codexrun_operator.decide.plan.stop import (
    begin_stop,
    cancel_words,
    keep_evidence,
    own_end,
    terminal,
    terminal_after_stop,
)
from codexrun_operator.decide.status import moved
from codexrun_operator.decide.validation import Accepted, Missing, Refused
from codexrun_operator.job.job import job_name

JOB_DELETED = "The Job was deleted by hand"
MISSING_PATIENCE = timedelta(minutes=1)
MISSING_QUIET = timedelta(
    seconds=3
)  # files of one `kubectl apply` arrive within this; no status write for that


def wait_for_job_to_show(seen: Seen, now: datetime) -> Decision | None:  # noqa: ARG001
    """A Job that was created and has not come back on the watch yet is not a missing Job (KubeRay
    issue 715)."""
    return Decision(look_again=2) if seen.creating and seen.job is None else None


def explain_lost_job(seen: Seen, now: datetime) -> Decision | None:
    """It was admitted and its Job is gone: nothing may start in its place."""
    if seen.job is not None or not seen.begun:
        return None
    if seen.pod is not None and not seen.pod.gone and (seen.pod.holds_slot or seen.pod.held):
        # Orphaned by the Job's deletion: it keeps the slot until it is gone.
        return keep_evidence(seen, now) or begin_stop(seen, now, reasons.JOB_DELETED, JOB_DELETED)
    if seen.phase is Phase.STOPPING:
        return terminal_after_stop(seen, now)
    if end := own_end(seen):
        return terminal(seen, now, *end)
    if seen.witnessed:
        return terminal(seen, now, reasons.JOB_DELETED, JOB_DELETED, None)
    message = "The Job was gone when the operator came back; how the run ended is not known"
    return terminal(seen, now, reasons.JOB_LOST, message, failed(FailureClass.INTERNAL, message))


def cancel_before_start(seen: Seen, now: datetime) -> Decision | None:
    """Nothing was started: cancelled at once, no pod needed."""
    if seen.job is not None or seen.run.spec.cancel is None:
        return None
    words = cancel_words(seen.run)
    return Decision(
        status=moved(
            seen.run, Phase.CANCELLED, reasons.CANCEL_REQUESTED, words, now, finished_at=now
        )
    )


def leave_what_is_not_understood(seen: Seen, now: datetime) -> Decision | None:
    """A newer version's wish, which this operator can neither keep nor call wrong: the run waits
    for one that can."""
    run = seen.run
    if seen.job is not None or run.spec.when_full in WHEN_FULL:
        return None
    phase = Phase.QUEUED if run.status.phase is Phase.QUEUED else Phase.PENDING
    message = (
        f'spec.whenFull: "{run.spec.when_full}" is not known to this version of the operator;'
        " upgrade it, or create the run "
        f"again with one of {', '.join(WHEN_FULL)}"
    )
    return Decision(status=moved(run, phase, reasons.UNKNOWN_VALUE, message, now))


def _patience(seen: Seen, reason: str, message: str, now: datetime) -> Decision:
    """Wait a minute for what may still be applied, then reject: apply order must not matter.

    A minute of this process: what nobody was there to see has not been missing.
    """
    run, waited = seen.run, seen.missing_for
    if run.status.phase is Phase.QUEUED:
        # It was valid once: what it needs was taken away under it. Wait; nobody loses a queued run
        # by a re-apply.
        return Decision(status=moved(run, Phase.QUEUED, reason, message, now), look_again=30)
    if waited >= MISSING_PATIENCE:
        return Decision(status=moved(run, Phase.REJECTED, reason, message, now, finished_at=now))
    rest = (MISSING_PATIENCE - waited).total_seconds()
    if waited < MISSING_QUIET:
        return Decision(look_again=(MISSING_QUIET - waited).total_seconds())
    return Decision(status=moved(run, Phase.PENDING, reason, message, now), look_again=rest)


def wait_for_what_is_unreadable(seen: Seen, now: datetime) -> Decision | None:
    """Not missing, and nobody's mistake in the run: an older operator after a newer version's
    objects, for example."""
    if seen.job is not None or not seen.unreadable:
        return None
    phase = Phase.QUEUED if seen.phase is Phase.QUEUED else Phase.PENDING
    message = (
        f"{seen.unreadable} is there, and this version of codexrun cannot read it; the operator's"
        " log says why. The run waits: upgrade codexrun, or apply it again in the form of this"
        " version"
    )
    return Decision(status=moved(seen.run, phase, reasons.UNREADABLE, message, now))


def wait_for_job_type(seen: Seen, now: datetime) -> Decision | None:
    if seen.job is not None or seen.job_type is not None:
        return None
    message = (
        f'spec.jobType: there is no job type "{seen.run.spec.job_type}" in this namespace; `kubectl'
        " get codexjobtypes` lists them"
    )
    return _patience(seen, reasons.JOB_TYPE_NOT_FOUND, message, now)


def reject_what_is_wrong(seen: Seen, now: datetime) -> Decision | None:
    """Rejected before anything is started; never gets a Job."""
    if seen.job is not None:
        return None
    verdict = seen.verdict
    if isinstance(verdict, Missing):
        return _patience(seen, verdict.reason, verdict.message, now)
    if isinstance(verdict, Refused):
        return Decision(
            status=moved(
                seen.run, Phase.REJECTED, verdict.reason, verdict.message, now, finished_at=now
            )
        )
    return None


def wants_slot(seen: Seen) -> bool:
    """Whether admission is to be asked at all: valid, not cancelled, and nothing started yet."""
    run = seen.run
    return (
        not seen.begun
        and not seen.creating
        and run.spec.when_full in WHEN_FULL
        and run.metadata.deletion_timestamp is None
        and run.spec.cancel is None
        and isinstance(seen.verdict, Accepted)
    )


def start_when_admitted(seen: Seen, now: datetime) -> Decision | None:
    """Take the slot that admission gave, or wait in the queue (or leave it, if the run does not
    want to wait)."""
    if seen.job is not None or seen.job_type is None or not isinstance(seen.verdict, Accepted):
        return None
    run, job_type, accepted = seen.run, seen.job_type, seen.verdict
    if seen.admitted:
        fields = {
            "attempt": 1,
            "prompt": accepted.prompt,
            "model": accepted.model,
            "sandbox": job_type.spec.sandbox,
            "job_name": job_name(run, 1),
        }
        status = moved(run, Phase.STARTING, reasons.STARTING, "The pod is starting", now, **fields)
        return Decision(actions=(CreateJob(1, accepted),), status=status, look_again=5)
    blocked = seen.blocked
    if job_type.spec.suspended:
        blocked = Blocked(reasons.SUSPENDED, f'job type "{job_type.metadata.name}" is suspended')
    elif blocked is None:
        limit = job_type.spec.concurrency_limit
        blocked = Blocked(
            reasons.CONCURRENCY_LIMIT,
            f'all {limit} slots of job type "{job_type.metadata.name}" are taken',
        )
    reason, trouble = blocked.reason, blocked.trouble
    if run.spec.when_full == "Reject":
        message = f"Rejected, as spec.whenFull asks: {trouble}"
        return Decision(status=moved(run, Phase.REJECTED, reason, message, now, finished_at=now))
    most = job_type.spec.max_queued
    # Who waits already stays, also when the limit is lowered.
    if (
        most is not None
        and run.status.phase is not Phase.QUEUED
        and not seen.waits
        and seen.queued >= most
    ):
        message = (
            f"{trouble}, and {seen.queued} runs wait, as many as its maxQueued of {most} lets wait;"
            " try again later, or ask its owner to raise maxQueued"
        )
        return Decision(
            status=moved(
                run,
                Phase.REJECTED,
                reasons.QUEUE_FULL,
                f"Rejected: {message}",
                now,
                finished_at=now,
            )
        )
    return Decision(
        status=moved(run, Phase.QUEUED, reason, f"Waiting: {trouble}", now), waiting=True
    )
