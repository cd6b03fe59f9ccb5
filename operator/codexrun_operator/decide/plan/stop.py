"""Rules for stopping: whoever asks, the pod is proven gone before the run ends, and what its
containers said is kept.

While a run is `Stopping`, status.reason is the recorded intent, so that any operator can finish
what another began: CANCELLED_BY -> Cancelled, "Completed" -> Succeeded, "AgentEnded" -> what both
reports say, everything else -> Failed with the failure in the status.
"""

from datetime import datetime, timedelta
from typing import Any

from codexrun_core import reasons
from codexrun_core.resources import CodexRun, Failure, RunStatus
from codexrun_core.resources.phases import FailureClass, Phase
from codexrun_operator.decide.observed import Pod
from codexrun_operator.decide.outcome import commit_of, failed, outcome, without_price
from codexrun_operator.decide.plan.decision import (
    READ_LIVE,
    Action,
    Decision,
    DeleteJob,
    DeletePod,
    ReleaseEvidence,
    StopPod,
    SuspendJob,
)
from codexrun_operator.decide.plan.pod_start_problem import reason_of
from codexrun_operator.decide.plan.snapshot import Snapshot
from codexrun_operator.decide.status import duration, with_phase

CANCELLED_BY = frozenset(
    {
        reasons.CANCEL_REQUESTED,
        reasons.POD_DELETED,
        reasons.JOB_DELETED,
        reasons.JOB_SUSPENDED,  # recorded by an earlier operator
    }
)
CLOCK_SKEW = timedelta(seconds=5)  # between the Job controller's clock and this one
# Foreign containers that end with the agent need a moment for it.
FOREIGN_CONTAINER_TIME = timedelta(seconds=20)


def started_fields(snapshot: Snapshot) -> dict[str, Any]:
    """Return what Job and pod tell of their run. It is in every status, as the one after the Job's
    creation may be lost."""
    job = snapshot.job
    pod = snapshot.pod
    fields: dict[str, Any] = {}
    if job:
        fields = {
            "attempt": job.attempt,
            "job_name": job.name,
            "prompt": job.prompt,
            "model": job.model,
            "sandbox": job.sandbox,
        }
    return {
        key: value
        for key, value in {
            **fields,
            "pod_name": pod.name if pod else None,
            "commit_id": commit_of(pod) if pod else None,
        }.items()
        if value is not None
    }


def ended_fields(snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    """Return what is known of the end: usage, last message, times. The rest stays as it is."""
    status = snapshot.run.status
    pod = snapshot.pod
    fields = started_fields(snapshot)
    started = status.started_at
    finished = status.finished_at or now
    if pod:
        result = outcome(pod)
        reported = {
            "usage": result.usage,
            "result": result.result,
            "thread_id": result.thread_id,
            "turns": result.turns,
            "commands": result.commands,
            "warnings": result.warnings,
        }
        fields |= {key: value for key, value in reported.items() if value is not None}
        started = started or (pod.agent.started_at if pod.agent.report else None)
        finished = status.finished_at or pod.agent.finished_at or now
    fields["finished_at"] = finished
    if started:
        fields |= {"started_at": started, "duration": duration(started, finished)}
    return fields


def own_outcome(snapshot: Snapshot) -> tuple[str, str, Failure | None] | None:
    """Return reason, message and failure of a pod whose agent ended before any signal came; None
    where one cut it short."""
    if snapshot.pod is None:
        return None
    result = outcome(snapshot.pod)
    if not (result.ended_by_itself or snapshot.run.status.reason == reasons.AGENT_ENDED):
        return None
    if result.failure is None:
        return reasons.COMPLETED, "The run succeeded", None
    return reason_of(result.failure.class_), result.failure.message, result.failure


def terminal_decision(
    snapshot: Snapshot, now: datetime, reason: str, message: str, failure: Failure | None
) -> Decision:
    """Decide on the last status, by the reason that was recorded or found."""
    fields = ended_fields(snapshot, now)
    phase = Phase.FAILED
    if reason in CANCELLED_BY:
        phase, failure = Phase.CANCELLED, None
    elif reason == reasons.COMPLETED:
        phase, failure = Phase.SUCCEEDED, None
    else:
        failure = failure or failed(FailureClass.INTERNAL, message)
        message = failure.message
    if snapshot.pod and (unpriced := without_price(snapshot.pod)):
        message = f"{message}; the cost is unknown: the price table has no price for {unpriced}"
    status = with_phase(snapshot.run, phase, reason, message, now, **fields, failure=failure)
    return Decision(status=status)


def terminal_after_stop(snapshot: Snapshot, now: datetime) -> Decision:
    status = snapshot.run.status
    if end := own_outcome(snapshot):
        return terminal_decision(snapshot, now, *end)
    return terminal_decision(
        snapshot, now, status.reason or "", status.message or "", status.failure
    )


def begin_stop(
    snapshot: Snapshot, now: datetime, reason: str, message: str, failure: Failure | None = None
) -> Decision:
    """Stop what runs, and record why."""
    if suspends_unseen(snapshot):
        return READ_LIVE
    fields = {**started_fields(snapshot), **({"failure": failure} if failure else {})}
    return Decision(
        actions=stop_actions(snapshot),
        status=with_phase(snapshot.run, Phase.STOPPING, reason, message, now, **fields),
        look_again=5,
    )


def suspends_unseen(snapshot: Snapshot) -> bool:
    """Return whether the Job would be suspended because no pod is known, and that is not proven: a
    suspended Job's pod is deleted before anybody has read its evidence."""
    return snapshot.pod is None and not snapshot.absence_proven and bool(stop_actions(snapshot))


def _evicted_by_suspension(snapshot: Snapshot) -> bool:
    """Return whether the status already says that the run is stopped because its Job was suspended.
    Before it does, the Job must stay: nothing else tells the cause."""
    return snapshot.phase is Phase.STOPPING and snapshot.run.status.reason == reasons.EVICTED


def stop_actions(snapshot: Snapshot) -> tuple[Action, ...]:
    """Return what is still to be done so that the pod goes, or none comes."""
    job = snapshot.job
    pod = snapshot.pod
    if job and job.suspended and _evicted_by_suspension(snapshot):
        # Its controller ends the pod; resumed, it would make a second one.
        actions = () if job.deleting or job.finished else (DeleteJob(job.name, job.uid),)
        return (*actions, *_remove_ended_pod(snapshot, pod)) if pod and pod.ended else actions
    if pod and not pod.gone and (pod.node or job is None):
        if pod.ended:
            return _remove_ended_pod(snapshot, pod)
        if pod.deleting or pod.stopped:
            return ()
        if pod.node and pod.agent.started:
            return (StopPod(pod.name, pod.uid),)
        # Nothing was used yet. A kubelet that pulls an image, or waits for a volume, hears of a
        # deletion at once, and of a deadline afterwards; without a node nobody would.
        return (DeletePod(pod.name, pod.uid),)
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


def _remove_ended_pod(snapshot: Snapshot, pod: Pod) -> tuple[Action, ...]:
    """Return what lets a pod go whose containers have ended: nothing before the status has what
    they said."""
    if pod.gone or snapshot.run.status.finished_at is None:
        return ()
    delete = () if pod.deleting else (DeletePod(pod.name, pod.uid),)
    release = (ReleaseEvidence(pod.name, pod.uid),) if pod.held else ()
    return (*delete, *release)


def ending_status(
    snapshot: Snapshot, now: datetime, reason: str, message: str, failure: Failure | None
) -> RunStatus:
    """All that the last status will say, while the pod is still there: it must be written before
    the evidence goes."""
    return with_phase(
        snapshot.run,
        Phase.STOPPING,
        reason,
        message,
        now,
        **{**ended_fields(snapshot, now), "failure": failure},
    )


def conclude_stop(snapshot: Snapshot, now: datetime) -> Decision | None:
    """`Stopping` ends when the Job controller says that nothing runs and nothing will, and the pod
    object is gone."""
    job = snapshot.job
    pod = snapshot.pod
    if (
        snapshot.phase is not Phase.STOPPING
        or job is None
        or not job.gone
        or (pod is not None and not pod.gone)
    ):
        return None
    if pod is None and not snapshot.absence_proven:
        return READ_LIVE
    decision = terminal_after_stop(snapshot, now)
    if job.suspended and not job.finished:
        # Anyone could resume it.
        return Decision(actions=(DeleteJob(job.name, job.uid),), status=decision.status)
    return decision


def cancel_message(run: CodexRun) -> str:
    """Return who cancelled the run and why, for status and Event."""
    cancel = run.spec.cancel
    if cancel is None:
        return ""
    return f"Cancelled by {cancel.requested_by}" + (f": {cancel.reason}" if cancel.reason else "")


def stop_when_cancelled(snapshot: Snapshot, now: datetime) -> Decision | None:
    if snapshot.run.spec.cancel is None or snapshot.job is None:
        return None
    return begin_stop(snapshot, now, reasons.CANCEL_REQUESTED, cancel_message(snapshot.run))


def stop_what_others_ended(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Stop a run that somebody else ends. By hand is a cancel too; what the cluster does is a
    failure with its own class."""
    job = snapshot.job
    pod = snapshot.pod
    if job is None:
        return None
    # Its controller deletes the pod before it says why, and pod and Job come on two watches.
    overdue = job.deadline is not None and now >= job.deadline - CLOCK_SKEW
    if job.failed == "DeadlineExceeded" or (overdue and pod and (pod.deleting or pod.gone)):
        return _past_job_deadline(snapshot, now)
    if pod and pod.disruption and (pod.deleting or pod.gone):
        if pod.disruption == "DeletionByTaintManager":
            message = (
                f"Node {pod.node} is not responding; the slot stays taken until Kubernetes or an"
                f" admin removes pod {pod.name}"
            )
            return begin_stop(
                snapshot, now, reasons.NODE_LOST, message, failed(FailureClass.NODE_LOST, message)
            )
        message = f"The pod was evicted ({pod.disruption}); retry the run"
        return begin_stop(
            snapshot, now, reasons.EVICTED, message, failed(FailureClass.EVICTED, message)
        )
    if job.deleting and not job.finished:
        return begin_stop(snapshot, now, reasons.JOB_DELETED, f"Job {job.name} was deleted by hand")
    if job.suspended and _may_have_had_pod(snapshot):
        message = (
            f"Job {job.name} was suspended by a queue controller or by hand while its pod existed;"
            " retry the run"
        )
        # unless it was this operator, and the status write was lost
        return stop_on_time(snapshot, now) or begin_stop(
            snapshot, now, reasons.EVICTED, message, failed(FailureClass.EVICTED, message)
        )
    # What a pod said that no watch has told of is lost with it.
    lost = job.complete and pod.gone if pod else job.finished
    if pod and (pod.deleting or pod.gone) and not lost:
        message = f"Pod {pod.name} was deleted by hand"
        # unless it was this operator, and the status write was lost
        return stop_on_time(snapshot, now) or begin_stop(
            snapshot, now, reasons.POD_DELETED, message
        )
    if lost:
        if not snapshot.absence_proven:
            return READ_LIVE
        message = "The pod was gone before its result could be read; how the run ended is unknown"
        return terminal_decision(
            snapshot, now, reasons.POD_LOST, message, failed(FailureClass.INTERNAL, message)
        )
    return None


def foreign_container_time(snapshot: Snapshot, now: datetime) -> timedelta | None:
    """Return how long containers that others have put into the pod may still outlive the agent;
    None where none does.

    Only plain ones: the kubelet ends sidecars by itself (KEP-753), the gate too, but not before all
    plain containers have ended.
    """
    pod = snapshot.pod
    if pod is None or not pod.agent.ended or all(c.ended for c in pod.foreign.values()):
        return None
    return (pod.agent.finished_at or now) + FOREIGN_CONTAINER_TIME - now


def stop_what_outlives_the_agent(snapshot: Snapshot, now: datetime) -> Decision | None:
    """A container that somebody injected, such as a mesh's, would keep the pod and its slot until
    the deadline. The verdict follows from the reports of agent and gate, as ever."""
    remaining = foreign_container_time(snapshot, now)
    if remaining is None or remaining > timedelta():
        return None
    assert snapshot.pod is not None
    names = ", ".join(name for name, c in snapshot.pod.foreign.items() if not c.ended)
    message = (
        "The agent has ended and the pod is being stopped; containers that codexrun did not add"
        f" are still running ({names})"
    )
    return begin_stop(snapshot, now, reasons.AGENT_ENDED, message)


def _may_have_had_pod(snapshot: Snapshot) -> bool:
    """Return whether the Job has made its pod, as far as pod, Job and status tell."""
    assert snapshot.job is not None
    status = snapshot.run.status
    return (
        snapshot.pod is not None
        or snapshot.job.had_pod
        or status.pod_name is not None
        or status.phase is Phase.RUNNING
    )


def _agent_ran(snapshot: Snapshot) -> bool:
    return snapshot.phase is Phase.RUNNING or (
        snapshot.pod is not None and snapshot.pod.agent.started
    )


def _past_job_deadline(snapshot: Snapshot, now: datetime) -> Decision:
    """The backstop fired: it has deleted the pod, which the shorter deadlines did not."""
    if snapshot.run.status.started_at or _agent_ran(snapshot):
        failure = failed(
            FailureClass.TIMEOUT,
            "The Job ran past every deadline; neither the runner nor the kubelet stopped it",
        )
    else:
        problem = snapshot.start_problem(now)
        failure = failed(problem.class_, f"The agent did not start in time: {problem.message}")
    return begin_stop(snapshot, now, reason_of(failure.class_), failure.message, failure)


def stop_on_time(snapshot: Snapshot, now: datetime) -> Decision | None:
    """The agent must be running `startSeconds` after the Job began; what cannot heal is not waited
    for."""
    job = snapshot.job
    if job is None or _agent_ran(snapshot):
        return None
    problem = snapshot.start_problem(now)
    since = job.expects_pod_since
    late = since is not None and now - since >= timedelta(seconds=job.start_seconds)
    if not (problem.hopeless or late):
        return None
    message = (
        problem.message
        if problem.hopeless
        else f"Not started within {job.start_seconds} s: {problem.message}"
    )
    failure = failed(problem.class_, message)
    return begin_stop(snapshot, now, reason_of(failure.class_), failure.message, failure)
