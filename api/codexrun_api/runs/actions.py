"""Cancel, retry and delete one run.

All can be repeated: a cancel that was asked for stands, a retry that has not ended is the retry,
and a deleted run is deleted.
"""

import contextlib
from typing import Any

from codexrun_api.runs import start
from codexrun_api.schemas import requests
from codexrun_api.schemas.problems import Problem, from_refusal, not_found
from codexrun_api.services import Services
from codexrun_core import reasons
from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.resources import CodexRun
from codexrun_core.resources.codexrun import MAX_USER_CHARACTERS
from codexrun_core.resources.phases import ENDED_STATUSES, Phase
from codexrun_core.runs import names, new_run
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import inherited_labels
from codexrun_core.runs.new_run import NewRun
from codexrun_core.runs.record import RunRecord, record_of
from codexrun_core.runs.resume import ThreadSetup, resume_problem, setup_of
from codexrun_core.runs.stored_spec import read_spec

CANCEL_ATTEMPTS = 3


async def cancel(services: Services, run_id: str, user: str, reason: str | None) -> RunRecord:
    """Ask for a run to be cancelled; the operator does it. run_id: or its name.

    Raises:
        Problem: there is no such run, or it has ended otherwise.
    """
    run = services.mirror.find(run_id)
    if run is None:
        record = await services.find(run_id)
        if record is None:
            raise not_found(run_id)
        if record.status == Phase.CANCELLED.lower():
            return record
        raise _finished(record.name, record.status)
    path = f"{services.kube.runs}/{run.metadata.name}"
    cancel: dict[str, Any] = {"requestedBy": user[:MAX_USER_CHARACTERS]}
    if reason:
        cancel["reason"] = reason
    for _ in range(CANCEL_ATTEMPTS):
        phase = run.status.phase
        if phase is Phase.CANCELLED or (run.spec.cancel and not phase.terminal):
            return await services.record(run)
        if phase.terminal:
            raise _finished(run.metadata.name, phase.lower())
        metadata = {"resourceVersion": run.metadata.resource_version}
        patch = {"metadata": metadata, "spec": {"cancel": cancel}}
        try:
            raw = await services.kube.merge(path, patch)
        except Conflict:
            raw = await services.kube.get(path)
            run = CodexRun.model_validate(raw)
            continue
        except NotFound as gone:
            raise not_found(run_id) from gone
        except Refused as refused:
            raise from_refusal(refused) from refused
        services.mirror.seen(raw)
        return record_of(CodexRun.model_validate(raw))
    raise Problem(503, "unavailable", "the run keeps changing; try again", retry_after=1)


async def set_priority(services: Services, run_id: str, priority: int) -> RunRecord:
    """Change the priority of a run that has not ended. run_id: or its name.

    Raises:
        Problem: there is no such run, or it has ended.
    """
    run = services.mirror.find(run_id)
    if run is None:
        record = await services.find(run_id)
        raise not_found(run_id) if record is None else _over(record.name, record.status)
    if run.status.phase.terminal:
        raise _over(run.metadata.name, run.status.phase.lower())
    path = f"{services.kube.runs}/{run.metadata.name}"
    # With its uid: another run may have the name by now.
    patch = {"metadata": {"uid": run.metadata.uid}, "spec": {"priority": priority}}
    try:
        raw = await services.kube.merge(path, patch)
    except (NotFound, Conflict) as gone:
        raise not_found(run_id) from gone
    except Refused as refused:
        raise from_refusal(refused) from refused
    services.mirror.seen(raw)
    return await services.record(CodexRun.model_validate(raw))


def _over(name: str, status: str) -> Problem:
    return Problem(
        409, "run-finished", f'run "{name}" has ended ({status}); start a new run instead'
    )


async def delete(services: Services, run_id: str) -> RunRecord:
    """Delete the object of a run that has ended, and with it its Job and pod. Row, log and
    artifacts stay. run_id: or its name.

    Raises:
        Problem: there is no such run, or it has not ended.
    """
    run = services.mirror.find(run_id)
    if run and not run.status.phase.terminal:
        raise _not_finished(run.metadata.name, run.status.phase.lower())
    record = await services.find(run_id)
    if record is None:
        raise not_found(run_id)
    name = services.mirror.name_of(record.run_id)
    if name is None:
        return record
    try:
        await services.kube.delete(f"{services.kube.runs}/{name}", uid=record.run_id)
    except (NotFound, Conflict):
        pass  # it is gone, or another run has its name
    except Refused as refused:
        raise from_refusal(refused) from refused
    return record


async def retry(
    services: Services,
    run_id: str,
    request: requests.RetryRunRequest,
    *,
    user: str,
    origin: str,
    request_id: str,
    key: str | None = None,
) -> start.Started:
    """Start a new run with the spec of an earlier one; from its row where the object is gone.
    run_id: the earlier run's, or its name.

    Raises:
        Problem: there is no such run, it has not ended, or its retry is refused.
    """
    source = await services.find(run_id)
    if source is None:
        raise not_found(run_id)
    if source.status not in ENDED_STATUSES:
        raise _not_finished(source.name, source.status)
    if key is None and (live := _live_retry(services, source.run_id)):
        return start.Started(record_of(live), replayed=True)
    spec = retry_spec(source, request)
    if request.resume and (problem := await _resume_problem(services, source, spec)):
        raise problem
    name = names.keyed_name(user, key) if key else await _retry_name(services, source)
    new = NewRun(
        name=name,
        spec=spec,
        user=user,
        origin=origin,
        request_id=request_id,
        sha256=new_run.retry_fingerprint(source.run_id, request.dump()),
        labels=inherited_labels(source.labels),
        keyed=True,  # two at once derive the same name: one run
    )
    return await start.start(services, new)


def retry_spec(source: RunRecord, request: requests.RetryRunRequest) -> dict[str, Any]:
    """Return the spec of a run's retry."""
    return new_run.retry_spec(
        source.spec, name=source.name, run_id=source.run_id, changes=request.dump()
    )


async def _resume_problem(
    services: Services, source: RunRecord, spec: dict[str, Any]
) -> Problem | None:
    """Return why a retry with this spec may not resume the earlier run: what the operator would
    say, and cannot where the earlier run's object is gone."""
    job_type = await services.catalog.job_type(spec["jobType"])
    if job_type is None:
        return None  # the operator says so
    prompt = job_type.spec.prompt
    stored = services.catalog.prompts.get(
        (prompt.name, spec.get("promptVersion") or prompt.version)
    )
    if stored is None:
        return None
    own = ThreadSetup(
        job_type=spec["jobType"],
        prompt_sha256=stored.sha256,
        model=spec.get("model") or job_type.spec.model,
        git=read_spec(spec).git,
    )
    message = resume_problem(own, setup_of(source))
    return start.invalid_spec(reasons.RESUME_NOT_ALLOWED, message) if message else None


def _not_finished(name: str, status: str) -> Problem:
    return Problem(
        409, "run-not-finished", f'run "{name}" has not ended ({status}); cancel it first'
    )


def _finished(name: str, status: str) -> Problem:
    return Problem(
        409, "run-finished", f'run "{name}" has ended ({status}); it can be retried, not cancelled'
    )


def _live_retry(services: Services, run_id: str) -> CodexRun | None:
    """Return the retry of a run that has not ended."""
    for run in services.mirror.runs.values():
        if run.spec.retry_of and run.spec.retry_of.uid == run_id and not run.status.phase.terminal:
            return run
    return None


async def _retry_name(services: Services, source: RunRecord) -> str:
    """Return the name of a run's next retry."""
    count = services.mirror.retries(source.run_id)
    # Without the registry only the objects that are still there are counted.
    with contextlib.suppress(Unavailable):
        counts = await services.registry.counts(Filter(retry_of=(source.run_id,)))
        count = max(count, sum(counts.values()))
    return names.retry_name(source.name, source.run_id, count)
