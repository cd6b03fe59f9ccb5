"""The planner: every rule, and every point at which an operator may have crashed, as a row that
reads like a sentence."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from builders import (
    GATE_ENDED,
    NOON,
    agent_report,
    ago,
    by,
    done_job,
    ended,
    gate_report,
    given,
    gone_by_suspension,
    job,
    kind,
    no_gate,
    pod,
    prompt,
    run,
    running,
    signalled,
    waiting,
    warning,
)
from hypothesis import HealthCheck, assume, settings
from hypothesis import given as forall
from hypothesis import strategies as st

from codexrun_core.prices.table import UNKNOWN_PRICES
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_operator.decide.observed import Container, Job, Pod
from codexrun_operator.decide.plan import (
    NOTHING,
    READ_LIVE,
    Blocked,
    CreateJob,
    Decision,
    DeleteJob,
    DeletePod,
    ReleaseEvidence,
    Snapshot,
    StopPod,
    SuspendJob,
    plan,
    wants_slot,
)
from codexrun_operator.decide.status import same_content

STOP = StopPod("hello-11111111-1-abcde", "pod-1")
DELETE_POD = DeletePod("hello-11111111-1-abcde", "pod-1")
RELEASE = ReleaseEvidence("hello-11111111-1-abcde", "pod-1")
SUSPEND = SuspendJob("hello-11111111-1")
DELETE = DeleteJob("hello-11111111-1", "job-1")
NO_WRITE = object()
HELD = Blocked("JobTypeHeld", "its Jobs are refused")


@dataclass(frozen=True)
class Case:
    says: str
    snapshot: Snapshot
    actions: tuple[Any, ...]
    want: dict[str, Any]

    def __str__(self) -> str:
        return self.says


def case(says: str, snapshot: Snapshot, *actions: Any, **want: Any) -> Case:
    """`want`: status fields by path (`failure__class` for failure.class); `phase=NO_WRITE` when
    nothing is to be written."""
    return Case(says, snapshot, actions, want)


def field_of(decision: Decision, path: str) -> Any:
    value: Any = decision.status.dump() if decision.status else {}
    for name in path.split("__"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def check(c: Case) -> None:
    decision = plan(c.snapshot, NOON)
    acted = tuple(
        "create" if isinstance(action, CreateJob) else action for action in decision.actions
    )
    assert acted == c.actions
    want = dict(c.want)
    if want.get("phase") is NO_WRITE:
        assert decision.status is None or same_content(c.snapshot.run.status, decision.status)
        del want["phase"]
    assert {
        path: field_of(decision, path) for path in want if path not in ("again", "waiting")
    } == {path: value for path, value in want.items() if path not in ("again", "waiting")}
    if "again" in want:
        assert decision.look_again == want["again"]
    if "waiting" in want:
        assert decision.waiting is want["waiting"]


def rows(*cases: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("c", cases, ids=str)


READY = given(run("Pending"))


@rows(
    case(
        "first in line: take the slot, create the Job",
        replace(READY, admitted=True),
        "create",
        phase="Starting",
        attempt=1,
    ),
    case("no slot: queue", READY, phase="Queued", reason="ConcurrencyLimit", waiting=True),
    case(
        "no slot, and the run does not want to wait",
        given(run(whenFull="Reject")),
        phase="Rejected",
        reason="ConcurrencyLimit",
        finishedAt="2026-11-24T12:00:00Z",
    ),
    case(
        "suspended job type: queue",
        given(run(), job_type=kind(suspended=True)),
        phase="Queued",
        reason="Suspended",
    ),
    case(
        "suspended, and the run does not want to wait",
        given(run(whenFull="Reject"), job_type=kind(suspended=True)),
        phase="Rejected",
        reason="Suspended",
    ),
    case("queued already: stays so", given(run("Queued")), phase="Queued"),
    case(
        "as many wait as maxQueued lets wait: rejected",
        given(run(), job_type=kind(maxQueued=2), queued=2),
        phase="Rejected",
        reason="QueueFull",
        finishedAt="2026-11-24T12:00:00Z",
    ),
    case(
        "fewer wait than maxQueued lets wait: queue",
        given(run(), job_type=kind(maxQueued=2), queued=1),
        phase="Queued",
    ),
    case(
        "maxQueued lowered under a queued run: it stays",
        given(run("Queued"), job_type=kind(maxQueued=0), queued=9),
        phase="Queued",
    ),
    case(
        "a free slot is no matter of maxQueued",
        given(run(), job_type=kind(maxQueued=0), admitted=True),
        "create",
        phase="Starting",
        attempt=1,
    ),
    case(
        "wrong input: rejected",
        given(run(inputs={"nme": "x"})),
        phase="Rejected",
        reason="InvalidInputs",
    ),
    case(
        "wrong since its job type was edited: rejected",
        given(run("Queued", model="o9")),
        phase="Rejected",
    ),
    case(
        "its model's price left the table of a job type that asks for one: rejected",
        given(run("Queued"), job_type=kind(requireKnownPrice=True), prices=UNKNOWN_PRICES),
        phase="Rejected",
        reason="UnknownPrice",
    ),
    case(
        "no job type within 3 s: quiet, the rest of the apply is on its way",
        given(run(), job_type=None, prompt=None, missing_for=timedelta(seconds=1)),
        phase=NO_WRITE,
        again=2.0,
    ),
    case(
        "no job type: pending for a minute",
        given(run(), job_type=None, prompt=None, missing_for=timedelta(seconds=20)),
        phase="Pending",
        reason="JobTypeNotFound",
        again=40.0,
    ),
    case(
        "no job type after a minute: rejected",
        given(run(), job_type=None, prompt=None, missing_for=timedelta(minutes=1)),
        phase="Rejected",
        reason="JobTypeNotFound",
    ),
    case(
        "job type taken away under a queued run: it waits",
        given(run("Queued"), job_type=None),
        phase="Queued",
    ),
    case(
        "no prompt: pending",
        given(run(), prompt=None, missing_for=timedelta(seconds=20)),
        phase="Pending",
        reason="PromptNotFound",
    ),
    case(
        "no prompt after a minute: rejected",
        given(run(), prompt=None, missing_for=timedelta(seconds=61)),
        phase="Rejected",
        reason="PromptNotFound",
    ),
    case(
        "prompt taken away under a queued run: it waits",
        given(run("Queued", age=900), prompt=None),
        phase="Queued",
    ),
    case(
        "a run of the day before that this operator has just seen: nothing was missing yet",
        given(run(age=86_400), job_type=None, prompt=None),
        phase=NO_WRITE,
        again=3.0,
    ),
    case(
        "a job type that cannot be read is not missing: it waits, however long",
        given(
            run(),
            job_type=None,
            prompt=None,
            unreadable='job type "hello"',
            missing_for=timedelta(days=1),
        ),
        phase="Pending",
        reason="Unreadable",
    ),
    case(
        "a prompt that cannot be read under a queued run: it stays queued",
        given(run("Queued"), prompt=None, unreadable='prompt "hello" v1'),
        phase="Queued",
        reason="Unreadable",
    ),
    case(
        "cancel of a run whose job type cannot be read: at once",
        given(run(cancel=by()), job_type=None, prompt=None, unreadable='job type "hello"'),
        phase="Cancelled",
    ),
    case(
        "its job type is held: it waits, and says why",
        given(run(), blocked=HELD),
        phase="Queued",
        reason="JobTypeHeld",
        message="Waiting: its Jobs are refused",
        waiting=True,
    ),
    case(
        "its job type is held, and it does not want to wait: as if full",
        given(run(whenFull="Reject"), blocked=HELD),
        phase="Rejected",
        reason="JobTypeHeld",
    ),
    case(
        "its job type is held and suspended: that it is suspended is what people decided",
        given(run(), job_type=kind(suspended=True), blocked=HELD),
        phase="Queued",
        reason="Suspended",
    ),
    case(
        "refused once it had a slot: it has its place among those who wait, whatever maxQueued"
        " says",
        given(run(), job_type=kind(maxQueued=0), blocked=HELD, waits=True),
        phase="Queued",
        reason="JobTypeHeld",
    ),
    case(
        "cancel of a pending run: at once",
        given(run(cancel=by("ana", "typo"))),
        phase="Cancelled",
        reason="CancelRequested",
        message="Cancelled by ana: typo",
    ),
    case("cancel of a queued run: at once", given(run("Queued", cancel=by())), phase="Cancelled"),
    case(
        "cancel goes before a missing job type",
        given(run(cancel=by()), job_type=None),
        phase="Cancelled",
    ),
    case(
        "cancelled with nothing wrong and a slot free",
        given(run(cancel=by()), admitted=True),
        phase="Cancelled",
    ),
    case("cancel goes before a refusal", given(run(inputs={}, cancel=by())), phase="Cancelled"),
)
def test_begin(c: Case) -> None:
    check(c)


DEADLINE_LOWERED = pod("Failed", stopped=True, reason="DeadlineExceeded")


@rows(
    case(
        "Job sent, not seen yet: look again",
        given(run("Starting"), creating=True),
        phase=NO_WRITE,
        again=2,
    ),
    case(
        "Job sent, status never written, not seen yet: look again",
        given(run(), creating=True),
        phase=NO_WRITE,
        again=2,
    ),
    case(
        "cancelled while the Job is under way: wait for it to show",
        given(run(cancel=by()), creating=True),
        phase=NO_WRITE,
    ),
    case(
        "Job created but status never written: Starting, with all that the Job knows",
        given(run(), job(), pod("Pending")),
        phase="Starting",
        attempt=1,
        jobName="hello-11111111-1",
        model="gpt-5.5",
        prompt__version="v1",
    ),
    case(
        "Job created, status never written, agent runs meanwhile",
        given(run("Queued"), job(), pod()),
        phase="Running",
        attempt=1,
        podName="hello-11111111-1-abcde",
    ),
    case(
        "Job created, status never written, all over meanwhile: Succeeded, and nothing is missing",
        given(run(), done_job(complete=True, failed=""), pod("Succeeded")),
        phase="Succeeded",
        attempt=1,
        jobName="hello-11111111-1",
        startedAt="2026-11-24T11:56:00Z",
        finishedAt="2026-11-24T11:59:50Z",
        duration="3m50s",
        model="gpt-5.5",
    ),
    case(
        "Job created, status never written, run cancelled: the stop records the attempt",
        given(run(cancel=by()), job(), pod()),
        STOP,
        phase="Stopping",
        reason="CancelRequested",
        attempt=1,
        jobName="hello-11111111-1",
    ),
    case(
        "deadline lowered but Stopping not recorded: the wish still stands in the spec",
        given(run("Running", cancel=by()), job(), pod(stopped=True)),
        phase="Stopping",
        reason="CancelRequested",
    ),
    case(
        "the same, and the kubelet has ended it: a cancel, and no timeout",
        given(run("Running", cancel=by()), done_job(), DEADLINE_LOWERED),
        phase="Stopping",
        reason="CancelRequested",
        failure=None,
    ),
    case(
        "deadline lowered for others' containers but Stopping not recorded: the outcome stands",
        given(
            run("Running"),
            done_job(),
            replace(DEADLINE_LOWERED, agent=ended(0, report=agent_report())),
        ),
        phase="Succeeded",
    ),
    case(
        "the same, and the agent had left no report: that is its end, and no timeout",
        given(run("Running"), done_job(), replace(DEADLINE_LOWERED, agent=ended(137))),
        phase="Failed",
        failure__class="silent_death",
    ),
    case(
        "deleted as it did not start in time but Stopping not recorded: not 'by hand'",
        given(
            run("Starting"), job(created=ago(20), start_seconds=20), pod("Pending", deleting=True)
        ),
        phase="Stopping",
        reason="Internal",
    ),
    case(
        "held and not deleted by an earlier version: the stop is repeated",
        given(run("Running", cancel=by()), job(), pod(held=True)),
        STOP,
        phase="Stopping",
    ),
    case(
        "held and deleted by an earlier version, which could not record it",
        given(run("Running", cancel=by()), job(), pod(held=True, deleting=True)),
        phase="Stopping",
        reason="CancelRequested",
    ),
    case(
        "suspended by us but Stopping not recorded: the same cause is found again, not 'by hand'",
        given(
            run("Starting"),
            job(suspended=True),
            pod("Pending", node="", agent=waiting("InvalidImageName", "bad")),
        ),
        phase="Stopping",
        reason="Image",
        failure__class="image",
    ),
    case(
        "Stopping recorded, stop never arrived: it is repeated",
        given(run("Stopping", reason="CancelRequested"), job(), pod()),
        STOP,
        phase=NO_WRITE,
    ),
    case(
        "Stopping recorded, the containers still end: wait",
        given(run("Stopping", reason="CancelRequested"), job(), pod(stopped=True)),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "Stopping, containers ended: evidence first",
        given(
            run("Stopping", reason="CancelRequested", message="Cancelled by ops"),
            done_job(),
            DEADLINE_LOWERED,
        ),
        phase="Stopping",
        reason="CancelRequested",
        finishedAt="2026-11-24T11:59:50Z",
        usage__totalTokens=110,
    ),
    case(
        "Stopping recorded with evidence: the pod goes",
        given(
            run(
                "Stopping", reason="CancelRequested", status={"finishedAt": "2026-11-24T11:59:50Z"}
            ),
            done_job(),
            DEADLINE_LOWERED,
        ),
        DELETE_POD,
        phase=NO_WRITE,
    ),
    case(
        "a stopped pod that somebody deletes meanwhile: nothing more to do",
        given(
            run("Stopping", reason="CancelRequested"),
            job(),
            replace(DEADLINE_LOWERED, deleting=True),
        ),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "Stopping, containers ended, pod held by an earlier version: evidence first",
        given(
            run("Stopping", reason="CancelRequested", message="Cancelled by ops"),
            job(),
            pod("Failed", deleting=True, held=True),
        ),
        phase="Stopping",
        reason="CancelRequested",
        finishedAt="2026-11-24T11:59:50Z",
        usage__totalTokens=110,
    ),
    case(
        "Stopping recorded with evidence, pod held by an earlier version: let it go",
        given(
            run(
                "Stopping", reason="CancelRequested", status={"finishedAt": "2026-11-24T11:59:50Z"}
            ),
            job(),
            pod("Failed", deleting=True, held=True),
        ),
        RELEASE,
        phase=NO_WRITE,
    ),
    case(
        "pod deleted, not gone yet: wait",
        given(
            run("Stopping", status={"finishedAt": "2026-11-24T11:59:50Z"}),
            done_job(),
            pod("Failed", deleting=True),
        ),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "evidence written, pod gone, Job not yet: wait, and suspend nothing",
        given(
            run("Stopping", status={"finishedAt": "2026-11-24T11:59:50Z"}),
            job(),
            pod("Failed", gone=True),
        ),
        phase=NO_WRITE,
    ),
    case(
        "pod gone, Job done: Cancelled",
        given(
            run("Stopping", reason="CancelRequested"),
            done_job(),
            pod("Failed", deleting=True, gone=True),
        ),
        phase="Cancelled",
        reason="CancelRequested",
        usage__totalTokens=110,
    ),
    case(
        "operator back after the pod vanished: Cancelled, with what was written",
        given(
            run(
                "Stopping", reason="CancelRequested", status={"finishedAt": "2026-11-24T11:59:00Z"}
            ),
            done_job(),
        ),
        phase="Cancelled",
        finishedAt="2026-11-24T11:59:00Z",
    ),
    case(
        "operator back after pod and Job vanished: the recorded intent",
        given(
            run(
                "Stopping",
                reason="Timeout",
                status={"failure": {"class": "timeout", "message": "late"}},
            )
        ),
        phase="Failed",
        reason="Timeout",
        failure__class="timeout",
    ),
    case(
        "operator back after all vanished, end recorded: Succeeded",
        given(run("Stopping", reason="Completed")),
        phase="Succeeded",
    ),
    case(
        "suspended Job deleted, last status never written",
        given(
            run(
                "Stopping",
                reason="Image",
                recorded=False,
                status={"failure": {"class": "image", "message": "no"}},
            )
        ),
        phase="Failed",
        failure__class="image",
    ),
    case(
        "operator back, Job gone, no stop of ours: nobody knows",
        given(run("Running")),
        phase="Failed",
        reason="JobLost",
        failure__class="internal",
    ),
    case(
        "operator back, pod gone, Job done: nobody knows",
        given(run("Running"), done_job()),
        phase="Failed",
        reason="PodLost",
        failure__class="internal",
    ),
    case(
        "operator back, pod gone, Job about to fail: wait for its word",
        given(run("Running"), job()),
        phase=NO_WRITE,
        again=5,
    ),
    case(
        "Job gone before its first status was written: no second Job",
        given(run(), witnessed=True, admitted=True),
        phase="Cancelled",
        reason="JobDeleted",
    ),
    case(
        "Job gone before its first status was written, its pod runs on: no second Job, stop"
        " the pod",
        given(run(), None, pod(), admitted=True),
        STOP,
        phase="Stopping",
        reason="JobDeleted",
    ),
)
def test_crash_points(c: Case) -> None:
    check(c)


@rows(
    case(
        "cancel while no pod is there: suspend, for none may get to a node",
        given(run("Starting", cancel=by()), job(active=0)),
        SUSPEND,
        phase="Stopping",
        reason="CancelRequested",
    ),
    case(
        "cancel of an unscheduled pod: suspend",
        given(run("Starting", cancel=by()), job(), pod("Pending", node="")),
        SUSPEND,
        phase="Stopping",
    ),
    case(
        "cancel while the image is pulled: nothing was used, and a pull hears of no deadline",
        given(run("Starting", cancel=by()), job(), pod("Pending")),
        DELETE_POD,
    ),
    case(
        "cancel while running: stop the pod",
        given(run("Running", cancel=by()), job(), pod()),
        STOP,
        phase="Stopping",
    ),
    case(
        "cancel after the agent has ended: the outcome stands",
        given(
            run("Running", cancel=by()),
            job(),
            pod(agent=ended(0, report=agent_report()), gate=GATE_ENDED),
        ),
        phase="Succeeded",
    ),
    case(
        "cancel after the agent has failed: the outcome stands",
        given(
            run("Running", cancel=by()),
            job(),
            pod("Failed", agent=ended(1, report=agent_report(turnCompleted=None))),
        ),
        phase="Failed",
        failure__class="silent_death",
    ),
    case(
        "cancel while Stopping: the first reason stands",
        given(run("Stopping", cancel=by()), job(), pod(deleting=True)),
        phase=NO_WRITE,
    ),
    case(
        "cancel of a finished run: nothing",
        given(run("Succeeded", cancel=by()), done_job(), pod("Succeeded")),
        phase=NO_WRITE,
    ),
    case(
        "suspended, but the Job's numbers may be old: wait for its condition",
        given(run("Stopping", reason="CancelRequested"), job(suspended=True, active=0)),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "suspended, a pod still ends: wait",
        given(run("Stopping", reason="CancelRequested"), gone_by_suspension(terminating=1)),
        phase=NO_WRITE,
    ),
    case(
        "suspended for good: delete the Job, anyone could resume it",
        given(run("Stopping", reason="CancelRequested"), gone_by_suspension()),
        DELETE,
        phase="Cancelled",
    ),
    case(
        "suspended for good, but the pod object is still there: wait",
        given(
            run("Stopping", reason="CancelRequested"),
            gone_by_suspension(),
            pod("Pending", node="", deleting=True),
        ),
        phase=NO_WRITE,
    ),
    case(
        "a pod got to a node in spite of the suspension: stop it",
        given(run("Stopping", reason="CancelRequested"), job(suspended=True), pod("Pending")),
        DELETE_POD,
        phase=NO_WRITE,
    ),
    case(
        "run faster than its stop, seen while held: the end is written before the evidence goes",
        given(
            run("Stopping", reason="CancelRequested"),
            job(),
            pod("Succeeded", held=True, deleting=True),
        ),
        phase="Stopping",
        reason="Completed",
        result__message="Hello, world!",
    ),
    case(
        "run faster than its stop, which was not recorded: the end is written before the evidence"
        " goes",
        given(run("Running", cancel=by()), job(), pod("Succeeded", held=True, deleting=True)),
        phase="Stopping",
        reason="Completed",
        usage__requests=2,
    ),
    case(
        "run faster than its stop, which was not recorded and did not delete: the same",
        given(run("Running", cancel=by()), job(), pod("Succeeded", held=True)),
        phase="Stopping",
        reason="Completed",
    ),
    case(
        "run faster than its stop, its pod still there: delete it after all",
        given(
            run("Stopping", reason="Completed", status={"finishedAt": "2026-11-24T11:59:50Z"}),
            done_job(),
            pod("Succeeded", held=True),
        ),
        DELETE_POD,
        RELEASE,
        phase=NO_WRITE,
    ),
    case(
        "run faster than its stop, pod gone: Succeeded",
        given(
            run("Stopping", reason="CancelRequested"),
            done_job(),
            pod("Succeeded", gone=True, deleting=True),
        ),
        phase="Succeeded",
        reason="Completed",
    ),
    case(
        "told by signal, yet proven: Succeeded",
        given(
            run("Stopping", reason="CancelRequested"),
            done_job(),
            pod("Succeeded", agent=ended(0, report=agent_report(stopped="signal")), gone=True),
        ),
        phase="Succeeded",
    ),
)
def test_cancel(c: Case) -> None:
    check(c)


@rows(
    case(
        "pod deleted by hand: Stopping, nothing more to delete",
        given(run("Running"), job(), pod(deleting=True)),
        phase="Stopping",
        reason="PodDeleted",
    ),
    case(
        "pod deleted by hand, gone: Cancelled with its last words",
        given(
            run("Stopping", reason="PodDeleted"),
            done_job(),
            pod("Failed", deleting=True, gone=True),
        ),
        phase="Cancelled",
        reason="PodDeleted",
        usage__totalTokens=110,
    ),
    case(
        "pod deleted by hand, its runner reports an end of its own: that end",
        given(
            run("Running"),
            job(),
            pod(
                "Failed",
                deleting=True,
                agent=ended(
                    1,
                    report=agent_report(
                        stopped="timeout",
                        failure={"class": "timeout", "message": "late"},
                        turnCompleted=None,
                    ),
                ),
            ),
        ),
        phase="Failed",
        failure__class="timeout",
    ),
    case(
        "pod deleted by hand with force: Stopping until the Job says so",
        given(run("Running"), job(), pod(gone=True, deleting=True)),
        phase="Stopping",
        reason="PodDeleted",
    ),
    case(
        "Job deleted by hand, background: its pod ends",
        given(run("Running"), None, pod(deleting=True), witnessed=True),
        phase="Stopping",
        reason="JobDeleted",
    ),
    case(
        "Job deleted by hand, pod gone: Cancelled",
        given(run("Stopping", reason="JobDeleted"), None, pod("Failed", gone=True), witnessed=True),
        phase="Cancelled",
        reason="JobDeleted",
    ),
    case(
        "Job deleted by hand, orphaning its pod: stop the pod",
        given(run("Running"), None, pod(), witnessed=True),
        STOP,
        phase="Stopping",
        reason="JobDeleted",
    ),
    case(
        "Job deleted by hand, orphan stopped and ended: evidence first",
        given(run("Stopping", reason="JobDeleted"), None, pod("Failed", stopped=True)),
        phase="Stopping",
        usage__totalTokens=110,
    ),
    case(
        "the same, recorded: nobody else would delete the pod",
        given(
            run("Stopping", reason="JobDeleted", status={"finishedAt": "2026-11-24T11:59:50Z"}),
            None,
            pod("Failed", stopped=True),
        ),
        DELETE_POD,
        phase=NO_WRITE,
    ),
    case(
        "Job deleted by hand, orphan stopped and ended, which was not recorded: the same course",
        given(run("Running"), None, pod("Failed", stopped=True), witnessed=True),
        phase="Stopping",
        reason="JobDeleted",
    ),
    case(
        "Job deleted by hand, orphan held and ended: evidence first",
        given(run("Stopping", reason="JobDeleted"), None, pod("Failed", held=True, deleting=True)),
        phase="Stopping",
        usage__totalTokens=110,
    ),
    case(
        "Job deleted by hand after a success: the outcome stands",
        given(run("Running"), None, pod("Succeeded"), witnessed=True),
        phase="Succeeded",
    ),
    case(
        "Job deleted before it had a pod: Cancelled",
        given(run("Starting"), witnessed=True),
        phase="Cancelled",
        reason="JobDeleted",
    ),
    case(
        "Job deleted in the foreground: Stopping while its pod ends",
        given(run("Running"), job(deleting=True), pod()),
        STOP,
        phase="Stopping",
        reason="JobDeleted",
    ),
    case(
        "run deleted while live: the garbage collector's",
        given(run("Running", deleting=True), job(), pod()),
        phase=NO_WRITE,
    ),
    case(
        "run deleted while its pod is held: let it go",
        given(run("Stopping", deleting=True), job(deleting=True), pod(held=True, deleting=True)),
        RELEASE,
        phase=NO_WRITE,
    ),
)
def test_by_hand(c: Case) -> None:
    check(c)


@rows(
    case(
        "evicted by the kubelet for memory",
        given(
            run("Running"),
            done_job(),
            pod(
                "Failed",
                reason="Evicted",
                message="low on memory",
                disruption="TerminationByKubelet",
                agent=ended(137),
                gate=Container(),
            ),
        ),
        phase="Failed",
        failure__class="evicted",
        failure__retryable=True,
    ),
    case(
        "evicted by the kubelet for its own disk use",
        given(
            run("Running"),
            done_job(),
            pod(
                "Failed",
                reason="Evicted",
                message='Usage of EmptyDir volume "tmp" exceeds the limit',
                agent=ended(137),
                gate=Container(),
            ),
        ),
        phase="Failed",
        failure__class="storage",
    ),
    case(
        "evicted by the API: a stop with its own class",
        given(run("Running"), job(), pod(deleting=True, disruption="EvictionByEvictionAPI")),
        phase="Stopping",
        reason="Evicted",
        failure__class="evicted",
    ),
    case(
        "evicted by the API, gone",
        given(
            run(
                "Stopping",
                reason="Evicted",
                status={"failure": {"class": "evicted", "message": "x", "retryable": True}},
            ),
            done_job(),
            pod("Failed", deleting=True, gone=True, disruption="EvictionByEvictionAPI"),
        ),
        phase="Failed",
        failure__class="evicted",
    ),
    case(
        "out of memory",
        given(run("Running"), job(), pod("Failed", agent=ended(137, reason="OOMKilled"))),
        phase="Failed",
        failure__class="oom",
    ),
    case(
        "node lost: Stopping, the slot is held",
        given(
            run("Running"),
            job(terminating=1),
            pod(deleting=True, disruption="DeletionByTaintManager"),
        ),
        phase="Stopping",
        reason="NodeLost",
        failure__class="node_lost",
    ),
    case(
        "node still lost: nothing to do but wait",
        given(
            run("Stopping", reason="NodeLost"),
            job(terminating=1, failed="BackoffLimitExceeded"),
            pod(deleting=True, disruption="DeletionByTaintManager"),
        ),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "node lost, then force-deleted",
        given(
            run(
                "Stopping",
                reason="NodeLost",
                status={"failure": {"class": "node_lost", "message": "x"}},
            ),
            done_job(),
            pod(deleting=True, gone=True, disruption="DeletionByTaintManager"),
        ),
        phase="Failed",
        failure__class="node_lost",
    ),
    case(
        "a frozen runner met the pod's deadline",
        given(
            run("Running"),
            job(),
            pod(
                "Failed",
                reason="DeadlineExceeded",
                agent=ended(137, report=agent_report(state="running", turnCompleted=None)),
            ),
        ),
        phase="Failed",
        failure__class="timeout",
    ),
    case(
        "the Job's deadline: the backstop",
        given(run("Running"), job(failed="DeadlineExceeded", terminating=1), pod(deleting=True)),
        phase="Stopping",
        reason="Timeout",
        failure__class="timeout",
    ),
    case(
        "the Job's deadline, seen on the pod first: not by hand",
        given(run("Running"), job(deadline=ago(1)), pod(deleting=True)),
        phase="Stopping",
        reason="Timeout",
    ),
    case(
        "a pod deleted by hand well before the Job's deadline",
        given(run("Running"), job(deadline=NOON + timedelta(minutes=5)), pod(deleting=True)),
        phase="Stopping",
        reason="PodDeleted",
    ),
    case(
        "the Job's deadline without an agent ever: what kept it",
        given(
            run("Starting"),
            job(failed="DeadlineExceeded"),
            pod("Pending", node="", unschedulable="0/1 nodes are available: 1 x."),
        ),
        phase="Stopping",
        reason="Unschedulable",
    ),
)
def test_the_cluster_ends_it(c: Case) -> None:
    check(c)


NO_CPU = "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "
TOO_LARGE = NO_CPU + "2 Preemption is not helpful for scheduling."
TOO_FULL = NO_CPU + "2 No preemption victims found for incoming pod."
MIXED = (
    "0/12 nodes are available: 1 node(s) had untolerated taint {a: b}, 11 Insufficient cpu."
    " preemption: 0/12 nodes are available: 1 Preemption is not helpful for scheduling, 11 No"
    " preemption victims found for incoming pod."
)
NEW = job(created=ago(20))
LATE = job(created=ago(600))


@rows(
    case(
        "image cannot be pulled: shown, waited for",
        given(
            run("Starting"),
            NEW,
            pod("Pending", agent=waiting("ImagePullBackOff", "Back-off pulling")),
        ),
        phase="Starting",
        reason="ImagePull",
        again=10,
    ),
    case(
        "between two tries the kubelet quotes the last one: told as that was",
        given(
            run("Starting"),
            NEW,
            pod(
                "Pending",
                agent=waiting(
                    "ImagePullBackOff", 'Back-off pulling image "a/b:c": ErrImagePull: no such host'
                ),
            ),
        ),
        reason="ImagePull",
        message="Cannot pull the image of container agent (ErrImagePull): no such host",
    ),
    case(
        "image could not be pulled in time",
        given(run("Starting"), LATE, pod("Pending", agent=waiting("ErrImagePull", "no such host"))),
        DELETE_POD,
        phase="Stopping",
        reason="Image",
        failure__class="image",
    ),
    case(
        "image never to be pulled: hopeless at once",
        given(
            run("Starting"), NEW, pod("Pending", agent=waiting("ErrImageNeverPull", "not present"))
        ),
        DELETE_POD,
        phase="Stopping",
        failure__class="image",
    ),
    case(
        "image name without sense: hopeless",
        given(run("Starting"), NEW, pod("Pending", gate=waiting("InvalidImageName"))),
        DELETE_POD,
        reason="Image",
    ),
    case(
        "Secret missing: shown, waited for",
        given(
            run("Starting"),
            NEW,
            pod("Pending", agent=waiting("CreateContainerConfigError", 'secret "key" not found')),
        ),
        phase="Starting",
        reason="MissingConfig",
    ),
    case(
        "Secret missing for too long",
        given(
            run("Starting"),
            LATE,
            pod("Pending", agent=waiting("CreateContainerConfigError", 'secret "key" not found')),
        ),
        DELETE_POD,
        failure__class="config",
    ),
    case(
        "volume missing, in the Event's words",
        given(
            run("Starting"),
            NEW,
            pod("Pending"),
            warning("FailedMount", 'configmap "prompt-hello-v1" not found'),
        ),
        phase="Starting",
        reason="MissingVolume",
        message='Cannot mount a volume of the pod: configmap "prompt-hello-v1" not found',
    ),
    case(
        "volume missing for too long",
        given(run("Starting"), LATE, pod("Pending"), warning("FailedMount", "x")),
        DELETE_POD,
        failure__class="config",
    ),
    case(
        "pods refused by quota: shown",
        given(
            run("Starting"),
            job(created=ago(20), active=0),
            None,
            warning("FailedCreate", "exceeded quota: pods"),
        ),
        phase="Starting",
        reason="PodRefused",
    ),
    case(
        "pods refused by quota for too long",
        given(
            run("Starting"),
            job(created=ago(600), active=0),
            None,
            warning("FailedCreate", "exceeded quota: pods"),
        ),
        SUSPEND,
        phase="Stopping",
        failure__class="config",
    ),
    case(
        "a quota wants a limit that no container names: hopeless at once",
        given(
            run("Starting"),
            job(created=ago(20), active=0),
            None,
            warning("FailedCreate", "failed quota: q: must specify limits.cpu for: agent,gate"),
        ),
        SUSPEND,
        phase="Stopping",
        failure__class="config",
    ),
    case(
        "larger than any node: hopeless at once",
        given(run("Starting"), NEW, pod("Pending", node="", unschedulable=TOO_LARGE)),
        SUSPEND,
        phase="Stopping",
        failure__class="unschedulable",
    ),
    case(
        "no node free: waited for",
        given(run("Starting"), NEW, pod("Pending", node="", unschedulable=TOO_FULL)),
        phase="Starting",
        reason="Unschedulable",
    ),
    case(
        "some nodes tainted, some full: waited for",
        given(run("Starting"), NEW, pod("Pending", node="", unschedulable=MIXED)),
        phase="Starting",
    ),
    case(
        "no node free for too long",
        given(run("Starting"), LATE, pod("Pending", node="", unschedulable=TOO_FULL)),
        SUSPEND,
        failure__class="unschedulable",
    ),
    case(
        "cloning: shown once",
        given(run("Starting", reason="ImagePull"), NEW, pod("Pending", clone=running())),
        reason="Cloning",
    ),
    case(
        "the clone failed",
        given(
            run("Starting"),
            job(),
            pod(
                "Failed",
                agent=waiting("PodInitializing"),
                gate=waiting("PodInitializing"),
                clone=ended(1, report={"src": "clone", "failure": {"message": "no such branch"}}),
            ),
        ),
        phase="Failed",
        failure__class="workspace",
        failure__message="no such branch",
    ),
    case(
        "slow start, nothing wrong: no write",
        given(run("Starting"), NEW, pod("Pending")),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "slow start, about to be late: look in time",
        given(run("Starting"), job(created=ago(597)), pod("Pending")),
        phase=NO_WRITE,
        again=3,
    ),
    case(
        "start deadline",
        given(run("Starting"), LATE, pod("Pending")),
        DELETE_POD,
        phase="Stopping",
        failure__class="internal",
    ),
    case(
        "start deadline from the job type",
        given(run("Starting"), job(created=ago(20), start_seconds=20), pod("Pending")),
        DELETE_POD,
    ),
    case(
        "an old Job whose agent runs is not late",
        given(run("Starting"), LATE, pod()),
        phase="Running",
    ),
    case(
        "running: the agent's own start",
        given(run("Starting"), job(), pod()),
        phase="Running",
        startedAt="2026-11-24T11:56:00Z",
    ),
    case(
        "agent ended, gate still counts: wait for its word",
        given(
            run("Running", reason="AgentRunning", message="The agent is running"),
            job(),
            pod(agent=ended(0, report=agent_report())),
        ),
        phase="Running",
    ),
    case(
        "all over",
        given(run("Running"), job(), pod("Succeeded")),
        phase="Succeeded",
        result__message="Hello, world!",
        threadId="thread-1",
    ),
)
def test_start_and_follow(c: Case) -> None:
    check(c)


QUEUED_JOB = job(suspended=True, suspension_seen=True, active=0)
RESUMED_JOB = job(created=ago(7_000), started=ago(20))
SUSPENDED = "Job hello-11111111-1 is suspended; the run starts when a queue controller, or whoever"


@rows(
    case(
        "created suspended, as Kueue does: it starts later, and nobody looks until then",
        given(run("Starting"), replace(QUEUED_JOB, created=ago(7_000))),
        phase="Starting",
        reason="JobSuspended",
        message=SUSPENDED + " suspended the Job, resumes it",
        again=None,
    ),
    case(
        "the same before its controller has seen it, and before any watch told of a pod",
        given(
            run("Starting"),
            job(suspended=True, created=ago(7_000), active=0),
            absence_proven=False,
        ),
        phase="Starting",
        reason="JobSuspended",
    ),
    case(
        "resumed, which its controller has not seen yet: not late",
        given(run("Starting"), job(suspension_seen=True, created=ago(7_000), active=0)),
        phase="Starting",
        reason="JobSuspended",
    ),
    case(
        "a Job without a date that nobody has suspended: not taken for one",
        given(run("Starting"), job(created=None, active=0)),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "resumed 20 s ago: startSeconds count from there",
        given(run("Starting", reason="JobSuspended"), RESUMED_JOB, pod("Pending")),
        phase="Starting",
        reason="Starting",
        again=10,
    ),
    case(
        "resumed too long ago",
        given(run("Starting"), replace(RESUMED_JOB, started=ago(600)), pod("Pending")),
        DELETE_POD,
        phase="Stopping",
        message="Not started within 600 s: The pod is starting",
    ),
    case(
        "cancelled while its Job is suspended: nothing has to be stopped",
        given(run("Starting", reason="JobSuspended", cancel=by()), QUEUED_JOB),
        phase="Stopping",
        reason="CancelRequested",
    ),
    case(
        "the same, recorded: Cancelled, and its Job goes",
        given(run("Stopping", reason="CancelRequested", cancel=by()), QUEUED_JOB),
        DELETE,
        phase="Cancelled",
    ),
    case(
        "suspended while its agent runs: keep its evidence, and say that it was evicted",
        given(run("Running"), replace(RESUMED_JOB, suspended=True), pod()),
        STOP,
        phase="Stopping",
        reason="Evicted",
        failure__class="evicted",
        failure__retryable=True,
    ),
    case(
        "the same, told by its pod first",
        given(run("Running"), replace(RESUMED_JOB, suspended=True), pod(deleting=True)),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "suspended while its pod had no node: the same, for it may be resumed",
        given(run("Starting"), replace(RESUMED_JOB, suspended=True), pod("Pending", node="")),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "suspended after a pod that no watch has told of",
        given(run("Starting"), replace(QUEUED_JOB, started=ago(20)), absence_proven=False),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "suspended, its pod gone and its startTime taken away, as Kueue does",
        given(run("Running"), QUEUED_JOB, pod("Failed", deleting=True, gone=True)),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "the same to an operator that comes later",
        given(run("Running"), QUEUED_JOB),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "suspended, its pod came and went unseen and its startTime was taken away: the Job was"
        " resumed before",
        given(run("Starting"), replace(QUEUED_JOB, resumed=True)),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "the same, not asked for yet: the Job's record is enough",
        given(run("Starting"), replace(QUEUED_JOB, resumed=True), absence_proven=False),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "suspended, its pod ends, which is all that the Job tells",
        given(run("Starting"), replace(QUEUED_JOB, terminating=1)),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "suspended, its pod was counted as failed, and the Job does not say yet that it is over",
        given(run("Starting"), replace(QUEUED_JOB, counted=True)),
        phase="Stopping",
        reason="Evicted",
    ),
    case(
        "the eviction is recorded: the Job goes before it is resumed",
        given(
            run("Stopping", reason="Evicted"),
            replace(RESUMED_JOB, suspended=True),
            pod(deleting=True, held=True),
        ),
        DELETE,
        phase=NO_WRITE,
    ),
    case(
        "the same, and its pod has ended: the Job goes while the evidence is written",
        given(
            run("Stopping", reason="Evicted"),
            replace(RESUMED_JOB, suspended=True),
            pod("Failed", stopped=True),
        ),
        DELETE,
        phase="Stopping",
        reason="Evicted",
        usage__totalTokens=110,
    ),
    case(
        "the same with the evidence of a held pod recorded: both go",
        given(
            run("Stopping", reason="Evicted", status={"finishedAt": "2026-11-24T11:59:50Z"}),
            replace(RESUMED_JOB, suspended=True),
            pod("Failed", deleting=True, held=True),
        ),
        DELETE,
        RELEASE,
        phase=NO_WRITE,
    ),
    case(
        "the eviction is recorded, its pod was not known, nor asked for: asked first",
        given(
            run("Stopping", reason="Evicted"),
            replace(RESUMED_JOB, suspended=True),
            absence_proven=False,
        ),
        phase=NO_WRITE,
    ),
    case(
        "its Job is gone, its pod ends: wait",
        given(run("Stopping", reason="Evicted"), None, pod(deleting=True, held=True)),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "Job and pod are gone: Failed as evicted",
        given(
            run(
                "Stopping",
                reason="Evicted",
                status={"failure": {"class": "evicted", "message": "x", "retryable": True}},
            ),
            None,
            pod("Failed", deleting=True, gone=True),
        ),
        phase="Failed",
        failure__class="evicted",
        usage__totalTokens=110,
    ),
    case(
        "suspended after the agent had ended: its end stands",
        given(run("Running"), replace(RESUMED_JOB, suspended=True), pod("Succeeded")),
        phase="Succeeded",
    ),
    case(
        "evicted by the API, whose Job nobody suspended: the Job stays for its word",
        given(run("Stopping", reason="Evicted"), RESUMED_JOB, pod(deleting=True, held=True)),
        phase=NO_WRITE,
    ),
    case(
        "a stop for a suspension that an earlier operator recorded: Cancelled, as it said",
        given(
            run("Stopping", reason="JobSuspended"),
            done_job(),
            pod("Failed", deleting=True, gone=True),
        ),
        phase="Cancelled",
        reason="JobSuspended",
    ),
)
def test_a_suspended_job(c: Case) -> None:
    check(c)


MESH = {"mesh": running()}
OUTLIVED = {"agent": ended(0, report=agent_report()), "foreign": MESH}
SILENT = {"agent": ended(137), "foreign": MESH}


@rows(
    case(
        "the agent has ended, a mesh's container runs on: it gets 20 s",
        given(
            run("Running", reason="AgentRunning", message="The agent is running"),
            job(),
            pod(**OUTLIVED),
        ),
        phase="Running",
        again=10,
    ),
    case(
        "the same, and its time is over: stop the pod",
        given(
            run("Running"),
            job(),
            pod(agent=replace(ended(0, report=agent_report()), finished_at=ago(20)), foreign=MESH),
        ),
        STOP,
        phase="Stopping",
        reason="AgentEnded",
        message=(
            "The agent has ended and the pod is being stopped; containers that codexrun did not"
            " add are still running (mesh)"
        ),
        failure=None,
    ),
    case(
        "an agent without a report is no other case",
        given(
            run("Running"), job(), pod(agent=replace(ended(137), finished_at=ago(60)), foreign=MESH)
        ),
        STOP,
        phase="Stopping",
        reason="AgentEnded",
    ),
    case(
        "an image of theirs cannot be pulled: the same",
        given(
            run("Running"),
            job(),
            pod(
                agent=replace(ended(0, report=agent_report()), finished_at=ago(60)),
                foreign={"mesh": waiting("ImagePullBackOff")},
            ),
        ),
        STOP,
        reason="AgentEnded",
    ),
    case(
        "a sidecar of theirs is the kubelet's to end, and so is a container that has ended",
        given(
            run("Running", reason="AgentRunning", message="The agent is running"),
            job(),
            pod(
                agent=replace(ended(0, report=agent_report()), finished_at=ago(60)),
                foreign={"job": ended()},
                foreign_init=MESH,
            ),
        ),
        phase="Running",
        again=None,
    ),
    case(
        "while the agent runs, so may they",
        given(
            run("Running", reason="AgentRunning", message="The agent is running"),
            job(),
            pod(foreign=MESH),
        ),
        phase="Running",
        again=None,
    ),
    case(
        "stopped so, both reports are there: proven, and written before the evidence goes",
        given(
            run("Stopping", reason="AgentEnded"),
            job(),
            pod(held=True, deleting=True, gate=GATE_ENDED, **OUTLIVED),
        ),
        phase="Stopping",
        reason="Completed",
        result__message="Hello, world!",
        usage__totalTokens=110,
    ),
    case(
        "stopped so, and gone: Succeeded",
        given(
            run("Stopping", reason="Completed"),
            done_job(),
            pod("Failed", gone=True, deleting=True, gate=GATE_ENDED, **OUTLIVED),
        ),
        phase="Succeeded",
    ),
    case(
        "stopped so, the agent had no report: that is its end, not the stop",
        given(
            run("Stopping", reason="AgentEnded"),
            job(),
            pod(held=True, deleting=True, gate=GATE_ENDED, **SILENT),
        ),
        phase="Stopping",
        reason="SilentDeath",
        failure__class="silent_death",
    ),
    case(
        "stopped so, and nobody saw the rest: not known",
        given(run("Stopping", reason="AgentEnded", message="The agent has ended"), done_job()),
        phase="Failed",
        failure__class="internal",
    ),
    case(
        "cancelled after the agent has ended, while a mesh's container runs on: the outcome stands",
        given(
            run("Stopping", reason="CancelRequested", cancel=by()),
            job(),
            pod(held=True, deleting=True, gate=GATE_ENDED, **OUTLIVED),
        ),
        phase="Stopping",
        reason="Completed",
    ),
)
def test_a_container_that_outlives_the_agent(c: Case) -> None:
    check(c)


NO_HANDLER = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime:"
    ' no runtime for "gvisor" is configured'
)
NO_NETWORK = (
    'Failed to create pod sandbox: plugin type="bridge" failed for sandbox "%s": no free address'
)
CRASHED = waiting("CrashLoopBackOff", "back-off 40s restarting failed container=gate")


@rows(
    case(
        "a gate that says why it cannot start: hopeless at once, in its words",
        given(
            run("Starting"),
            NEW,
            pod("Pending", gate=replace(CRASHED, restarts=2, report=no_gate())),
        ),
        DELETE_POD,
        phase="Stopping",
        failure__class="config",
        failure__message="The gate cannot start: model.caBundle: no certificates",
        failure__retryable=False,
        usage=None,
    ),
    case(
        "the same before its first restart",
        given(run("Starting"), NEW, pod("Pending", gate=ended(2, report=no_gate()))),
        DELETE_POD,
        failure__class="config",
    ),
    case(
        "the same while it is restarted",
        given(run("Starting"), NEW, pod("Pending", gate=running(report=no_gate(), restarts=1))),
        DELETE_POD,
        failure__class="config",
    ),
    case(
        "a gate that crashes without a word: shown with its exit code",
        given(run("Starting"), NEW, pod("Pending", gate=replace(CRASHED, exit_code=1))),
        phase="Starting",
        reason="ContainerCrashing",
        message="Container gate keeps exiting (exit code 1); its log says why: kubectl logs"
        " hello-11111111-1-abcde -c gate --previous",
    ),
    case(
        "the same between two crashes: nothing new",
        given(
            run(
                "Starting",
                reason="ContainerCrashing",
                message="Container gate keeps exiting (exit code 1); its log says why: kubectl"
                " logs hello-11111111-1-abcde -c gate --previous",
            ),
            NEW,
            pod("Pending", gate=running(exit_code=1, restarts=3)),
        ),
        phase="Starting",
        reason="ContainerCrashing",
    ),
    case(
        "a gate that was restarted once, while the agent's image cannot be pulled: the image",
        given(
            run("Starting"),
            NEW,
            pod(
                "Pending",
                gate=running(exit_code=137, restarts=1),
                agent=waiting("ErrImagePull", "no such host"),
            ),
        ),
        reason="ImagePull",
    ),
    case(
        "a gate that crashed until it was too late",
        given(run("Starting"), LATE, pod("Pending", gate=replace(CRASHED, exit_code=1))),
        DELETE_POD,
        failure__class="internal",
    ),
    case(
        "a container of a mesh crashes: not codexrun's fault",
        given(
            run("Starting"),
            LATE,
            pod("Pending", foreign_init={"proxy": replace(CRASHED, exit_code=1)}),
        ),
        DELETE_POD,
        failure__class="config",
    ),
    case(
        "the image of a mesh cannot be pulled",
        given(
            run("Starting"),
            NEW,
            pod("Pending", foreign_init={"proxy": waiting("ErrImagePull", "no such host")}),
        ),
        reason="ImagePull",
        message="Cannot pull the image of container proxy (ErrImagePull): no such host",
    ),
    case(
        "a node without the handler of the runtime class",
        given(run("Starting"), NEW, pod("Pending"), warning("FailedCreatePodSandBox", NO_HANDLER)),
        phase="Starting",
        reason="SandboxRefused",
    ),
    case(
        "a node without the handler of the runtime class, for too long",
        given(run("Starting"), LATE, pod("Pending"), warning("FailedCreatePodSandBox", NO_HANDLER)),
        DELETE_POD,
        failure__class="config",
    ),
    case(
        "a node that makes no sandboxes: shown without the id that differs each time",
        given(
            run("Starting"),
            NEW,
            pod("Pending"),
            warning("FailedCreatePodSandBox", NO_NETWORK % ("0123456789abcdef" * 4)),
        ),
        reason="SandboxRefused",
        message="Node node-1 cannot create the pod's sandbox: " + NO_NETWORK % "…",
    ),
    case(
        "a node that makes no sandboxes, for too long: not the job type's fault",
        given(
            run("Starting"),
            LATE,
            pod("Pending"),
            warning("FailedCreatePodSandBox", NO_NETWORK % "x"),
        ),
        DELETE_POD,
        failure__class="unschedulable",
    ),
    case(
        "sandbox and volumes are there after all: their warnings of before are none",
        given(
            run("Starting"),
            NEW,
            pod("Pending", prepared=True),
            warning("FailedCreatePodSandBox", NO_HANDLER),
            warning("FailedMount", "x"),
        ),
        phase=NO_WRITE,
        again=10,
    ),
    case(
        "it has its node and its pod after all: the same",
        given(
            run("Starting"),
            NEW,
            pod("Pending"),
            warning("FailedScheduling", "0/1 nodes are available"),
            warning("FailedCreate", "exceeded quota"),
        ),
        phase=NO_WRITE,
    ),
    case(
        "pods refused by a policy, then by quota: the last word",
        given(
            run("Starting"),
            job(created=ago(20), active=0),
            None,
            warning("FailedCreate", "exceeded quota: pods", ago(2)),
            warning("FailedCreate", "violates PodSecurity", ago(9)),
        ),
        reason="PodRefused",
        message="No pod can be created: exceeded quota: pods",
    ),
    case(
        "something else that Kubernetes warns of: its last words",
        given(
            run("Starting"),
            NEW,
            pod("Pending"),
            warning("FailedPostStartHook", "older", ago(9)),
            warning("TaintManagerEviction", "Marking for deletion", ago(2)),
        ),
        phase="Starting",
        reason="Starting",
        message="The pod is starting; last warning from Kubernetes: TaintManagerEviction: Marking"
        " for deletion",
    ),
    case(
        "something else about a Job without a pod",
        given(
            run("Starting"),
            job(created=ago(20), active=0),
            None,
            warning("PodDisruption", "words"),
        ),
        message="Job hello-11111111-1 has no pod yet; last warning from Kubernetes: PodDisruption:"
        " words",
    ),
    case(
        "the kubelet refuses the pod: at once, with its words",
        given(
            run("Starting"),
            job(),
            pod(
                "Failed",
                reason="OutOfcpu",
                message="Pod was rejected: node lacks cpu",
                agent=Container(),
                gate=Container(),
            ),
        ),
        phase="Failed",
        failure__class="unschedulable",
        failure__message="Node node-1 refused the pod (OutOfcpu): Pod was rejected: node lacks cpu",
        failure__retryable=True,
    ),
)
def test_what_keeps_a_pod_from_starting_has_a_name(c: Case) -> None:
    check(c)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Cancelled", "Rejected"])
@pytest.mark.parametrize("held", [False, True])
def test_finished_is_left_alone_but_for_a_held_pod(phase: str, held: bool) -> None:
    snapshot = given(run(phase, cancel=by()), done_job(), pod("Failed", held=held, deleting=True))
    assert plan(snapshot, NOON) == (Decision(actions=(RELEASE,)) if held else NOTHING)


def test_an_end_says_what_has_no_price() -> None:
    unpriced = {"unpriced": "service tier 'scale' of model 'gpt-5.5'"}
    gate = ended(0, report=gate_report(**unpriced))
    end = given(run("Running"), done_job(), pod("Succeeded", gate=gate))
    status = plan(end, NOON).status
    assert status is not None
    assert (status.phase, status.failure) == ("Succeeded", None)
    assert "the cost is unknown" in (status.message or "")
    assert unpriced["unpriced"] in (status.message or "")


def test_a_whole_life_needs_three_writes() -> None:
    """Starting, Running, Succeeded: a successful run's share of the API budget."""
    snapshot = replace(READY, admitted=True)
    writes = []
    course: Iterable[tuple[Job | None, Pod | None]] = [
        (None, None),
        (job(created=NOON, active=0), None),
        (job(created=NOON), pod("Pending", node="", agent=Container(), gate=Container())),
        (job(created=NOON), pod("Pending")),
        (job(created=NOON), pod("Pending", gate=running())),
        (job(created=NOON), pod()),
        (job(created=NOON), pod(agent=ended(0, report=agent_report()))),
        (job(created=NOON), pod(agent=ended(0, report=agent_report()), gate=GATE_ENDED)),
        (job(created=NOON, complete=True, finished=True), pod("Succeeded")),
    ]
    for has_job, has_pod in course:
        snapshot = Snapshot(
            run=snapshot.run,
            job_type=snapshot.job_type,
            prompt=snapshot.prompt,
            admitted=True,
            job=has_job,
            pod=has_pod,
        )
        decision = plan(snapshot, NOON)
        if decision.status and not same_content(snapshot.run.status, decision.status):
            writes.append(decision.status.phase)
            snapshot = replace(
                snapshot, run=snapshot.run.model_copy(update={"status": decision.status})
            )
    assert writes == ["Starting", "Running", "Succeeded"]


# -- properties ----------------------------------------------------------------------------------

words = st.sampled_from(
    [
        "",
        "Evicted",
        "DeadlineExceeded",
        "OOMKilled",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "BackoffLimitExceeded",
    ]
)
reports = st.sampled_from(
    [
        {},
        agent_report(),
        signalled(),
        agent_report(state="running"),
        agent_report(stopped="signal"),
        gate_report(),
        no_gate(),
        {"src": "runner", "failure": 3},
    ]
)
containers = st.builds(
    Container,
    state=st.sampled_from(["absent", "waiting", "running", "terminated"]),
    reason=words,
    exit_code=st.sampled_from([None, 0, 1, 137, 143]),
    started_at=st.sampled_from([None, ago(60)]),
    finished_at=st.sampled_from([None, ago(5)]),
    report=reports,
    restarts=st.integers(0, 1),
)
foreign = st.dictionaries(st.just("mesh"), containers)
pods = st.builds(
    Pod,
    name=st.just("hello-11111111-1-abcde"),
    uid=st.just("pod-1"),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    reason=words,
    node=st.sampled_from(["", "node-1"]),
    deleting=st.booleans(),
    stopped=st.booleans(),
    held=st.booleans(),
    disruption=st.sampled_from(["", "DeletionByTaintManager", "EvictionByEvictionAPI"]),
    unschedulable=st.sampled_from(["", TOO_LARGE, TOO_FULL]),
    gone=st.booleans(),
    agent=containers,
    gate=containers,
    clone=containers,
    prepared=st.booleans(),
    foreign=foreign,
    foreign_init=foreign,
)
jobs = st.builds(
    job,
    created=st.sampled_from([ago(1), ago(20), ago(900)]),
    started=st.sampled_from([None, ago(1), ago(900)]),
    deadline=st.sampled_from([None, ago(1), NOON + timedelta(hours=1)]),
    suspended=st.booleans(),
    suspension_seen=st.booleans(),
    resumed=st.booleans(),
    active=st.integers(0, 1),
    terminating=st.integers(0, 1),
    counted=st.booleans(),
    failed=words,
    finished=st.booleans(),
    deleting=st.booleans(),
)
reasons = st.sampled_from(
    [
        "CancelRequested",
        "PodDeleted",
        "Completed",
        "AgentEnded",
        "Evicted",
        "Image",
        "Starting",
        "Cloning",
        "JobSuspended",
    ]
)
runs = st.builds(
    run,
    st.sampled_from(list(Phase)),
    reason=reasons,
    age=st.sampled_from([0, 2, 30, 90]),
    recorded=st.booleans(),
    deleting=st.booleans(),
    cancel=st.sampled_from([None, by()]),
    inputs=st.sampled_from([{"name": "x"}, {}]),
    whenFull=st.sampled_from(["Queue", "Reject"]),
)
anything = st.builds(
    Snapshot,
    run=runs,
    job_type=st.sampled_from([None, kind(), kind(suspended=True)]),
    prompt=st.sampled_from([None, prompt()]),
    admitted=st.booleans(),
    creating=st.booleans(),
    unreadable=st.sampled_from(["", "x"]),
    missing_for=st.sampled_from([timedelta(), timedelta(seconds=20), timedelta(days=1)]),
    blocked=st.sampled_from([None, HELD]),
    waits=st.booleans(),
    job=st.none() | jobs,
    pod=st.none() | pods,
    absence_proven=st.booleans(),
    witnessed=st.booleans(),
    warnings=st.sampled_from(
        [
            (),
            (warning("FailedCreate", "quota"),),
            (warning("FailedMount", "x"),),
            (warning("FailedCreatePodSandBox", "x"), warning("Else", "y", ago(3))),
        ]
    ),
)
# 1200 in `make faults`.
moderate = settings(
    max_examples=4 * int(os.environ.get("CODEXRUN_EXAMPLES") or 50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@moderate
@forall(anything)
def test_plan_never_raises_and_never_goes_back(snapshot: Snapshot) -> None:
    decision = plan(snapshot, NOON)
    if decision.status is None:
        return
    old = snapshot.run.status
    new = decision.status
    assert new.phase.rank >= old.phase.rank
    assert not old.phase.terminal
    assert new.phase.terminal is (new.finished_at is not None) or new.phase is Phase.STOPPING
    if new.phase is Phase.FAILED:
        assert new.failure is not None
    else:
        assert new.failure is None or new.phase is Phase.STOPPING


@moderate
@forall(anything)
def test_a_job_is_created_only_where_nothing_ever_was(snapshot: Snapshot) -> None:
    decision = plan(snapshot, NOON)
    if any(isinstance(action, CreateJob) for action in decision.actions):
        assert snapshot.job is None
        assert snapshot.pod is None
        assert not snapshot.creating
        assert not snapshot.witnessed
        assert snapshot.run.status.attempt is None
        assert snapshot.run.spec.cancel is None
        assert snapshot.admitted
        assert wants_slot(snapshot)


@moderate
@forall(
    anything,
    st.builds(
        run,
        st.sampled_from(["Pending", "Queued", "Starting", "Running"]),
        cancel=st.sampled_from([None, by()]),
    ),
    jobs,
    st.none() | pods,
)
def test_a_suspended_job_that_had_its_pod_is_never_waited_for(
    snapshot: Snapshot, live: CodexRun, job: Job, pod: Pod | None
) -> None:
    """Resumed, it would start a second agent."""
    assume(pod is not None or job.had_pod)
    snapshot = replace(snapshot, run=live, pod=pod, creating=False, absence_proven=True)
    suspended = replace(job, suspended=True, finished=False)
    status = plan(replace(snapshot, job=suspended), NOON).status
    assert status is not None
    assert status.phase is Phase.STOPPING or status.phase.terminal


@moderate
@forall(anything)
def test_nothing_is_concluded_from_what_is_only_unknown(snapshot: Snapshot) -> None:
    proven = plan(replace(snapshot, absence_proven=True), NOON)
    decision = plan(replace(snapshot, absence_proven=False), NOON)
    assert proven != READ_LIVE
    assert decision in (READ_LIVE, proven)
    if decision.status is not None and decision.status.phase.terminal and snapshot.begun:
        assert snapshot.job is not None
        assert snapshot.pod is not None
    if any(isinstance(action, SuspendJob) for action in decision.actions):
        assert snapshot.pod is not None


UNKNOWN = [
    ("the Job is done, and its pod is not known", given(run("Running"), done_job())),
    ("neither Job nor pod are known", given(run("Running"))),
    ("the pod is known, and its Job is not", given(run("Running"), None, pod())),
    ("the Job was seen going", given(run("Running"), witnessed=True)),
    ("the Job is gone at the end of a stop", given(run("Stopping", reason="JobDeleted"))),
    (
        "the Job says that nothing runs, and its pod was never seen",
        given(run("Stopping", reason="CancelRequested"), gone_by_suspension()),
    ),
    (
        "a cancel, and no pod is known that evidence could be held of",
        given(run("Starting", cancel=by()), job()),
    ),
    (
        "a stop that goes on, and still no pod is known",
        given(run("Stopping", reason="CancelRequested"), job()),
    ),
    (
        "the Job is done, and its pod is known to run",
        given(run("Running"), done_job(), pod()),
    ),
    (
        "the Job says that nothing runs, and the pod of a stop is known to run",
        given(
            run("Stopping", reason="CancelRequested"),
            done_job(),
            pod(),
        ),
    ),
]


@pytest.mark.parametrize(
    "snapshot", [snapshot for _, snapshot in UNKNOWN], ids=[name for name, _ in UNKNOWN]
)
def test_absence_is_read_live_before_anything_follows_from_it(snapshot: Snapshot) -> None:
    assert plan(replace(snapshot, absence_proven=False), NOON) == READ_LIVE
    assert plan(snapshot, NOON) != READ_LIVE


def test_a_stop_that_waits_for_its_pod_asks_nobody_while_it_waits() -> None:
    """It may take as long as a lost node is lost."""
    waits = given(run("Stopping", reason="NodeLost"), None, pod(deleting=True))
    assert not plan(replace(waits, absence_proven=False), NOON).read_live


@moderate
@forall(anything)
def test_the_same_sight_again_is_written_once(snapshot: Snapshot) -> None:
    assume(not any(isinstance(action, CreateJob) for action in plan(snapshot, NOON).actions))
    statuses = [snapshot.run.status]
    for _ in range(6):
        decision = plan(snapshot, NOON)
        if decision.status is None or same_content(snapshot.run.status, decision.status):
            break
        statuses.append(decision.status)
        snapshot = replace(
            snapshot, run=snapshot.run.model_copy(update={"status": decision.status})
        )
    else:
        pytest.fail(f"never settles: {[(s.phase, s.reason) for s in statuses]}")


@moderate
@forall(anything)
def test_evidence_goes_only_when_written(snapshot: Snapshot) -> None:
    pod = snapshot.pod
    for action in plan(snapshot, NOON).actions:
        if isinstance(action, ReleaseEvidence | DeletePod):
            assert pod is not None
            status = snapshot.run.status
            assert (
                status.finished_at is not None
                or status.phase.terminal
                or snapshot.run.metadata.deletion_timestamp
                or not (pod.agent.started or pod.ended)
                or not pod.node
            )


@moderate
@forall(anything)
def test_a_stopped_pod_is_never_a_timeout(snapshot: Snapshot) -> None:
    """The kubelet calls its end DeadlineExceeded, whoever lowered the deadline."""
    assume(snapshot.pod is not None)
    assert snapshot.pod is not None
    containers = {"agent": ended(143, report=signalled()), "gate": GATE_ENDED}
    pod = replace(
        snapshot.pod,
        phase="Failed",
        reason="DeadlineExceeded",
        stopped=True,
        deleting=False,
        gone=False,
        **containers,
    )
    job = replace(snapshot.job, deadline=None, failed="") if snapshot.job else None
    status = plan(replace(snapshot, pod=pod, job=job), NOON).status
    if status is not None and status.failure is not None and snapshot.run.status.failure is None:
        assert status.failure.class_ != "timeout"
