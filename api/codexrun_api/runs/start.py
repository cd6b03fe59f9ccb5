"""Start a run: make the object, wait for the operator's verdict, tell the caller. A refused run
leaves nothing behind.

The object's name is its identity. With an Idempotency-Key it derives from caller and key, so that a
repeated call finds it with the registry down and after any crash; without one, a repetition of this
call's own after a lost answer finds it by the request's id.
"""

import logging
from dataclasses import dataclass

from fastapi import Response

from codexrun_api import metrics
from codexrun_api.mirror.runs import Followed
from codexrun_api.schemas import requests, responses
from codexrun_api.schemas.problems import (
    FieldError,
    Problem,
    from_refusal,
    invalid,
    pointed,
    unavailable,
)
from codexrun_api.services import Services
from codexrun_core import reasons
from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.logs import fields
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import ENDED_STATUSES
from codexrun_core.runs import names, new_run
from codexrun_core.runs.annotations import DELETE_IF_REJECTED, REQUEST_ID, REQUEST_SHA256
from codexrun_core.runs.new_run import NewRun
from codexrun_core.runs.record import RunRecord, record_of
from codexrun_core.runs.verdict import RefusalKind, Verdict, read_refusal, verdict_of

log = logging.getLogger(__name__)

START_ATTEMPTS = 4  # verdicts; all but one are of earlier calls
CREATE_ATTEMPTS = 4
WRITE_ATTEMPTS = 4  # against the operator's own writes

# Problem codes of refusals that may pass; their status is 429.
_FULL_CODES = {
    reasons.CONCURRENCY_LIMIT: "concurrency-limit",
    reasons.SUSPENDED: "job-type-suspended",
    reasons.JOB_TYPE_HELD: "job-type-held",
    reasons.JOB_REFUSED: "job-type-held",
    reasons.QUEUE_FULL: "queue-full",
}
# Where the fault is, for reasons whose messages do not begin with a field.
_FIELDS = {
    reasons.PROMPT_VERSION_NOT_ALLOWED: "/prompt_version",
    reasons.PROMPT_NOT_FOUND: "/prompt_version",
    reasons.MODEL_NOT_ALLOWED: "/model",
    reasons.EFFORT_NOT_ALLOWED: "/effort",
    reasons.WORKSPACE_NOT_ALLOWED: "/workspace",
    reasons.INPUTS_TOO_LARGE: "/inputs",
    reasons.INVALID_INPUTS: "/inputs",
    reasons.RESUME_NOT_ALLOWED: "/resume",
}


@dataclass(frozen=True)
class Started:
    """A run that was started. replayed: by an earlier call."""

    record: RunRecord
    replayed: bool = False


async def build_run(
    services: Services,
    request: requests.StartRunRequest,
    *,
    user: str,
    origin: str,
    request_id: str,
    key: str | None,
    when_full: str = "Reject",
) -> NewRun:
    """Return the run that a request asks for. when_full: what holds where the request does not say.

    Raises:
        Problem: another namespace, or no such job type.
    """
    if request.namespace and request.namespace != services.settings.namespace:
        detail = (
            f'this installation serves only the namespace "{services.settings.namespace}"; leave'
            " the field out"
        )
        raise invalid(detail, FieldError(pointer="/namespace", detail=detail))
    if await services.catalog.job_type(request.job_type) is None:
        raise job_type_not_found(request.job_type)
    body = request.dump()
    return NewRun(
        name=request.name or names.name_of(request.job_type, user, key),
        spec={"whenFull": when_full, **new_run.spec_of(body)},
        user=user,
        origin=origin,
        request_id=request_id,
        sha256=new_run.fingerprint(body),
        keyed=key is not None,
        labels=request.labels or {},
    )


async def start(services: Services, new: NewRun) -> Started:
    """Make a run and wait until the operator has answered.

    Raises:
        Problem: it is refused, or there is no verdict in time.
    """
    if new.keyed and (earlier := await _only_in_registry(services, new)):
        return Started(earlier, replayed=True)
    async with services.mirror.follow(new.name) as followed:
        for _ in range(START_ATTEMPTS):
            run, created = await _create_or_find(services, new)
            if not created:
                _require_same_request(run, new)
            run = await _wait_for_verdict(
                services, run, followed, reject=new.spec.get("whenFull") == "Reject"
            )
            if verdict_of(run) is not Verdict.REFUSED:
                # Read your writes, in lists too; with the registry away it comes later.
                await services.mirror.writer.caught_up()
                _count(new, created)
                return Started(record_of(run), replayed=not created)
            await _delete_refused(services, run)
            if created:
                raise refusal_problem(run, services.next_slot(run))
            # An earlier call's refusal is never repeated: this one gets its own verdict.
    raise unavailable(f'the name "{new.name}" is still taken by a run that is being deleted')


async def respond(
    services: Services, response: Response, started: Started, wait: float
) -> responses.RunView:
    """Return a started run and set the answer's headers: now, or when it has ended, after `wait`
    seconds at the latest."""
    record = started.record
    if wait:
        record = await wait_until_terminal(services, record, wait)
        response.status_code = status_after_wait(record)
    response.headers["Location"] = f"{services.settings.external_url}/runs/{record.run_id}"
    response.headers["Retry-After"] = "2"
    if started.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return services.view(record)


def status_after_wait(record: RunRecord) -> int:
    """Return the status of an answer that has waited for the run's end: 200 where it has come, 202
    where it is still to come."""
    return 200 if record.status in ENDED_STATUSES else 202


async def wait_until_terminal(services: Services, record: RunRecord, seconds: float) -> RunRecord:
    """Return the run's record once it has ended, or as it is after so many seconds."""
    async with services.mirror.follow(record.name) as followed:
        run = services.mirror.runs.get(record.run_id)
        if run is None:
            return await services.run_of_id(record.run_id) or record
        followed.tell(run, gone=False)
        await followed.until(
            lambda run: run.status.phase.terminal, record.run_id, seconds, services.stop
        )
        return await services.record(followed.run or run)


def refusal_problem(run: CodexRun, retry_after: int) -> Problem:
    """Return a refused run as the answer to its start: full is 429, an unknown job type 404, all
    else the caller's to correct."""
    refusal = read_refusal(run.status.reason, run.status.message)
    reason = refusal.reason
    message = refusal.message
    if refusal.kind is RefusalKind.FULL:
        code = _FULL_CODES.get(reason) or _kebab_case(reason)
        return Problem(429, code, message, retry_after=retry_after)
    if refusal.kind is RefusalKind.JOB_TYPE_NOT_FOUND:
        return job_type_not_found(run.spec.job_type)
    return invalid_spec(reason, message)


def invalid_spec(reason: str, message: str) -> Problem:
    """Return the answer to a start whose run the operator rejects, or would: 422."""
    # The body of a retry has no spec.retryOf.
    errors = [] if reason == reasons.RESUME_NOT_ALLOWED else pointed(message)
    if not errors and (pointer := _FIELDS.get(reason)):
        errors = [FieldError(pointer=pointer, detail=message)]
    return Problem(422, _kebab_case(reason), message, errors=errors)


def job_type_not_found(name: str) -> Problem:
    """Return the answer to a request that names a job type which does not exist."""
    detail = f'there is no job type "{name}"; GET /jobtypes lists the job types'
    return Problem(
        404, "job-type-not-found", detail, errors=[FieldError(pointer="/job_type", detail=detail)]
    )


async def _only_in_registry(services: Services, new: NewRun) -> RunRecord | None:
    """Return the record of a keyed run whose object is gone already, or not listed yet: whether its
    row says so is no matter, since nobody may have seen it go."""
    if new.name in services.mirror.names:
        return None
    try:
        record = await services.registry.find_by_name(services.settings.namespace, new.name)
    except Unavailable:
        return None
    if record is None:
        return None
    requested = CodexRun.model_validate({"metadata": {}, "spec": new.spec}).spec.dump()
    stored = CodexRun.model_validate({"metadata": {}, "spec": record.spec}).spec.dump()
    stored.pop("cancel", None)
    if stored != requested:
        raise _mismatch()
    metrics.IDEMPOTENCY.labels("replay").inc()
    return record


async def _create_or_find(services: Services, new: NewRun) -> tuple[CodexRun, bool]:
    """Return the object of that name, and whether this call made it.

    Raises:
        Problem: refused by the apiserver, or it stays away.
    """
    kube = services.kube
    failure = ""
    for _ in range(CREATE_ATTEMPTS):
        created = True
        try:
            raw = await kube.create(kube.runs, new.manifest(services.settings.namespace))
        except Conflict:
            try:
                raw = await kube.get(f"{kube.runs}/{new.name}")
            except NotFound:
                continue  # deleted in between: its name is free
            # After a lost answer it may be the one that this call has made.
            request_id = raw["metadata"].get("annotations", {}).get(REQUEST_ID)
            created = bool(failure) and request_id == new.request_id
        except Refused as refused:
            raise from_refusal(refused) from refused
        except Unavailable as error:
            failure = str(error)
            continue  # it may exist: the same name again finds it
        services.mirror.seen(raw)
        return CodexRun.model_validate(raw), created
    if failure:
        raise unavailable(f"the cluster is not responding: {failure}")
    raise unavailable(f'the name "{new.name}" is not free yet')


def _require_same_request(run: CodexRun, new: NewRun) -> None:
    """Check that an existing run was made by the same request.

    Raises:
        Problem: it was not.
    """
    if not new.keyed:
        detail = f'a run "{new.name}" already exists; choose another name'
        raise Problem(409, "name-taken", detail)
    if run.metadata.annotations.get(REQUEST_SHA256) != new.sha256:
        raise _mismatch()


def _mismatch() -> Problem:
    metrics.IDEMPOTENCY.labels("mismatch").inc()
    detail = "this Idempotency-Key was used with a different body; use a new key for a new run"
    return Problem(422, "idempotency-key-reused", detail)


async def _wait_for_verdict(
    services: Services, run: CodexRun, followed: Followed, *, reject: bool
) -> CodexRun:
    """Return the run once the operator has answered, or without a verdict if it may wait for one.

    Raises:
        Problem: no verdict, and the caller does not want to wait: the object is deleted.
    """
    uid = run.metadata.uid
    path = f"{services.kube.runs}/{run.metadata.name}"
    seconds = services.settings.verdict_seconds
    followed.tell(run, gone=False)
    await followed.until(_has_verdict, uid, seconds, services.stop)
    for _ in range(WRITE_ATTEMPTS):
        newest = followed.run if followed.run and followed.run.metadata.uid == uid else run
        if _has_verdict(newest):
            return newest
        if followed.gone:
            raise Problem(
                409, "run-deleted", "the run was deleted before the operator had responded"
            )
        try:
            if reject:
                await services.kube.delete(path, uid=uid, version=newest.metadata.resource_version)
                raise unavailable(
                    f"the operator did not respond within {seconds:.0f} s, so the run was deleted"
                )
            metadata = {
                "resourceVersion": newest.metadata.resource_version,
                "annotations": {DELETE_IF_REJECTED: None},
            }
            raw = await services.kube.merge(path, {"metadata": metadata})
            services.mirror.seen(raw)
            return CodexRun.model_validate(raw)
        except Conflict:
            await _refresh(services, path, uid, followed)
        except NotFound as gone:
            raise unavailable("the run was deleted before the operator had responded") from gone
    raise unavailable("the run keeps changing")


def _has_verdict(run: CodexRun) -> bool:
    return verdict_of(run).final


async def _refresh(services: Services, path: str, uid: str, followed: Followed) -> None:
    """Read the run from the apiserver: the watch may be behind."""
    raw = await services.kube.get(path)
    if raw["metadata"]["uid"] != uid:
        raise unavailable("the run was deleted before the operator had responded")
    services.mirror.seen(raw)
    followed.tell(CodexRun.model_validate(raw), gone=False)


async def _delete_refused(services: Services, run: CodexRun) -> None:
    """Delete a refused run's object. The operator does the same with what it rejected; whoever
    comes first."""
    path = f"{services.kube.runs}/{run.metadata.name}"
    try:
        version = None if run.status.phase.terminal else run.metadata.resource_version
        await services.kube.delete(path, uid=run.metadata.uid, version=version)
    except (NotFound, Conflict):
        return
    except (Refused, Unavailable) as error:
        log.warning(
            "run.left_behind",
            extra=fields(name=run.metadata.name, run_id=run.metadata.uid, error=str(error)),
        )


def _count(new: NewRun, created: bool) -> None:
    if new.keyed:
        metrics.IDEMPOTENCY.labels("new" if created else "replay").inc()


def _kebab_case(reason: str) -> str:
    return "".join(
        f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(reason)
    )
