"""The rule that a pod goes only after what its containers said is written down. Pure."""

from datetime import datetime

from codexrun_core.resources.phases import Phase
from codexrun_operator.decide.plan.decision import READ_LIVE, Decision, ReleaseEvidence
from codexrun_operator.decide.plan.snapshot import Snapshot
from codexrun_operator.decide.plan.stop import (
    ending_status,
    own_outcome,
    stop_actions,
    suspends_unseen,
)


def keep_evidence(snapshot: Snapshot, now: datetime) -> Decision | None:
    """Write down what the containers said while the finalizer still holds the pod, and only then
    let it go."""
    if snapshot.phase is not Phase.STOPPING:
        return None
    pod = snapshot.pod
    status = snapshot.run.status
    if pod and pod.held and not pod.gone and pod.deleting and pod.ended:
        if status.finished_at is not None:
            return Decision(actions=(ReleaseEvidence(pod.name, pod.uid),), look_again=5)
        reason, message, failure = own_outcome(snapshot) or (
            status.reason or "",
            status.message or "",
            status.failure,
        )
        return Decision(status=ending_status(snapshot, now, reason, message, failure), look_again=1)
    if suspends_unseen(snapshot):
        return READ_LIVE
    return Decision(actions=stop_actions(snapshot), look_again=10)
