"""Rules for a run whose Job is there and goes its way: show where it is, and find its verdict when
it has ended."""

from datetime import datetime

from codexrun_core import reasons
from codexrun_core.resources.phases import Phase
from codexrun_operator.decide.outcome import outcome
from codexrun_operator.decide.plan.decision import Decision
from codexrun_operator.decide.plan.pod_start_problem import reason_of
from codexrun_operator.decide.plan.snapshot import Snapshot
from codexrun_operator.decide.plan.stop import (
    ending_status,
    foreign_container_time,
    own_outcome,
    started_fields,
    terminal_decision,
)
from codexrun_operator.decide.status import tells_what_is_unreadable, with_phase


def finish(snapshot: Snapshot, now: datetime) -> Decision | None:
    """The pod has ended by itself. Read from the containers' states, which come some 3 s before the
    Job's condition."""
    pod = snapshot.pod
    if snapshot.job is None or pod is None or snapshot.phase is Phase.STOPPING:
        return None
    end = own_outcome(snapshot) if pod.ended or pod.gone else None
    if end is None:
        if not pod.ended or pod.deleting or pod.gone:
            return None
        if pod.stopped and snapshot.run.spec.cancel:
            return None  # by an operator that could not write that down
        failure = outcome(pod).failure
        assert failure is not None  # success is never anybody else's work
        end = (reason_of(failure.class_), failure.message, failure)
    if pod.held and not pod.gone:
        # An earlier version had begun a stop and not recorded it, and the run was faster.
        return Decision(status=ending_status(snapshot, now, *end), look_again=1)
    return terminal_decision(snapshot, now, *end)


def show_progress(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Starting, with what it waits for; or Running."""
    job = snapshot.job
    pod = snapshot.pod
    run = snapshot.run
    if job is None or snapshot.phase is Phase.STOPPING:
        return None
    fields = started_fields(snapshot)
    if pod and pod.agent.started:
        started = run.status.started_at or pod.agent.started_at or now
        status = with_phase(
            run,
            Phase.RUNNING,
            reasons.AGENT_RUNNING,
            "The agent is running",
            now,
            started_at=started,
            **fields,
        )
        remaining = foreign_container_time(snapshot, now)
        return Decision(
            status=status, look_again=None if remaining is None else remaining.total_seconds()
        )
    if snapshot.phase is Phase.RUNNING:
        return Decision(look_again=5)  # its pod is gone, and the Job will say so
    cause = snapshot.start_problem(now)
    waited = (now - (job.expects_pod_since or now)).total_seconds()
    look_again = min(10.0, max(1.0, job.start_seconds - waited))
    unchanged = run.status.phase is Phase.STARTING and run.status.reason in (
        reasons.STARTING,
        reasons.CLONING,
    )
    if cause.expected and unchanged and tells_what_is_unreadable(run):
        # "Still starting" is not worth a status write.
        return Decision(look_again=look_again)
    return Decision(
        status=with_phase(run, Phase.STARTING, cause.reason, cause.message, now, **fields),
        # A Job that is resumed tells so by itself.
        look_again=None if job.waits_for_resumption else look_again,
    )
