"""Carry out a decision: actions first, then one status write. Every step can be repeated; "already
done" is success."""

from typing import Any

from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.refusals import Cause
from codexrun_core.resources import CodexRun, RunStatus
from codexrun_core.runs.names import EVIDENCE_FINALIZER
from codexrun_operator.decide.plan import DeleteJob, ReleaseEvidence, StopPod, SuspendJob

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


async def act(kube: Kube, action: StopPod | ReleaseEvidence | SuspendJob | DeleteJob) -> None:
    """Every action but the creation of a Job.

    Raises:
        Unavailable: try again.
    """
    try:
        match action:
            case StopPod(name, uid):
                await _hold(kube, name, uid)
                await kube.delete(f"{kube.pods}/{name}", uid=uid)
            case ReleaseEvidence(name, uid):
                await _release(kube, name, uid)
            case SuspendJob(name):
                await kube.merge(f"{kube.jobs}/{name}", {"spec": {"suspend": True}})
            case DeleteJob(name, uid):
                await kube.delete(f"{kube.jobs}/{name}", uid=uid)
    except (NotFound, Conflict):
        # Gone, or another object of the same name by now: the watch tells, and the next plan knows.
        return


async def _hold(kube: Kube, name: str, uid: str) -> None:
    """Our finalizer keeps the pod object, with its containers' last words, until the status has
    them."""
    patch = {"metadata": {"uid": uid, "finalizers": [EVIDENCE_FINALIZER]}}
    try:
        # Strategic merge adds to the list of finalizers, and leaves the Job controller's alone.
        await kube.strategic(f"{kube.pods}/{name}", patch)
    except Refused as error:
        # 422: its deletion has begun already, so no finalizer can be added; the last watch events
        # carry the evidence.
        if error.status != 422:
            raise


async def _release(kube: Kube, name: str, uid: str) -> None:
    patch = {"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [EVIDENCE_FINALIZER]}}
    await kube.strategic(f"{kube.pods}/{name}", patch)


async def write_status(kube: Kube, run: CodexRun, status: RunStatus) -> Json:
    """The one status write of a reconcile; returns the object as the apiserver has it now.

    Raises:
        Conflict: it has changed since it was read.
        NotFound: it was deleted.
        Unavailable: try again.
    """
    new, old = status.dump(), run.status.dump()
    removed: Json = dict.fromkeys(old.keys() - new.keys())
    patch = {
        "metadata": {"resourceVersion": run.metadata.resource_version},
        "status": {**removed, **_replacing(old, new)},
    }
    return await kube.merge(f"{kube.runs}/{run.metadata.name}/status", patch)


def _replacing(old: Json, new: Json) -> Json:
    """`new` as a merge patch over `old`: keys that a nested object loses are named, or they would
    stay."""
    patch = dict(new)
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            patch[key] = {
                **dict.fromkeys(before.keys() - value.keys()),
                **_replacing(before, value),
            }
    return patch
