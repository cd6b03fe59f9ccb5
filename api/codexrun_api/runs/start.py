"""Start a run: make the object, wait for the operator's word, tell the caller. Who is refused
leaves nothing behind.

The object's name is its identity. With an Idempotency-Key it derives from caller and key, so that a
repeated call finds it with the registry down and after any crash; without one, our own retries
after a lost answer find it by the request's id.
"""

import logging
from dataclasses import dataclass, field

from codexrun_api import metrics
from codexrun_api.mirror.runs import Followed
from codexrun_api.runs.orders import Order
from codexrun_api.runs.verdicts import Verdict, decided, refusal, verdict
from codexrun_api.schemas.problems import Problem, from_refusal, unavailable
from codexrun_api.services import Services
from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.logs import fields
from codexrun_core.resources import CodexRun
from codexrun_core.runs import annotations as notes
from codexrun_core.runs.record import RunRecord, record_of

log = logging.getLogger(__name__)

TRIES = 4


@dataclass(frozen=True)
class Started:
    record: RunRecord
    replayed: bool = field(default=False)


async def start(here: Services, order: Order) -> Started:
    """Until the operator has spoken.

    Raises:
        Problem: refused, or no word in time.
    """
    if order.keyed and (earlier := await _only_in_registry(here, order)):
        return Started(earlier, replayed=True)
    async with here.mirror.follow(order.name) as followed:
        for _ in range(TRIES):
            run, ours = await _make(here, order)
            if not ours:
                _same_or_problem(run, order)
            run = await _settled(here, run, followed, reject=order.spec.get("whenFull") == "Reject")
            if verdict(run) is not Verdict.REFUSED:
                await (
                    here.mirror.writer.caught_up()
                )  # read your writes, in lists too; with the registry away it comes later
                _count(order, ours)
                return Started(record_of(run), replayed=not ours)
            await _clear_away(here, run)
            if ours:
                raise refusal(run, here.next_slot(run))
            # An earlier call's refusal is never repeated: this one gets its own verdict.
    raise unavailable("the name is still taken by a run that is being deleted")


async def _only_in_registry(here: Services, order: Order) -> RunRecord | None:
    """A keyed run whose object is gone already."""
    if here.mirror.find(order.name):
        return None
    try:
        row = await here.registry.find_by_name(here.settings.namespace, order.name)
    except Unavailable:
        return None
    if row is None or row.deleted_at is None:
        return None
    asked = CodexRun.model_validate({"metadata": {}, "spec": order.spec}).spec.dump()
    stored = CodexRun.model_validate({"metadata": {}, "spec": row.spec}).spec.dump()
    if {k: v for k, v in stored.items() if k != "cancel"} != asked:
        raise _mismatch()
    metrics.IDEMPOTENCY.labels("replay").inc()
    return row


async def _make(here: Services, order: Order) -> tuple[CodexRun, bool]:
    """The object of that name, and whether this call made it.

    Raises:
        Problem: refused by the apiserver, or it stays away.
    """
    trouble = ""
    for _ in range(TRIES):
        ours = True
        try:
            raw = await here.kube.create(here.kube.runs, order.body(here.settings.namespace))
        except Conflict:
            try:
                raw = await here.kube.get(f"{here.kube.runs}/{order.name}")
            except NotFound:
                continue  # deleted in between: its name is free
            # After a lost answer it may be the one that this call has made.
            ours = (
                bool(trouble)
                and raw["metadata"].get("annotations", {}).get(notes.REQUEST_ID) == order.request_id
            )
        except Refused as refused:
            raise from_refusal(refused) from refused
        except Unavailable as away:
            trouble = str(away)
            continue  # it may exist: the same name again finds it
        here.mirror.seen(raw)
        return CodexRun.model_validate(raw), ours
    raise unavailable(
        f"the cluster does not answer: {trouble}" if trouble else "the run's name is not free yet"
    )


def _same_or_problem(run: CodexRun, order: Order) -> None:
    if not order.keyed:
        detail = f'there is a run "{order.name}" already; choose another name'
        raise Problem(409, "name-taken", detail)
    if run.metadata.annotations.get(notes.REQUEST_SHA256) != order.sha256:
        raise _mismatch()


def _mismatch() -> Problem:
    metrics.IDEMPOTENCY.labels("mismatch").inc()
    detail = "this Idempotency-Key was used with another body; use a new key for a new run"
    return Problem(422, "idempotency-key-reused", detail)


async def _settled(here: Services, run: CodexRun, followed: Followed, *, reject: bool) -> CodexRun:
    """The run once the operator has spoken, or still undecided if it may wait.

    Raises:
        Problem: no word, and the caller does not want to wait: the object is deleted.
    """
    uid, path = run.metadata.uid, f"{here.kube.runs}/{run.metadata.name}"
    followed.tell(run, gone=False)
    await followed.until(decided, uid, here.settings.verdict_seconds, here.stop)
    for _ in range(TRIES):
        newest = followed.run if followed.run and followed.run.metadata.uid == uid else run
        if decided(newest):
            return newest
        if followed.gone:
            raise Problem(409, "run-deleted", "somebody deleted the run before the operator saw it")
        try:
            if reject:
                await here.kube.delete(path, uid=uid, version=newest.metadata.resource_version)
                raise unavailable(
                    f"no verdict of the operator within {here.settings.verdict_seconds:.0f} s; the"
                    " run is deleted"
                )
            metadata = {
                "resourceVersion": newest.metadata.resource_version,
                "annotations": {notes.DELETE_IF_REJECTED: None},
            }
            raw = await here.kube.merge(path, {"metadata": metadata})
            here.mirror.seen(raw)
            return CodexRun.model_validate(raw)
        except Conflict:
            await _look(here, path, uid, followed)
        except NotFound as gone:
            raise unavailable("the run was deleted before its verdict was seen") from gone
    raise unavailable("the run keeps changing")


async def _look(here: Services, path: str, uid: str, followed: Followed) -> None:
    """The watch may be behind."""
    raw = await here.kube.get(path)
    if raw["metadata"]["uid"] != uid:
        raise unavailable("the run was deleted before its verdict was seen")
    here.mirror.seen(raw)
    followed.tell(CodexRun.model_validate(raw), gone=False)


async def _clear_away(here: Services, run: CodexRun) -> None:
    """The operator does the same with what it rejected; whoever comes first."""
    path = f"{here.kube.runs}/{run.metadata.name}"
    try:
        version = None if run.status.phase.terminal else run.metadata.resource_version
        await here.kube.delete(path, uid=run.metadata.uid, version=version)
    except (NotFound, Conflict):
        return
    except (Refused, Unavailable) as error:
        log.warning(
            "run.left_behind",
            extra=fields(name=run.metadata.name, run_id=run.metadata.uid, error=str(error)),
        )


def _count(order: Order, ours: bool) -> None:
    if order.keyed:
        metrics.IDEMPOTENCY.labels("new" if ours else "replay").inc()
