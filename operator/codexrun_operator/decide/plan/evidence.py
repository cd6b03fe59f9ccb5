"""Rules for what is known of a pod: it is asked for before it is believed against its Job, and
deleted only after what its containers said is written down. Pure."""

from datetime import datetime

from codexrun_core.resources.phases import Phase
from codexrun_operator.decide.plan.decision import READ_LIVE, Decision
from codexrun_operator.decide.plan.snapshot import Snapshot
from codexrun_operator.decide.plan.stop import (
    ending_status,
    own_outcome,
    stop_actions,
    suspends_unseen,
)


def ask_for_pod_of_ended_job(snapshot: Snapshot, now: datetime) -> Decision | None:  # noqa: ARG001
    """Jobs and pods come on two watches, and that of pods may be late or tell nothing at all: where
    the Job says that nothing runs any more, a pod that is not known to have ended is old news."""
    job = snapshot.job
    pod = snapshot.pod
    if job is None or not job.gone or pod is None or pod.ended or pod.gone:
        return None
    return None if snapshot.absence_proven else READ_LIVE


def keep_evidence(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Write down what the containers of a stopped pod said while the object is there, and only then
    delete it."""
    if snapshot.phase is not Phase.STOPPING:
        return None
    pod = snapshot.pod
    status = snapshot.run.status
    # What others delete goes without us, unless an earlier version holds it.
    stays = pod is not None and not pod.gone and (pod.held or not pod.deleting)
    if pod and pod.ended and stays and status.finished_at is None:
        reason, message, failure = own_outcome(snapshot) or (
            status.reason or "",
            status.message or "",
            status.failure,
        )
        return Decision(
            actions=stop_actions(snapshot),  # of its Job, which somebody might resume
            status=ending_status(snapshot, now, reason, message, failure),
            look_again=1,
        )
    if suspends_unseen(snapshot):
        return READ_LIVE
    return Decision(actions=stop_actions(snapshot), look_again=10)
