"""Decide what to do next with one run. Pure: everything it uses is in its arguments.

The first rule that has an answer wins; the order of RULES is the precedence. Carrying
out a decision is the work of `act`: actions first, then one status write, then the events that it
justifies.
"""

from collections.abc import Callable
from datetime import datetime

from codexrun_operator.decide.plan.before_job import (
    cancel_before_start,
    explain_lost_job,
    reject_invalid_run,
    start_when_admitted,
    wait_for_job_to_show,
    wait_for_job_type,
    wait_for_newer_operator,
    wait_for_unreadable,
    wants_slot,
)
from codexrun_operator.decide.plan.decision import (
    NOTHING,
    READ_LIVE,
    CreateJob,
    Decision,
    DeleteJob,
    DeletePod,
    ReleaseEvidence,
    StopPod,
    SuspendJob,
)
from codexrun_operator.decide.plan.evidence import ask_for_pod_of_ended_job, keep_evidence
from codexrun_operator.decide.plan.progress import finish, show_progress
from codexrun_operator.decide.plan.snapshot import Blocked, Snapshot
from codexrun_operator.decide.plan.stop import (
    conclude_stop,
    stop_on_time,
    stop_what_others_ended,
    stop_what_outlives_the_agent,
    stop_when_cancelled,
)

__all__ = [
    "NOTHING",
    "READ_LIVE",
    "RULES",
    "Blocked",
    "CreateJob",
    "Decision",
    "DeleteJob",
    "DeletePod",
    "ReleaseEvidence",
    "Snapshot",
    "StopPod",
    "SuspendJob",
    "plan",
    "wants_slot",
]

Rule = Callable[[Snapshot, datetime], Decision | None]


def leave_terminal_run_alone(snapshot: Snapshot, now: datetime) -> Decision | None:  # noqa: ARG001
    """A terminal phase never changes; a run being deleted is the garbage collector's (its pod keeps
    the slot until it is gone).

    Nobody reads their evidence any more: held, it would keep pod, Job and a foreground deletion for
    ever.
    """
    run = snapshot.run
    pod = snapshot.pod
    if not (run.status.phase.terminal or run.metadata.deletion_timestamp):
        return None
    if pod and pod.held and not pod.gone:
        return Decision(actions=(ReleaseEvidence(pod.name, pod.uid),))
    return NOTHING


def leave_unknown_phase_alone(snapshot: Snapshot, now: datetime) -> Decision | None:  # noqa: ARG001
    """A newer operator has brought the run where this one does not know the way on."""
    return None if snapshot.phase.known else NOTHING


RULES: tuple[Rule, ...] = (
    leave_terminal_run_alone,
    leave_unknown_phase_alone,
    # no Job yet
    wait_for_job_to_show,  # its creation is under way: look again
    explain_lost_job,  # it had one, which is gone
    cancel_before_start,
    wait_for_newer_operator,  # spec.whenFull of a newer version
    wait_for_unreadable,  # it is there, which is all that is known
    wait_for_job_type,  # and for its prompt: one minute, then Rejected
    reject_invalid_run,
    start_when_admitted,
    # there is a Job
    ask_for_pod_of_ended_job,  # which contradicts what is known of its pod
    conclude_stop,  # Stopping, and proven gone
    keep_evidence,  # Stopping, containers ended: write down their reports, then delete the pod
    finish,  # ended by itself: the outcome names phase and class
    stop_when_cancelled,
    stop_what_others_ended,  # a person, an eviction, a lost node
    stop_what_outlives_the_agent,  # a container that somebody has put into the pod
    stop_on_time,  # start deadline, and what cannot heal
    show_progress,
)


def plan(snapshot: Snapshot, now: datetime) -> Decision:
    """Return the first rule's decision about one run at `now` (UTC)."""
    for rule in RULES:
        decision = rule(snapshot, now)
        if decision:
            return decision
    return NOTHING
