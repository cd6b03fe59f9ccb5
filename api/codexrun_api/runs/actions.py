"""Cancel, retry and delete one run.

All can be repeated: a cancel that was asked for stands, a retry that has not ended is the retry,
and gone is gone.
"""

import contextlib
import uuid
from typing import Any

from codexrun_api.runs import orders, start
from codexrun_api.schemas import requests
from codexrun_api.schemas.problems import Problem, from_refusal, not_found
from codexrun_api.services import Services
from codexrun_core.kube.client import Conflict, NotFound, Refused
from codexrun_core.registry import Filter, RunRecord, record_of
from codexrun_core.registry import Unavailable as RegistryUnavailable
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.labels import handed_on
from codexrun_core.runs.transitions import DELETED, FINAL

TERMINAL = FINAL | {DELETED}
TRIES = 3


async def cancel(here: Services, wanted: str, user: str, reason: str | None) -> RunRecord:
    """Ask for it; the operator does it.

    Raises:
        Problem: there is no such run, or it has ended otherwise.
    """
    run = here.mirror.find(wanted)
    if run is None:
        record = await here.find(wanted)
        if record is None:
            raise not_found(wanted)
        if record.status == Phase.CANCELLED.lower():
            return record
        raise _ended(record.name, record.status)
    path = f"{here.kube.runs}/{run.metadata.name}"
    wish: dict[str, Any] = {"requestedBy": user[:253]} | ({"reason": reason} if reason else {})
    for _ in range(TRIES):
        if run.status.phase is Phase.CANCELLED or (
            run.spec.cancel and not run.status.phase.terminal
        ):
            return await here.record(run)
        if run.status.phase.terminal:
            raise _ended(run.metadata.name, run.status.phase.lower())
        version = run.metadata.resource_version
        try:
            raw = await here.kube.merge(
                path, {"metadata": {"resourceVersion": version}, "spec": {"cancel": wish}}
            )
        except Conflict:
            raw = await here.kube.get(path)
            run = CodexRun.model_validate(raw)
            continue
        except NotFound as gone:
            raise not_found(wanted) from gone
        except Refused as refused:
            raise from_refusal(refused) from refused
        here.mirror.seen(raw)
        return record_of(CodexRun.model_validate(raw))
    raise Problem(503, "unavailable", "the run keeps changing; try again", retry_after=1)


async def delete(here: Services, wanted: str) -> RunRecord:
    """Take the object of a run that has ended out of the cluster, its Job and pod with it. Row, log
    and artifacts stay.

    Raises:
        Problem: there is no such run, or it has not ended.
    """
    run = here.mirror.find(wanted)
    if run is None:
        if (record := await here.find(wanted)) is None:
            raise not_found(wanted)
        return record
    if not run.status.phase.terminal:
        raise _going(run.metadata.name, run.status.phase.lower())
    record = await here.record(run)
    try:
        await here.kube.delete(f"{here.kube.runs}/{run.metadata.name}", uid=run.metadata.uid)
    except (NotFound, Conflict):
        pass  # it is gone, or another run has its name
    except Refused as refused:
        raise from_refusal(refused) from refused
    return record


def _going(name: str, status: str) -> Problem:
    return Problem(
        409, "run-not-finished", f'run "{name}" has not ended ({status}); cancel it first'
    )


def _ended(name: str, status: str) -> Problem:
    return Problem(
        409, "run-finished", f'run "{name}" has ended ({status}); it can be retried, not cancelled'
    )


async def retry(
    here: Services,
    wanted: str,
    wish: requests.RetryRunRequest,
    *,
    user: str,
    origin: str,
    request_id: str,
    key: str | None = None,
) -> start.Started:
    """A new run with the spec of an earlier one; from its row where the object is gone.

    Raises:
        Problem: there is no such run, it has not ended, or its retry is refused.
    """
    run = here.mirror.find(wanted)
    source = await here.record(run) if run else await here.find(wanted)
    if source is None:
        raise not_found(wanted)
    if source.status not in TERMINAL:
        raise _going(source.name, source.status)
    if key is None and (going := _live_retry(here, source.run_id)):
        return start.Started(record_of(going), replayed=True)
    name = orders.keyed_name(user, key) if key else await _retry_name(here, source)
    order = orders.Order(
        name=name,
        spec=retry_spec(source.spec, source, wish),
        user=user,
        origin=origin,
        request_id=request_id,
        sha256=f"{source.run_id}/{requests.fingerprint(wish)}",
        labels=handed_on(source.labels),
        keyed=True,  # two at once derive the same name: one run
    )
    return await start.start(here, order)


def retry_spec(
    spec: dict[str, Any], source: RunRecord, wish: requests.RetryRunRequest
) -> dict[str, Any]:
    """Only what was asked to differ differs."""
    kept = {key: value for key, value in spec.items() if key not in ("cancel", "retryOf")}
    link: dict[str, Any] = {"name": source.name, "uid": source.run_id}
    if wish.resume:
        link["resume"] = True
    return {**kept, **wish.spec(), "retryOf": link}


def _live_retry(here: Services, run_id: str) -> CodexRun | None:
    for run in here.mirror.runs.values():
        if run.spec.retry_of and run.spec.retry_of.uid == run_id and not run.status.phase.terminal:
            return run
    return None


async def _retry_name(here: Services, source: RunRecord) -> str:
    """The same for calls at the same time, another one once a retry has ended."""
    seen = {
        r.metadata.uid
        for r in here.mirror.runs.values()
        if r.spec.retry_of and r.spec.retry_of.uid == source.run_id
    }
    count = len(seen)
    # Without the registry only the objects that are still there are counted.
    with contextlib.suppress(RegistryUnavailable):
        count = max(
            count, sum((await here.registry.counts(Filter(retry_of=(source.run_id,)))).values())
        )
    stem = source.name.split("-retry-")[0][:46].rstrip("-.")
    return f"{stem}-retry-{uuid.uuid5(uuid.UUID(source.run_id), str(count)).hex[:8]}"
