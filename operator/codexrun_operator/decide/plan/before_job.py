"""Rules for a run that has no Job: wait, refuse, queue, start."""

from datetime import datetime, timedelta

from codexrun_core import reasons
from codexrun_core.resources.codexrun import WHEN_FULL
from codexrun_core.resources.phases import FailureClass, Phase
from codexrun_core.runs.label_keys import job_name
from codexrun_operator.decide.outcome import failed
from codexrun_operator.decide.plan.decision import READ_LIVE, CreateJob, Decision
from codexrun_operator.decide.plan.evidence import keep_evidence
from codexrun_operator.decide.plan.snapshot import Blocked, Snapshot
from codexrun_operator.decide.plan.stop import (
    begin_stop,
    cancel_message,
    own_outcome,
    terminal_after_stop,
    terminal_decision,
)
from codexrun_operator.decide.run_reader import unreadable_fields
from codexrun_operator.decide.status import unreadable_message, with_phase
from codexrun_operator.decide.validation import Accepted, Missing, Rejected

JOB_DELETED = "The Job was deleted by hand"
MISSING_REJECT_AFTER = timedelta(minutes=1)
# Files of one `kubectl apply` arrive within this; no status write for that.
MISSING_QUIET_TIME = timedelta(seconds=3)


def wait_for_job_to_show(snapshot: Snapshot, now: datetime) -> Decision | None:  # noqa: ARG001
    """A Job that was created and has not come back on the watch yet is not a missing Job (KubeRay
    issue 715)."""
    return Decision(look_again=2) if snapshot.creating and snapshot.job is None else None


def explain_lost_job(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Conclude a run whose Job is gone: nothing may start in its place."""
    if snapshot.job is not None or not snapshot.begun:
        return None
    pod = snapshot.pod
    orphaned = pod is not None and not pod.gone and (pod.holds_slot or pod.held or pod.stopped)
    # By the Job's deletion: it keeps the slot until it is gone. A stop goes on whatever the Job is.
    if orphaned and (decision := keep_evidence(snapshot, now)):
        return decision
    if not snapshot.absence_proven:
        return READ_LIVE
    if orphaned:
        return begin_stop(snapshot, now, reasons.JOB_DELETED, JOB_DELETED)
    if snapshot.phase is Phase.STOPPING:
        return terminal_after_stop(snapshot, now)
    if end := own_outcome(snapshot):
        return terminal_decision(snapshot, now, *end)
    if snapshot.witnessed:
        return terminal_decision(snapshot, now, reasons.JOB_DELETED, JOB_DELETED, None)
    message = "The Job was gone when the operator restarted; how the run ended is unknown"
    return terminal_decision(
        snapshot, now, reasons.JOB_LOST, message, failed(FailureClass.INTERNAL, message)
    )


def cancel_before_start(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Cancel at once: nothing was started."""
    if snapshot.job is not None or snapshot.run.spec.cancel is None:
        return None
    message = cancel_message(snapshot.run)
    return Decision(
        status=with_phase(
            snapshot.run, Phase.CANCELLED, reasons.CANCEL_REQUESTED, message, now, finished_at=now
        )
    )


def wait_for_newer_operator(snapshot: Snapshot, now: datetime) -> Decision | None:
    """A value of a newer version, which this operator can neither carry out nor reject: the run
    waits for one that can."""
    run = snapshot.run
    if snapshot.job is not None or run.spec.when_full in WHEN_FULL:
        return None
    phase = Phase.QUEUED if run.status.phase is Phase.QUEUED else Phase.PENDING
    message = (
        f'spec.whenFull: "{run.spec.when_full}" is unknown to this version of the operator;'
        f" upgrade the operator, or create the run again with {' or '.join(WHEN_FULL)}"
    )
    return Decision(status=with_phase(run, phase, reasons.UNKNOWN_VALUE, message, now))


def _wait_then_reject(snapshot: Snapshot, reason: str, message: str, now: datetime) -> Decision:
    """Wait a minute for what may still be applied, then reject: apply order must not matter.

    A minute of this process: what nobody was there to see has not been missing.
    """
    run = snapshot.run
    waited = snapshot.missing_for
    if run.status.phase is Phase.QUEUED:
        # It was valid once: what it needs was taken away under it. Wait; nobody loses a queued run
        # by a re-apply, which wakes it.
        return Decision(status=with_phase(run, Phase.QUEUED, reason, message, now))
    if waited >= MISSING_REJECT_AFTER:
        return Decision(
            status=with_phase(run, Phase.REJECTED, reason, message, now, finished_at=now)
        )
    remaining = (MISSING_REJECT_AFTER - waited).total_seconds()
    if waited < MISSING_QUIET_TIME:
        return Decision(look_again=(MISSING_QUIET_TIME - waited).total_seconds())
    return Decision(
        status=with_phase(run, Phase.PENDING, reason, message, now), look_again=remaining
    )


def wait_for_unreadable(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Wait while the run, its job type or its prompt cannot be read: it is not missing, and nobody
    made a mistake. An older operator may meet objects of a newer version, for example."""
    if snapshot.job is not None or snapshot.readable:
        return None
    phase = Phase.QUEUED if snapshot.phase is Phase.QUEUED else Phase.PENDING
    if fields := unreadable_fields(snapshot.run):
        message = unreadable_message(fields)
    else:
        message = (
            f"{snapshot.unreadable} exists, but this version of codexrun cannot read it; the"
            " operator's log says why. The run waits: upgrade codexrun, or apply the object"
            " again in this version's format"
        )
    return Decision(status=with_phase(snapshot.run, phase, reasons.UNREADABLE, message, now))


def wait_for_job_type(snapshot: Snapshot, now: datetime) -> Decision | None:
    if snapshot.job is not None or snapshot.job_type is not None:
        return None
    message = (
        f'spec.jobType: there is no job type "{snapshot.run.spec.job_type}" in this namespace;'
        " `kubectl get codexjobtypes` lists the job types"
    )
    return _wait_then_reject(snapshot, reasons.JOB_TYPE_NOT_FOUND, message, now)


def reject_invalid_run(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Reject an invalid run before anything is started; it never gets a Job."""
    if snapshot.job is not None:
        return None
    verdict = snapshot.verdict
    if isinstance(verdict, Missing):
        return _wait_then_reject(snapshot, verdict.reason, verdict.message, now)
    if isinstance(verdict, Rejected):
        return Decision(
            status=with_phase(
                snapshot.run, Phase.REJECTED, verdict.reason, verdict.message, now, finished_at=now
            )
        )
    return None


def wants_slot(snapshot: Snapshot) -> bool:
    """Return whether the run may ask for a slot: valid, not cancelled, and nothing started yet."""
    run = snapshot.run
    return (
        not snapshot.begun
        and not snapshot.creating
        and snapshot.readable
        and run.spec.when_full in WHEN_FULL
        and run.metadata.deletion_timestamp is None
        and run.spec.cancel is None
        and isinstance(snapshot.verdict, Accepted)
    )


def start_when_admitted(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Take the free slot, or wait in the queue, or reject a run that does not want to wait."""
    if (
        snapshot.job is not None
        or snapshot.job_type is None
        or not isinstance(snapshot.verdict, Accepted)
    ):
        return None
    run = snapshot.run
    job_type = snapshot.job_type
    accepted = snapshot.verdict
    if snapshot.admitted:
        fields = {
            "attempt": 1,
            "prompt": accepted.prompt,
            "model": accepted.model,
            "sandbox": job_type.spec.sandbox,
            "job_name": job_name(run.metadata.name, run.metadata.uid, 1),
        }
        status = with_phase(
            run, Phase.STARTING, reasons.STARTING, "The pod is starting", now, **fields
        )
        return Decision(actions=(CreateJob(1, accepted),), status=status, look_again=5)
    blocked = snapshot.blocked
    if job_type.spec.suspended:
        blocked = Blocked(reasons.SUSPENDED, f'job type "{job_type.metadata.name}" is suspended')
    elif blocked is None:
        # No number: a changed limit would be a status write for every run that waits.
        blocked = Blocked(
            reasons.CONCURRENCY_LIMIT,
            f'all slots of job type "{job_type.metadata.name}" are taken',
        )
    reason = blocked.reason
    cause = blocked.message
    if run.spec.when_full == "Reject":
        message = f"Rejected because of spec.whenFull: {cause}"
        if reason == reasons.CONCURRENCY_LIMIT:
            message += f" (concurrencyLimit {job_type.spec.concurrency_limit})"
        return Decision(
            status=with_phase(run, Phase.REJECTED, reason, message, now, finished_at=now)
        )
    max_queued = job_type.spec.max_queued
    # Who waits already stays, also when the limit is lowered.
    if (
        max_queued is not None
        and run.status.phase is not Phase.QUEUED
        and not snapshot.waits
        and snapshot.queued >= max_queued
    ):
        message = (
            f"{cause}, and no more runs may wait ({snapshot.queued} waiting, maxQueued"
            f" {max_queued}); try again later, or ask the job type's owner to raise maxQueued"
        )
        return Decision(
            status=with_phase(
                run,
                Phase.REJECTED,
                reasons.QUEUE_FULL,
                f"Rejected: {message}",
                now,
                finished_at=now,
            )
        )
    return Decision(
        status=with_phase(run, Phase.QUEUED, reason, f"Waiting: {cause}", now), waiting=True
    )
