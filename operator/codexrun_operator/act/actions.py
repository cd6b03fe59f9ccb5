"""Carry out a decision's actions on the cluster. Every one can be repeated; "already done" is
success."""

from typing import Any

from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.refusals import Cause
from codexrun_core.runs.label_keys import EVIDENCE_FINALIZER
from codexrun_operator.decide.observed import STOP_DEADLINE_SECONDS
from codexrun_operator.decide.plan import (
    DeleteJob,
    DeletePod,
    ReleaseEvidence,
    StopPod,
    SuspendJob,
)

Json = dict[str, Any]


async def create_job(kube: Kube, body: Json) -> None:
    """Create the attempt's Job; a Job of that name is this one (names derive from uid and attempt).

    Raises:
        Refused: rights, quota, a policy or the schema said no; the message is the apiserver's, for
            people.
        Unavailable: nothing is known about what happened, or somebody was faster; the same call
            again is safe.
    """
    try:
        await kube.create(kube.jobs, body)
    except Refused as error:
        if error.reason == "AlreadyExists":
            return
        if error.cause is Cause.CONFLICT:
            # Two Jobs at once that one ResourceQuota counts, for example.
            raise Unavailable(error.message) from error
        raise


async def carry_out(
    kube: Kube, action: StopPod | DeletePod | ReleaseEvidence | SuspendJob | DeleteJob
) -> bool:
    """Carry out an action other than the creation of a Job, which job_creation.py does. Return
    whether its object was there: False if it is gone, or another has its name.

    Raises:
        Unavailable: try again.
    """
    try:
        match action:
            case StopPod(name, uid):
                await _stop_pod(kube, name, uid)
            case DeletePod(name, uid):
                await kube.delete(f"{kube.pods}/{name}", uid=uid)
            case ReleaseEvidence(name, uid):
                await _release_evidence(kube, name, uid)
            case SuspendJob(name):
                await kube.merge(f"{kube.jobs}/{name}", {"spec": {"suspend": True}})
            case DeleteJob(name, uid):
                await kube.delete(f"{kube.jobs}/{name}", uid=uid)
    except (NotFound, Conflict):
        return False
    return True


async def _stop_pod(kube: Kube, name: str, uid: str) -> None:
    """Lower the pod's deadline, which may be done at any time and never be undone."""
    patch = {"metadata": {"uid": uid}, "spec": {"activeDeadlineSeconds": STOP_DEADLINE_SECONDS}}
    try:
        await kube.merge(f"{kube.pods}/{name}", patch)
    except Refused as error:
        if error.status != 422:
            raise
        # Another pod has the name, which a deletion finds out too, or the apiserver takes no change
        # of this one: it has to end all the same, and its last words come with the watch.
        await kube.delete(f"{kube.pods}/{name}", uid=uid)


async def _release_evidence(kube: Kube, name: str, uid: str) -> None:
    patch = {"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [EVIDENCE_FINALIZER]}}
    await kube.strategic(f"{kube.pods}/{name}", patch)
