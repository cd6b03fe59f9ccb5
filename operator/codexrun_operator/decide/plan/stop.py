"""Rules for stopping: whoever asks, the pod is proven gone before the run ends, and what its
containers said is kept.

While a run is `Stopping`, status.reason is the recorded intent, so that any operator can finish
what another began: CANCELLED_BY -> Cancelled, "Completed" -> Succeeded, everything else -> Failed
with the failure in the status.
"""

from datetime import datetime, timedelta
from typing import Any

from codexrun_core import reasons
from codexrun_core.resources import CodexRun, Failure, RunStatus
from codexrun_core.resources.phases import FailureClass, Phase
from codexrun_operator.decide.outcome import failed, outcome
from codexrun_operator.decide.plan.decision import (
    Action,
    Decision,
    DeleteJob,
    ReleaseEvidence,
    Seen,
    StopPod,
    SuspendJob,
)
from codexrun_operator.decide.plan.start_failures import camel, start_trouble
from codexrun_operator.decide.status import duration, moved

CANCELLED_BY = frozenset(
    {
        reasons.CANCEL_REQUESTED,
        reasons.POD_DELETED,
        reasons.JOB_DELETED,
        reasons.JOB_SUSPENDED,
    }
)
CLOCK_SKEW = timedelta(seconds=5)  # between the Job controller's clock and ours


def started_fields(seen: Seen) -> dict[str, Any]:
    """What Job and pod say of their run. Said in every status, as the one after the Job's creation
    may be lost."""
    job, pod = seen.job, seen.pod
    known: dict[str, Any] = {}
    if job:
        known = {
            "attempt": job.attempt,
            "job_name": job.name,
            "prompt": job.prompt,
            "model": job.model,
            "sandbox": job.sandbox,
        }
    return {
        key: value
        for key, value in {**known, "pod_name": pod.name if pod else None}.items()
        if value is not None
    }


def ended_fields(seen: Seen, now: datetime) -> dict[str, Any]:
    """What is known of the end: usage, last message, times. What is not known stays as it is."""
    status, pod = seen.run.status, seen.pod
    fields = started_fields(seen)
    started, finished = status.started_at, status.finished_at or now
    if pod:
        judged = outcome(pod)
        known = {
            "usage": judged.usage,
            "result": judged.result,
            "thread_id": judged.thread_id,
            "turns": judged.turns,
            "commands": judged.commands,
        }
        fields |= {key: value for key, value in known.items() if value is not None}
        started = started or (pod.agent.started_at if pod.agent.report else None)
        finished = status.finished_at or pod.agent.finished_at or now
    fields["finished_at"] = finished
    if started:
        fields |= {"started_at": started, "duration": duration(started, finished)}
    return fields


def own_end(seen: Seen) -> tuple[str, str, Failure | None] | None:
    """Reason, message and failure of a pod that came to its end before any signal did; None where
    one cut it short."""
    if seen.pod is None:
        return None
    judged = outcome(seen.pod)
    if not judged.own:
        return None
    if judged.failure is None:
        return reasons.COMPLETED, "Success is proven", None
    return camel(judged.failure.class_), judged.failure.message, judged.failure


def terminal(
    seen: Seen, now: datetime, reason: str, message: str, failure: Failure | None
) -> Decision:
    """The last status, by the reason that was recorded or found."""
    fields = ended_fields(seen, now)
    if reason in CANCELLED_BY:
        return Decision(
            status=moved(seen.run, Phase.CANCELLED, reason, message, now, **fields, failure=None)
        )
    if reason == reasons.COMPLETED:
        return Decision(
            status=moved(seen.run, Phase.SUCCEEDED, reason, message, now, **fields, failure=None)
        )
    failure = failure or failed(FailureClass.INTERNAL, message)
    return Decision(
        status=moved(
            seen.run, Phase.FAILED, reason, failure.message, now, **fields, failure=failure
        )
    )


def terminal_after_stop(seen: Seen, now: datetime) -> Decision:
    status = seen.run.status
    if end := own_end(seen):
        return terminal(seen, now, *end)
    return terminal(seen, now, status.reason or "", status.message or "", status.failure)


def begin_stop(
    seen: Seen, now: datetime, reason: str, message: str, failure: Failure | None = None
) -> Decision:
    """Stop what runs, and record why."""
    fields = {**started_fields(seen), **({"failure": failure} if failure else {})}
    return Decision(
        actions=_stopping(seen),
        status=moved(seen.run, Phase.STOPPING, reason, message, now, **fields),
        look_again=5,
    )


def _stopping(seen: Seen) -> tuple[Action, ...]:
    """What is still to be done so that the pod goes, or none comes."""
    job, pod = seen.job, seen.pod
    if pod and not pod.gone and (pod.node or job is None):
        return () if pod.deleting else (StopPod(pod.name, pod.uid),)
    if (
        job is None
        or job.finished
        or job.failed
        or job.deleting
        or job.suspended
        or (pod and pod.gone)
    ):
        return ()  # none comes any more: the Job never makes a second pod
    return (SuspendJob(job.name),)


def ending(
    seen: Seen, now: datetime, reason: str, message: str, failure: Failure | None
) -> RunStatus:
    """All that the last status will say, while the pod is still held: it must be written before the
    evidence is let go."""
    return moved(
        seen.run,
        Phase.STOPPING,
        reason,
        message,
        now,
        **{**ended_fields(seen, now), "failure": failure},
    )


def conclude_stop(seen: Seen, now: datetime) -> Decision | None:
    """`Stopping` ends when the Job controller says that nothing runs and nothing will, and the pod
    object is gone."""
    job, pod = seen.job, seen.pod
    if (
        seen.phase is not Phase.STOPPING
        or job is None
        or not job.gone
        or (pod is not None and not pod.gone)
    ):
        return None
    decision = terminal_after_stop(seen, now)
    if job.suspended and not job.finished:
        # Anyone could resume it.
        return Decision(actions=(DeleteJob(job.name, job.uid),), status=decision.status)
    return decision


def keep_evidence(seen: Seen, now: datetime) -> Decision | None:
    """Write down what the containers said while the finalizer still holds the pod, and only then
    let it go."""
    if seen.phase is not Phase.STOPPING:
        return None
    pod, status = seen.pod, seen.run.status
    if pod and pod.held and not pod.gone and pod.deleting and pod.ended:
        if status.finished_at is not None:
            return Decision(actions=(ReleaseEvidence(pod.name, pod.uid),), look_again=5)
        reason, message, failure = own_end(seen) or (
            status.reason or "",
            status.message or "",
            status.failure,
        )
        return Decision(status=ending(seen, now, reason, message, failure), look_again=1)
    return Decision(actions=_stopping(seen), look_again=10)


def cancel_words(run: CodexRun) -> str:
    """Who and why, for status and event."""
    cancel = run.spec.cancel
    if cancel is None:
        return ""
    return f"Cancelled by {cancel.requested_by}" + (f": {cancel.reason}" if cancel.reason else "")


def stop_when_cancelled(seen: Seen, now: datetime) -> Decision | None:
    if seen.run.spec.cancel is None or seen.job is None:
        return None
    return begin_stop(seen, now, reasons.CANCEL_REQUESTED, cancel_words(seen.run))


def stop_what_others_ended(seen: Seen, now: datetime) -> Decision | None:
    """Somebody else ends it. By hand is a cancel too; what the cluster does is a failure with its
    own class."""
    job, pod = seen.job, seen.pod
    if job is None:
        return None
    # Its controller deletes the pod before it says why, and pod and Job come on two watches.
    overdue = job.deadline is not None and now >= job.deadline - CLOCK_SKEW
    if job.failed == "DeadlineExceeded" or (overdue and pod and (pod.deleting or pod.gone)):
        return _past_job_deadline(seen, now)
    if pod and pod.disruption and (pod.deleting or pod.gone):
        if pod.disruption == "DeletionByTaintManager":
            message = (
                f"Node {pod.node} does not answer; the slot is held until Kubernetes or an admin"
                f" removes pod {pod.name}"
            )
            return begin_stop(
                seen, now, reasons.NODE_LOST, message, failed(FailureClass.NODE_LOST, message)
            )
        message = f"The pod was evicted ({pod.disruption}); retry the run"
        return begin_stop(
            seen, now, reasons.EVICTED, message, failed(FailureClass.EVICTED, message)
        )
    if job.deleting and not job.finished:
        return begin_stop(seen, now, reasons.JOB_DELETED, f"Job {job.name} was deleted by hand")
    if job.suspended:
        # By hand, unless it was us, and the status write was lost.
        return stop_on_time(seen, now) or begin_stop(
            seen, now, reasons.JOB_SUSPENDED, f"Job {job.name} was suspended by hand"
        )
    if pod and (pod.deleting or pod.gone):
        return begin_stop(seen, now, reasons.POD_DELETED, f"Pod {pod.name} was deleted by hand")
    if job.finished and pod is None:
        message = "The pod was gone when the operator came back; how the run ended is not known"
        return terminal(
            seen, now, reasons.POD_LOST, message, failed(FailureClass.INTERNAL, message)
        )
    return None


def _agent_ran(seen: Seen) -> bool:
    return seen.phase is Phase.RUNNING or (
        seen.pod is not None and seen.pod.agent.state in ("running", "terminated")
    )


def _past_job_deadline(seen: Seen, now: datetime) -> Decision:
    """The backstop fired: it has deleted the pod, ours were shorter and did not."""
    if seen.run.status.started_at or _agent_ran(seen):
        failure = failed(
            FailureClass.TIMEOUT,
            "The Job outlived every deadline; neither runner nor kubelet stopped it",
        )
    else:
        assert seen.job is not None
        trouble = start_trouble(seen.job, seen.pod, seen.warnings)
        failure = failed(trouble.class_, f"The agent did not start in time: {trouble.message}")
    return begin_stop(seen, now, camel(failure.class_), failure.message, failure)


def stop_on_time(seen: Seen, now: datetime) -> Decision | None:
    """The agent must be running `startSeconds` after the Job's creation; what cannot heal is not
    waited for."""
    job = seen.job
    if job is None or _agent_ran(seen):
        return None
    trouble = start_trouble(job, seen.pod, seen.warnings)
    late = job.created is not None and now - job.created >= timedelta(seconds=job.start_seconds)
    if not (trouble.hopeless or late):
        return None
    message = (
        trouble.message
        if trouble.hopeless
        else f"Not started within {job.start_seconds} s: {trouble.message}"
    )
    failure = failed(trouble.class_, message)
    return begin_stop(seen, now, camel(failure.class_), failure.message, failure)
