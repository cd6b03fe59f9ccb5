"""One look at one object, with an apiserver that loses answers, refuses, and was faster."""

import copy
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from builders import (
    NOON,
    SHA,
    UID,
    agent_report,
    by,
    gate_report,
    kind_json,
    prompt_json,
    run_json,
    stamp,
)
from fake_kube import FakeKube

from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.kube.client import object_path
from codexrun_core.prices.table import Prices, built_in
from codexrun_core.runs.label_keys import (
    ATTEMPT_LABEL,
    EVIDENCE_FINALIZER,
    JOB_TYPE_LABEL,
    RUN_NAME_LABEL,
    RUN_UID_LABEL,
)
from codexrun_operator.act.actions import carry_out, create_job
from codexrun_operator.act.job_creation import PATIENT_CHECKS
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.decide.observed import STOP_DEADLINE_SECONDS
from codexrun_operator.decide.plan import DeleteJob, DeletePod, ReleaseEvidence, StopPod, SuspendJob
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.keys import Key, Kind, run_key
from codexrun_operator.watch.resync import Resync

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
OTHER = "99999999-2222-4333-8444-555555555555"
POD = "hello-11111111-1-abcde"


class Operator:
    """A Reconciler whose timers are only noted."""

    def __init__(self, kube: FakeKube | None = None) -> None:
        self.kube = kube or FakeKube()
        self.reconciler = Reconciler(self.kube, PODS, workers=1)
        self.cache = self.reconciler.cache
        self.later: dict[str, float] = {}
        self.reconciler.queue.add_later = self.later.__setitem__  # type: ignore[method-assign]
        self.cache.update_prompt(prompt_json())
        self.cache.update_job_type(self.kube.put("codexjobtypes", kind_json()))

    def apply(self, item: Json) -> None:
        self.cache.update_run(self.kube.put("codexruns", item))

    async def look(self, key: Key | str = UID) -> None:
        await self.reconciler.reconcile(run_key(key) if isinstance(key, str) else key)

    def stored(self, name: str = "hello") -> Json:
        status: Json = self.kube.objects[self.kube.path_of("codexruns", name)]["status"]
        return status

    @property
    def job(self) -> Json:
        (job,) = [
            item for path, item in self.kube.objects.items() if path.startswith(self.kube.jobs)
        ]
        return job

    @property
    def held(self) -> int:
        return len(self.cache.ledger.holders["hello"])


@pytest.fixture
async def operator() -> Operator:
    return Operator()


async def test_a_run_gets_its_job_and_one_status_write(operator: Operator) -> None:
    operator.apply(run_json())
    await operator.look()
    assert [(verb, path.rpartition("/")[2]) for verb, path, _ in operator.kube.calls] == [
        ("create", "jobs"),
        ("replace", "status"),
    ]
    assert operator.stored()["phase"] == "Starting"
    assert (operator.held, operator.cache.ledger.creations[UID].confirmed) == (1, True)
    operator.cache.update_job(operator.job)
    assert (operator.held, operator.cache.ledger.creations) == (1, {})


@pytest.mark.parametrize("arrived", [False, True], ids=["request lost", "response lost"])
async def test_a_lost_creation_is_sent_again_and_holds_one_slot_meanwhile(
    operator: Operator, arrived: bool
) -> None:
    operator.apply(run_json())
    operator.kube.fail("create", "/jobs", Unavailable("timeout"), after=arrived)
    with pytest.raises(Unavailable):
        await operator.look()
    assert (operator.held, operator.cache.ledger.creations[UID].confirmed) == (1, False)
    await operator.look()
    assert (operator.held, operator.cache.ledger.creations[UID].confirmed) == (1, True)
    assert len({body["metadata"]["name"] for body in operator.kube.writes("create", "/jobs")}) == 1
    operator.cache.update_job(operator.job)
    await operator.look()
    assert operator.stored()["attempt"] == 1
    assert operator.held == 1


@pytest.mark.parametrize("arrived", [False, True], ids=["request lost", "response lost"])
@pytest.mark.parametrize("what", ["suspended", "deleted"])
async def test_a_lost_creation_is_not_sent_again_when_its_job_type_starts_nothing_any_more(
    operator: Operator, arrived: bool, what: str
) -> None:
    operator.apply(run_json())
    operator.kube.fail("create", "/jobs", Unavailable("timeout"), after=arrived)
    with pytest.raises(Unavailable):
        await operator.look()
    sent = len(operator.kube.writes("create", "/jobs"))
    if what == "suspended":
        operator.cache.update_job_type(kind_json(version=9, generation=2, suspended=True))
    else:
        operator.cache.update_job_type(kind_json(version=9), gone=True)
    await operator.look()
    assert len(operator.kube.writes("create", "/jobs")) == sent
    assert operator.held == (1 if arrived else 0)
    if arrived:
        assert operator.cache.jobs[UID].name == "hello-11111111-1"
    elif what == "suspended":
        assert (operator.stored()["phase"], operator.stored()["reason"]) == ("Queued", "Suspended")


async def test_the_limit_counts_what_is_only_on_its_way(operator: Operator) -> None:
    operator.apply(run_json(age=20))
    operator.apply(run_json(uid=OTHER, name="second", age=10))
    operator.kube.fail("create", "/jobs", Unavailable("timeout"))
    with pytest.raises(Unavailable):
        await operator.look()
    await operator.look(OTHER)
    assert operator.stored("second")["reason"] == "ConcurrencyLimit"
    assert operator.held == 1


async def test_a_refusal_of_what_was_sent_again_gives_the_slot_back(operator: Operator) -> None:
    operator.apply(run_json())
    operator.kube.fail("create", "/jobs", Unavailable("timeout"))
    with pytest.raises(Unavailable):
        await operator.look()
    operator.kube.fail("create", "/jobs", Refused(403, "Forbidden", "exceeded quota: q"))
    await operator.look()
    assert (operator.held, operator.cache.ledger.creations) == (0, {})
    assert (operator.stored()["phase"], operator.stored()["reason"]) == ("Queued", "JobTypeHeld")


async def test_a_refusal_of_what_was_made_before_is_no_refusal(operator: Operator) -> None:
    """The answer to the first creation was lost; the second is over the quota, as the first
    counts."""
    operator.apply(run_json())
    operator.kube.fail("create", "/jobs", Unavailable("timeout"), after=True)
    with pytest.raises(Unavailable):
        await operator.look()
    operator.kube.fail("create", "/jobs", Refused(403, "Forbidden", "exceeded quota: q"))
    await operator.look()
    assert (operator.held, operator.cache.jobs[UID].name) == (1, "hello-11111111-1")
    assert operator.cache.scheduler.holds.of("hello") is None
    await operator.look()
    assert (operator.held, operator.stored()["phase"]) == (1, "Starting")


async def test_somebody_was_faster_read_again(operator: Operator) -> None:
    operator.apply(run_json())
    changed = run_json(version=8, cancel=by("ana"))
    operator.kube.put("codexruns", changed)
    operator.kube.fail("create", "/jobs", Refused(422, "Invalid", "no"))
    await operator.look()
    await operator.look()
    assert operator.stored()["phase"] == "Pending"
    assert operator.cache.runs[UID].spec.cancel is not None
    await operator.look()
    assert operator.stored()["phase"] == "Cancelled"


async def test_a_conflict_that_reading_again_does_not_explain_is_tried_later(
    operator: Operator,
) -> None:
    """etcd was restored, and no list has told yet: the run is older than it is known."""
    operator.apply(run_json(version=90))
    older = run_json(version=40)
    operator.kube.put("codexruns", older)
    while operator.reconciler.queue.take() is not None:
        pass
    await operator.look()
    assert operator.reconciler.queue.depth == 0
    assert 0 < operator.later[run_key(UID)] <= 5


async def test_deleted_meanwhile_is_forgotten_and_its_slot_watched_until_the_job_is_gone(
    operator: Operator,
) -> None:
    operator.apply(run_json())
    del operator.kube.objects[operator.kube.path_of("codexruns", "hello")]
    await operator.look()
    assert operator.cache.runs == {}
    assert operator.held == 1
    await operator.look()
    assert operator.held == 1
    del operator.kube.objects[operator.kube.path_of("jobs", operator.job["metadata"]["name"])]
    await operator.look()
    assert (operator.held, operator.cache.ledger.creations) == (0, {})


async def test_another_run_of_the_name_is_another_run(operator: Operator) -> None:
    operator.apply(run_json(inputs={}))
    operator.kube.put("codexruns", run_json(uid=OTHER, version=9))
    await operator.look()
    assert operator.cache.runs.keys() == {OTHER}


async def test_a_job_that_never_shows_is_looked_for(operator: Operator) -> None:
    """Made, and deleted by hand while its watch was broken: the list after it knows nothing of
    it."""
    operator.apply(run_json())
    await operator.look()
    name = operator.job["metadata"]["name"]
    for _ in range(PATIENT_CHECKS - 1):
        await operator.look()
    assert operator.held == 1
    assert not any(name in read for read in operator.kube.reads)
    del operator.kube.objects[operator.kube.path_of("jobs", name)]
    await operator.look()
    assert (operator.held, operator.stored()["phase"], operator.stored()["reason"]) == (
        0,
        "Cancelled",
        "JobDeleted",
    )
    assert len(operator.kube.writes("create", "/jobs")) == 1


# -- what others do to a run's Job ---------------------------------------------------------------


def copied(job: Json, name: str, **metadata: Any) -> Json:
    """What `kubectl get job -o yaml | sed | kubectl create -f -` makes of it."""
    copy_ = copy.deepcopy(job)
    copy_["metadata"] |= {"name": name, "uid": "copy", "resourceVersion": "950", **metadata}
    return copy_


@pytest.mark.parametrize("owned", [True, False], ids=["with its owner", "without"])
@pytest.mark.parametrize("end", ["deleted", "finished"])
async def test_a_copy_of_the_job_says_nothing_of_the_run(
    operator: Operator, owned: bool, end: str
) -> None:
    job = await started(operator)
    operator.cache.update_pod(pod_of(job))
    copy_ = copied(job, "mine", **({} if owned else {"ownerReferences": []}))
    theirs = pod_of(copy_, "Failed")
    theirs["metadata"]["uid"] = "pod-of-copy"
    for update, item in ((operator.cache.update_job, copy_), (operator.cache.update_pod, theirs)):
        update(item)
    if end == "deleted":
        operator.cache.update_job(copied(copy_, "mine"), gone=True)
        operator.cache.update_pod(theirs, gone=True)
    else:
        operator.cache.update_job(told(copy_, 951, **COMPLETE))
    await operator.look()
    assert operator.stored()["phase"] == "Running"
    assert (operator.held, operator.cache.jobs[UID].uid) == (1, job["metadata"]["uid"])
    assert operator.cache.orphans == {}
    assert not operator.kube.writes("delete", "/")


async def test_a_job_whose_labels_were_taken_away_is_found_by_its_name_and_followed(
    operator: Operator,
) -> None:
    """By a mutating webhook: no watch ever shows it."""
    operator.apply(run_json())
    await operator.look()
    operator.job["metadata"]["labels"] = {"theirs": "x"}
    for _ in range(PATIENT_CHECKS):
        await operator.look()
    assert (operator.held, operator.cache.jobs[UID].name) == (1, operator.job["metadata"]["name"])
    operator.job["status"] = COMPLETE
    operator.job["metadata"]["resourceVersion"] = "980"
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Failed", 0)
    assert operator.cache.ledger.creations == {}


@pytest.mark.parametrize("since", ["a list that lacks it", "another operator"])
@pytest.mark.parametrize("end", ["deleted", "finished"])
async def test_a_job_that_no_list_shows_is_not_lost(
    operator: Operator, since: str, end: str
) -> None:
    """Its labels were taken away, and those of its pod were not."""
    job = await started(operator)
    pod = pod_of(job)
    operator.kube.put("pods", pod)
    operator.cache.update_pod(pod)
    await operator.look()
    job["metadata"]["labels"] = {"theirs": "x"}
    if since == "another operator":
        kube = operator.kube
        operator = Operator(kube)
        operator.cache.update_run(kube.objects[kube.path_of("codexruns", "hello")])
        operator.cache.update_pod(pod)
    else:
        operator.cache.replace_jobs([], 2000)
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Running", 1)
    assert operator.cache.jobs[UID].uid == job["metadata"]["uid"]
    if end == "deleted":
        del operator.kube.objects[operator.kube.path_of("jobs", job["metadata"]["name"])]
        del operator.kube.objects[operator.kube.path_of("pods", pod["metadata"]["name"])]
        operator.cache.update_pod(pod, gone=True)
    else:
        job |= {"status": COMPLETE}
        job["metadata"]["resourceVersion"] = "980"
        ended = pod_of(job, "Succeeded", agent=agent_report(), gate=gate_report())
        ended["metadata"] = pod["metadata"] | {"resourceVersion": "981"}
        operator.cache.update_pod(ended)
    for _ in range(2 * PATIENT_CHECKS):
        await operator.look()
    phase = {"deleted": "Cancelled", "finished": "Succeeded"}[end]
    assert (operator.stored()["phase"], operator.held) == (phase, 0)
    assert operator.cache.ledger.creations == {}


async def test_a_job_is_no_stray_while_its_controller_has_not_counted_its_ended_pod(
    operator: Operator,
) -> None:
    """Thousands of runs keep the Job controller busy for minutes after a run is over."""
    job = await started(operator)
    operator.cache.runs_listed = True
    pod = operator.kube.put("pods", pod_of(job))
    operator.cache.update_pod(pod)
    await operator.look()
    ended = pod_of(job, "Succeeded", agent=agent_report(), gate=gate_report())
    for version in ("981", "982"):  # the second without the controller's finalizer
        ended["metadata"] = pod["metadata"] | {"resourceVersion": version}
        operator.cache.update_pod(copy.deepcopy(ended))
        await operator.look()
    assert operator.stored()["phase"] == "Succeeded"
    operator.cache.drop_ended()
    assert operator.cache.stray(UID) is None
    job |= {"status": COMPLETE}
    job["metadata"]["resourceVersion"] = "983"
    operator.cache.update_job(job)
    assert (operator.cache.jobs, operator.cache.pods) == ({}, {}), "nothing is kept"


@pytest.mark.parametrize("job_known", [True, False])
async def test_a_pod_that_has_lost_its_run_s_name_is_counted_and_ended_by_its_job_s_word_alone(
    operator: Operator, job_known: bool
) -> None:
    job = await started(operator)
    if not job_known:
        operator.cache.update_job(told(job, 950), gone=True)
    pod = edited(pod_of(job), 960, RUN_NAME_LABEL, None)
    operator.cache.update_pod(operator.kube.put("pods", pod))
    assert (operator.cache.pods[UID].uid, operator.held) == ("pod-1", 1)
    operator.cache.runs.forget(UID, 5)  # the watch of runs is behind
    assert operator.cache.stray(UID) == ("hello" if job_known else None)
    await operator.look(Key(Kind.STRAY, UID))
    assert not operator.kube.writes("delete", "/")


LABELS = (RUN_NAME_LABEL, RUN_UID_LABEL, JOB_TYPE_LABEL, ATTEMPT_LABEL)


def edited(item: Json, version: int, label: str, value: str | None) -> Json:
    """The object with one label changed, or taken away."""
    changed = copy.deepcopy(item)
    changed["metadata"]["resourceVersion"] = str(version)
    changed["metadata"]["labels"].pop(label, None)
    if value is not None:
        changed["metadata"]["labels"][label] = value
    return changed


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("value", [None, "other", OTHER])
async def test_a_job_and_pod_that_are_known_stay_the_run_s_whoever_edits_their_labels(
    operator: Operator, label: str, value: str | None
) -> None:
    job = await started(operator)
    pod = pod_of(job)
    operator.cache.update_pod(pod)
    job = edited(job, 960, label, value)
    pod = edited(pod, 961, label, value)
    operator.cache.update_job(job)
    operator.cache.update_pod(pod)
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Running", 1)
    ended = pod_of(job, "Succeeded", agent=agent_report(), gate=gate_report())
    ended["metadata"] = pod["metadata"] | {"resourceVersion": "970"}
    operator.cache.update_pod(ended)
    operator.cache.update_job(told(job, 971, **COMPLETE))
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Succeeded", 0)
    operator.cache.update_job(told(job, 980, **COMPLETE), gone=True)
    operator.cache.update_pod(ended, gone=True)
    await operator.look()
    assert (operator.cache.jobs, operator.cache.pods) == ({}, {})
    assert not operator.cache.all_jobs
    assert not operator.cache.all_pods


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("value", [None, "other", OTHER])
async def test_the_end_of_a_job_and_pod_with_edited_labels_is_heard(
    operator: Operator, label: str, value: str | None
) -> None:
    job = await started(operator)
    pod = pod_of(job)
    operator.cache.update_pod(pod)
    operator.cache.update_job(edited(job, 960, label, value), gone=True)
    operator.cache.update_pod(edited(pod, 961, label, value), gone=True)
    del operator.kube.objects[operator.kube.path_of("jobs", job["metadata"]["name"])]
    await operator.look()
    assert operator.held == 0
    assert operator.cache.jobs == {}


def unlabelled(pod: Json, version: int, phase: str = "Running", **reports: Json) -> Json:
    """The pod without any label; to the watch it is deleted."""
    name = pod["metadata"]["name"].rpartition("-")[0]
    job = {"metadata": {"name": name, "uid": "", "labels": {}}}
    status = pod_of(job, phase, **reports)["status"]
    metadata = {**pod["metadata"], "labels": {}, "resourceVersion": str(version)}
    return {**pod, "metadata": metadata, "status": status}


@pytest.mark.parametrize("told_by", ["an event", "a list"])
@pytest.mark.parametrize("end", ["by itself", "deleted", "cancelled"])
async def test_a_pod_whose_labels_were_taken_away_is_there_until_a_get_says_no(
    operator: Operator, told_by: str, end: str
) -> None:
    job = await started(operator)
    pod = operator.kube.put("pods", pod_of(job))
    operator.cache.update_pod(pod)
    await operator.look()
    operator.kube.put("pods", unlabelled(pod, 950))
    if told_by == "an event":
        operator.cache.update_pod(edited(pod, 950, "any", None), gone=True)
    else:
        operator.cache.replace_pods([], 960)
    operator.kube.fail("get", "/pods/", Unavailable("away"))
    with pytest.raises(Unavailable):
        await operator.look()
    for _ in range(3):
        await operator.look()
        assert (operator.stored()["phase"], operator.held) == ("Running", 1)
        assert 0 < operator.later[run_key(UID)] <= 10
    path = operator.kube.path_of("pods", pod["metadata"]["name"])
    if end == "by itself":
        reports = {"agent": agent_report(), "gate": gate_report()}
        operator.kube.put("pods", unlabelled(pod, 970, "Succeeded", **reports))
    elif end == "deleted":
        del operator.kube.objects[path]
    else:
        live = operator.kube.objects[operator.kube.path_of("codexruns", "hello")]
        live["spec"]["cancel"] = by()
        live["metadata"]["resourceVersion"] = "9900"
        operator.apply(live)
        await operator.look()
        assert is_stopped(operator.kube.objects[path])
    await operator.look()
    phases = {"by itself": "Succeeded", "deleted": "Stopping", "cancelled": "Stopping"}
    assert operator.stored()["phase"] == phases[end]
    assert operator.held == 1  # until its Job says that it is over


async def test_a_pod_that_no_list_shows_is_found_by_another_operator(operator: Operator) -> None:
    job = await started(operator)
    pod = operator.kube.put("pods", pod_of(job))
    operator.cache.update_pod(pod)
    await operator.look()
    operator.kube.put("pods", unlabelled(pod, 950))
    kube = operator.kube
    operator = Operator(kube)
    operator.cache.update_run(kube.objects[kube.path_of("codexruns", "hello")])
    operator.cache.update_job(told(job, 980, **COMPLETE))
    await operator.look()
    assert operator.cache.pods[UID].uid == pod["metadata"]["uid"]
    assert operator.stored()["phase"] == "Running"
    reports = {"agent": agent_report(), "gate": gate_report()}
    kube.put("pods", unlabelled(pod, 990, "Succeeded", **reports))
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Succeeded", 0)
    assert operator.stored()["usage"]["totalTokens"] == 110


async def test_a_deletion_that_is_told_again_is_nothing_new(operator: Operator) -> None:
    job = await started(operator)
    pod = pod_of(job)
    operator.cache.update_pod(pod)
    for _ in range(2):
        operator.cache.update_pod(edited(pod, 950, "any", None), gone=True)
        await operator.look()
        assert operator.stored()["reason"] == "PodDeleted"
        assert operator.cache.unwatched == {}


async def test_another_pod_of_the_name_is_another_pod(operator: Operator) -> None:
    job = await started(operator)
    pod = operator.kube.put("pods", pod_of(job))
    operator.cache.update_pod(pod)
    await operator.look()
    again = unlabelled(pod, 950)
    again["metadata"]["uid"] = "pod-2"
    operator.kube.put("pods", again)
    operator.cache.update_pod(edited(pod, 950, "any", None), gone=True)
    await operator.look()
    assert operator.stored()["reason"] == "PodDeleted"


@pytest.mark.parametrize("label", [RUN_NAME_LABEL, RUN_UID_LABEL])
@pytest.mark.parametrize("value", [None, "other"])
async def test_a_job_is_its_controller_s_at_first_sight(
    operator: Operator, label: str, value: str | None
) -> None:
    operator.apply(run_json())
    await operator.look()
    operator.cache.update_job(edited(operator.job, 960, label, value))
    assert (operator.cache.jobs[UID].run, operator.cache.jobs[UID].run_uid) == ("hello", UID)
    assert operator.held == 1


@pytest.mark.parametrize("labels", [None, {"theirs": "x"}], ids=["late", "never shown"])
async def test_nothing_stands_before_a_cancel(operator: Operator, labels: Json | None) -> None:
    """The watch has not shown the Job, whatever the cause."""
    operator.apply(run_json())
    await operator.look()
    if labels:
        operator.job["metadata"]["labels"] = labels
    operator.apply(run_json("Starting", version=990, cancel=by()) | {"status": operator.stored()})
    await operator.look()
    assert (operator.stored()["phase"], operator.stored()["reason"]) == (
        "Stopping",
        "CancelRequested",
    )
    assert operator.job["spec"]["suspend"] is True


SUSPENDED = {"conditions": [{"type": "Suspended", "status": "True"}], "terminating": 0}


async def test_a_job_that_is_created_suspended_waits_with_its_slot_for_who_resumes_it(
    operator: Operator,
) -> None:
    """By a webhook of Kueue, for one: nobody has stopped it."""
    operator.apply(run_json())
    await operator.look()
    suspended_job = told(operator.job, 900, **SUSPENDED)
    suspended_job["spec"]["suspend"] = True
    suspended_job["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    operator.cache.update_job(suspended_job)
    for _ in range(3):
        await operator.look()
        assert (operator.stored()["phase"], operator.held) == ("Starting", 1)
    assert operator.stored()["reason"] == "JobSuspended"
    resumed = told(suspended_job, 910, startTime=stamp(datetime.now(UTC)))
    resumed["spec"]["suspend"] = False
    operator.cache.update_job(resumed)
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Starting", 1)
    suspended = told(resumed, 920, startTime=stamp(datetime.now(UTC)), **SUSPENDED)
    suspended["spec"]["suspend"] = True
    operator.cache.update_job(suspended)
    await operator.look()
    assert (operator.stored()["phase"], operator.stored()["reason"]) == ("Stopping", "Evicted")


async def test_a_job_that_waits_for_who_resumes_it_can_be_cancelled(operator: Operator) -> None:
    operator.apply(run_json())
    await operator.look()
    suspended_job = told(operator.job, 900, **SUSPENDED)
    suspended_job["spec"]["suspend"] = True
    operator.kube.put("jobs", suspended_job)
    operator.cache.update_job(suspended_job)
    operator.kube.version = 990
    operator.apply(run_json("Starting", version=990, cancel=by()) | {"status": operator.stored()})
    for _ in range(3):
        await operator.look()
    assert operator.stored()["phase"] == "Cancelled"
    assert operator.kube.items(operator.kube.jobs) == []
    operator.cache.update_job(suspended_job, gone=True)
    await operator.look()
    assert operator.held == 0


# -- a watch that is behind ----------------------------------------------------------------------


def told(item: Json, version: int, **status: Any) -> Json:
    """Another state of a Job or pod."""
    changed = copy.deepcopy(item)
    changed["metadata"]["resourceVersion"] = str(version)
    changed["status"] = status
    return changed


def pod_of(job: Json, phase: str = "Running", **reports: Json) -> Json:
    """The pod of a Job, with its containers' reports where it has ended."""
    name = job["metadata"]["name"]
    metadata = {
        "name": f"{name}-abcde",
        "uid": "pod-1",
        "resourceVersion": "900",
        "labels": job["metadata"]["labels"],
        "ownerReferences": [
            {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
        ],
    }

    def state(report: Json | None) -> Json:
        when = {"startedAt": stamp(NOON), "finishedAt": stamp(NOON)}
        if report is None:
            return {"running": when}
        return {"terminated": {"exitCode": 0, "message": json.dumps(report), **when}}

    containers = [{"name": "agent", "state": state(reports.get("agent"))}]
    sidecars = [{"name": "gate", "state": state(reports.get("gate"))}]
    status = {
        "phase": phase,
        "containerStatuses": containers,
        "initContainerStatuses": sidecars,
    }
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}


COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


async def started(operator: Operator) -> Json:
    """A run whose Job the watch has shown; of pods it tells nothing."""
    operator.apply(run_json())
    await operator.look()
    operator.cache.update_job(operator.job)
    return operator.job


async def test_a_success_is_proven_although_the_watch_of_pods_is_behind(operator: Operator) -> None:
    job = await started(operator)
    operator.kube.put("pods", pod_of(job, "Succeeded", agent=agent_report(), gate=gate_report()))
    operator.cache.update_job(told(job, 901, **COMPLETE))
    await operator.look()
    status = operator.stored()
    assert (status["phase"], status["usage"]["totalTokens"]) == ("Succeeded", 110)


@pytest.mark.parametrize(
    ("then", "phase", "reason"),
    [("Succeeded", "Succeeded", "Completed"), ("deleted", "Failed", "PodLost")],
)
async def test_a_pod_that_its_watch_shows_as_running_for_ever_is_asked_for_when_its_job_has_ended(
    operator: Operator, then: str, phase: str, reason: str
) -> None:
    job = await started(operator)
    pod = operator.kube.put("pods", pod_of(job))
    operator.cache.update_pod(pod)
    await operator.look()
    assert operator.stored()["phase"] == "Running"
    if then == "deleted":
        del operator.kube.objects[operator.kube.path_of("pods", pod["metadata"]["name"])]
    else:
        ended = pod_of(job, then, agent=agent_report(), gate=gate_report())
        operator.kube.put("pods", told(ended, 950, **ended["status"]))
    operator.cache.update_job(told(job, 951, **COMPLETE))
    await operator.look()
    assert (operator.stored()["phase"], operator.stored()["reason"]) == (phase, reason)


async def test_a_stopped_pod_is_asked_for_until_it_is_gone_although_its_watch_tells_nothing(
    operator: Operator,
) -> None:
    job = await started(operator)
    pod = operator.kube.put("pods", pod_of(job))
    operator.cache.update_pod(pod)
    await operator.look()
    operator.kube.version = 1000  # newer than all before
    path = operator.kube.path_of("codexruns", "hello")
    operator.cache.update_run(await operator.kube.merge(path, {"spec": {"cancel": by()}}))
    await operator.look()
    assert operator.stored()["phase"] == "Stopping"
    ended = pod_of(job, "Failed", agent=agent_report(), gate=gate_report())
    operator.kube.put("pods", told(ended, 1100, **ended["status"]))
    operator.cache.update_job(told(job, 1101, conditions=[{"type": "Failed", "status": "True"}]))
    for _ in range(5):
        await operator.look()
    assert operator.kube.items(operator.kube.pods) == []
    assert operator.stored()["phase"] == "Succeeded"  # it had ended before the signal came


async def test_what_an_action_does_not_find_is_asked_for_after_a_pause(operator: Operator) -> None:
    """Not at once: what is wrong may last, and each look is a request."""
    job = await started(operator)
    pod = operator.kube.put("pods", pod_of(job))
    operator.cache.update_pod(pod)
    await operator.look()
    suspended = {**told(job, 951), "spec": {"suspend": True}}
    operator.cache.update_job(suspended)
    del operator.kube.objects[operator.kube.path_of("jobs", job["metadata"]["name"])]
    for _ in range(3):
        await operator.look()
        operator.reconciler.queue.forget(run_key(UID))
    assert operator.stored()["phase"] == "Stopping"
    while operator.reconciler.queue.take() is not None:
        pass
    await operator.look()
    assert operator.reconciler.queue.depth == 0
    assert operator.later[run_key(UID)] >= 1


async def test_while_nobody_can_look_nothing_is_concluded(operator: Operator) -> None:
    job = await started(operator)
    operator.cache.update_job(told(job, 901, **COMPLETE))
    before = operator.stored()
    for _ in range(3):
        operator.kube.fail("list", "/pods", Unavailable("away"))
        with pytest.raises(Unavailable):
            await operator.look()
    assert operator.stored() == before
    await operator.look()
    assert (operator.stored()["phase"], operator.stored()["reason"]) == ("Failed", "PodLost")


async def test_a_deleted_job_s_pod_that_was_never_told_of_keeps_slot_and_run(
    operator: Operator,
) -> None:
    job = await started(operator)
    operator.kube.put("pods", pod_of(job))
    del operator.kube.objects[operator.kube.path_of("jobs", job["metadata"]["name"])]
    operator.cache.update_job(told(job, 901), gone=True)
    assert operator.held == 1
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Stopping", 1)
    pod = operator.kube.objects[operator.kube.path_of("pods", f"{job['metadata']['name']}-abcde")]
    assert is_stopped(pod)


@pytest.mark.parametrize("pod", [False, True], ids=["no pod", "a pod"])
async def test_the_slot_of_a_deleted_run_is_held_until_a_live_read_has_looked(
    operator: Operator, pod: bool
) -> None:
    """Run and Job are deleted; whether a pod of it runs no watch has told."""
    job = await started(operator)
    operator.cache.update_run(run_json(version=990), gone=True)
    if pod:
        operator.kube.put("pods", pod_of(job))
    del operator.kube.objects[operator.kube.path_of("jobs", job["metadata"]["name"])]
    operator.cache.update_job(told(job, 901), gone=True)
    assert operator.held == 1
    operator.kube.fail("list", "/pods", Unavailable("away"))
    with pytest.raises(Unavailable):
        await operator.look()
    assert operator.held == 1
    await operator.look()
    assert operator.held == (1 if pod else 0)


async def test_a_cancel_keeps_the_evidence_of_a_pod_that_no_watch_has_told_of(
    operator: Operator,
) -> None:
    job = await started(operator)
    operator.kube.put("pods", pod_of(job))
    operator.apply(run_json("Starting", version=990, cancel=by()) | {"status": operator.stored()})
    await operator.look()
    assert not operator.kube.writes("merge", "/jobs/")
    pod = operator.kube.objects[operator.kube.path_of("pods", f"{job['metadata']['name']}-abcde")]
    assert is_stopped(pod)


async def test_a_finished_run_is_forgotten_and_expires(operator: Operator) -> None:
    operator.apply(run_json(inputs={}, ttlSecondsAfterFinished=60))
    await operator.look()
    assert operator.stored()["phase"] == "Rejected"
    assert operator.later == {Key(Kind.EXPIRY, "hello"): 60}
    await operator.look(Key(Kind.EXPIRY, "hello"))
    assert 0 < operator.later[Key(Kind.EXPIRY, "hello")] <= 60
    operator.stored()["finishedAt"] = "2026-01-01T00:00:00Z"
    await operator.look(Key(Kind.EXPIRY, "hello"))
    assert operator.kube.path_of("codexruns", "hello") not in operator.kube.objects
    await operator.look(Key(Kind.EXPIRY, "hello"))


async def test_a_late_sight_of_a_finished_run_is_not_taken_for_a_live_one(
    operator: Operator,
) -> None:
    operator.apply(run_json("Succeeded"))
    assert operator.cache.runs == {}


async def test_an_event_that_cannot_be_posted_changes_nothing(operator: Operator) -> None:
    operator.apply(run_json(inputs={}))
    operator.kube.fail("create", "/events", Unavailable("no"))
    await operator.look()
    assert operator.stored()["phase"] == "Rejected"


# -- what is left over ---------------------------------------------------------------------------


def is_stopped(pod: Json) -> bool:
    """Whether its containers are ended, and its object stays until their reports are read."""
    metadata = pod["metadata"]
    untouched = "deletionTimestamp" not in metadata and not metadata.get("finalizers")
    return untouched and pod["spec"]["activeDeadlineSeconds"] == STOP_DEADLINE_SECONDS


def pod_json(*, held: bool = True, uid: str = UID) -> Json:
    labels = {
        "codexrun.dev/run": "hello",
        "codexrun.dev/run-uid": uid,
        "codexrun.dev/job-type": "hello",
    }
    metadata = {
        "name": POD,
        "uid": "pod-1",
        "labels": labels,
        "finalizers": [EVIDENCE_FINALIZER] if held else [],
    }
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("run", "released"),
    [
        (None, True),
        (run_json("Cancelled"), True),
        (run_json("Running", uid=OTHER), True),
        (run_json("Stopping"), False),
    ],
    ids=["run deleted", "run ended", "another run of the name", "run lives"],
)
async def test_a_held_pod_is_let_go_when_its_run_is_over(
    operator: Operator, run: Json | None, released: bool
) -> None:
    if run:
        operator.kube.put("codexruns", run)
    operator.cache.update_pod(operator.kube.put("pods", pod_json()))
    await operator.look(Key(Kind.EVIDENCE, UID))
    finalizers = operator.kube.objects[operator.kube.path_of("pods", POD)]["metadata"]["finalizers"]
    assert finalizers == ([] if released else [EVIDENCE_FINALIZER])


@pytest.mark.parametrize("gone", [False, True], ids=["seen", "deleted"])
def test_a_pod_that_only_bears_the_labels_takes_the_place_of_none(
    operator: Operator, gone: bool
) -> None:
    """Somebody's copy of a pod, made by hand; deleting it is no cancel of the run."""
    real = pod_json()
    copy = pod_json(held=False)
    real["metadata"]["ownerReferences"] = [
        {"kind": "Job", "name": "hello-11111111-1", "uid": "job-1", "controller": True}
    ]
    copy["metadata"]["uid"] = "pod-2"
    operator.cache.update_pod(real)
    operator.cache.update_pod(copy, gone)
    assert operator.cache.pods[UID].uid == "pod-1"


async def test_a_job_of_ours_without_a_run_is_swept_and_others_are_not(operator: Operator) -> None:
    labels = {"app.kubernetes.io/managed-by": "codexrun"}
    foreign = operator.kube.put(
        "jobs", {"metadata": {"name": "theirs", "uid": "j0", "labels": labels}, "spec": {}}
    )
    orphan = {
        "metadata": {
            "name": "hello-11111111-1",
            "uid": "j1",
            "labels": labels | pod_json()["metadata"]["labels"],
        },
        "spec": {},
    }
    for job in (foreign, operator.kube.put("jobs", orphan)):
        operator.cache.update_job(job)
    assert operator.cache.orphans == {"j1": "hello-11111111-1"}
    await operator.look(Key(Kind.ORPHAN, "j1"))
    (deletion,) = operator.kube.writes("delete", "/jobs")
    assert deletion == {"uid": "j1", "propagation": "Background"}


async def test_ready_is_written_once(operator: Operator) -> None:
    await operator.look(Key(Kind.JOB_TYPE, "hello"))
    await operator.look(Key(Kind.JOB_TYPE, "hello"))
    (write,) = operator.kube.writes("replace", "/codexjobtypes/hello/status")
    assert write["status"]["conditions"][0]["status"] == "True"


async def test_a_replaced_job_type_outlives_the_late_word_of_the_old_one_s_end(
    operator: Operator,
) -> None:
    old = operator.kube.objects[operator.kube.path_of("codexjobtypes", "hello")]
    operator.cache.update_job_type(kind_json(uid="kind-2", version=9, concurrencyLimit=7))
    operator.cache.update_job_type(old, gone=True)
    assert operator.cache.job_types["hello"].spec.concurrency_limit == 7


# -- actions -------------------------------------------------------------------------------------


async def test_a_stop_ends_the_containers_and_keeps_the_object() -> None:
    """No finalizer: an operator that is deleted with its namespace could not take it off."""
    kube = FakeKube()
    kube.put("pods", pod_json(held=False))
    await carry_out(kube, StopPod(POD, "pod-1"))
    assert is_stopped(kube.objects[kube.path_of("pods", POD)])
    assert [verb for verb, _, _ in kube.calls] == ["merge"]


async def test_a_pod_that_takes_no_change_is_deleted() -> None:
    kube = FakeKube()
    kube.put("pods", pod_json(held=False))
    kube.fail("merge", "/pods/", Refused(422, "Invalid", "spec: Forbidden"))
    await carry_out(kube, StopPod(POD, "pod-1"))
    assert kube.path_of("pods", POD) not in kube.objects


@pytest.mark.parametrize(
    "action",
    [
        StopPod(POD, "pod-1"),
        DeletePod(POD, "pod-1"),
        ReleaseEvidence(POD, "pod-1"),
        SuspendJob("j"),
        DeleteJob("j", "job-1"),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "error",
    [NotFound(404, "NotFound", "gone"), Conflict(409, "Conflict", "another uid")],
    ids=["404", "409"],
)
async def test_what_is_gone_already_is_done(action: Any, error: Refused) -> None:
    kube = FakeKube()
    for verb in ("strategic", "delete", "merge"):
        kube.fail(verb, "/", error)
    assert not await carry_out(kube, action)


@pytest.mark.parametrize(
    "action",
    [
        StopPod(POD, "pod-1"),
        DeletePod(POD, "pod-1"),
        ReleaseEvidence(POD, "pod-1"),
        SuspendJob("j"),
        DeleteJob("j", "job-1"),
    ],
)
async def test_an_apiserver_that_is_away_is_no_success(action: Any) -> None:
    kube = FakeKube()
    for verb in ("strategic", "delete", "merge"):
        kube.fail(verb, "/", Unavailable("away"))
    with pytest.raises(Unavailable):
        await carry_out(kube, action)


async def test_another_uid_is_another_pod() -> None:
    kube = FakeKube()
    kube.put("pods", pod_json(held=False))
    await carry_out(kube, StopPod(POD, "pod-0"))
    await carry_out(kube, DeletePod(POD, "pod-0"))
    assert kube.objects[kube.path_of("pods", POD)] == pod_json(held=False)


async def test_a_job_that_exists_is_this_one() -> None:
    kube = FakeKube()
    await create_job(kube, {"metadata": {"name": "j"}})
    await create_job(kube, {"metadata": {"name": "j"}})
    kube.fail("create", "/jobs", Conflict(409, "Conflict", "something else"))
    with pytest.raises(Unavailable):
        await create_job(kube, {"metadata": {"name": "j"}})


# -- resync --------------------------------------------------------------------------------------


async def test_resync_tells_what_kopf_missed_in_the_order_of_the_queue(operator: Operator) -> None:
    resync = Resync(operator.kube, operator.cache, operator.reconciler.queue)
    for name, uid, age, priority in (
        ("young", OTHER, 100, 0),
        ("old", UID, 200, 0),
        ("urgent", "u3", 90, 5),
    ):
        operator.kube.put("codexruns", run_json(uid=uid, name=name, age=age, priority=priority))
    await resync.sync()
    assert list(operator.cache.runs) == ["u3", UID, OTHER]


async def test_resync_asks_again_whether_job_types_are_ready_as_prices_may_have_changed(
    operator: Operator,
) -> None:
    operator.cache.update_job_type(
        operator.kube.put(
            "codexjobtypes", kind_json(version=4, generation=2, requireKnownPrice=True)
        )
    )
    asked: set[str] = set()
    operator.reconciler.queue.add = asked.add  # type: ignore[method-assign]
    resync = Resync(operator.kube, operator.cache, operator.reconciler.queue)
    for prices, ready in ((Prices("of today", {}), "False"), (built_in().on(date.max), "True")):
        operator.cache.prices = lambda prices=prices: prices
        asked.clear()
        await resync.sync()
        for key in asked:
            await operator.look(key)
        status = operator.kube.objects[operator.kube.path_of("codexjobtypes", "hello")]["status"]
        assert status["conditions"][0]["status"] == ready


async def test_what_a_list_does_not_show_is_over(operator: Operator) -> None:
    resync = Resync(operator.kube, operator.cache, operator.reconciler.queue)
    operator.apply(run_json("Queued"))
    del operator.kube.objects[operator.kube.path_of("codexruns", "hello")]
    await resync.sync()
    assert operator.cache.runs == {}
    assert not operator.cache.scheduler.queues["hello"]


async def test_an_unreadable_object_stops_nobody_else(operator: Operator) -> None:
    resync = Resync(operator.kube, operator.cache, operator.reconciler.queue)
    operator.kube.put("codexruns", run_json(uid=OTHER, name="odd", priority="high"))
    operator.kube.put("codexjobtypes", kind_json(name="odd", model=""))
    operator.kube.put("codexruns", run_json())
    await resync.sync()
    assert operator.cache.runs.keys() == {UID, OTHER}
    assert operator.cache.job_types.keys() == {"hello"}


USED = {"prompt": {"name": "hello", "version": "v1", "sha256": SHA}, "model": "gpt-5.5"}
RESUME = {"retryOf": {"name": "old", "uid": OTHER, "resume": True}}
THIRD = "77777777-2222-4333-8444-555555555555"


@pytest.mark.parametrize(
    ("source", "phase"),
    [
        ({"uid": OTHER, "status": USED}, "Starting"),
        ({"uid": OTHER, "status": USED, "jobType": "other"}, "Rejected"),
        ({"uid": THIRD, "status": USED, "jobType": "other"}, "Starting"),  # of that name: not it
        (None, "Starting"),  # gone: the api judges, from its row
    ],
)
async def test_the_run_that_is_resumed_is_read_from_the_cluster(
    operator: Operator, source: Json | None, phase: str
) -> None:
    if source:
        operator.kube.put("codexruns", run_json("Failed", name="old", **source))
    operator.apply(run_json(**RESUME))
    await operator.look()
    assert operator.stored()["phase"] == phase


@pytest.mark.parametrize(
    "name", ["?", ".", "..", "../..", "../pods/p", "old?x=y", "old/status", ""]
)
async def test_what_can_be_no_name_is_not_asked_for(operator: Operator, name: str) -> None:
    """In a URL it would name something else: the list of all runs, for one."""
    run = run_json(retryOf={"name": "old", "uid": OTHER, "resume": True})
    operator.apply(run)
    operator.cache.runs[UID].spec.retry_of.name = name  # type: ignore[union-attr]
    operator.kube.reads.clear()
    await operator.look()
    assert operator.kube.reads == []
    assert operator.stored()["phase"] == "Rejected"
    assert "spec.retryOf.name" in operator.stored()["message"]
    with pytest.raises(NotFound):
        object_path(operator.kube.runs, name)


@pytest.mark.parametrize(
    "answer",
    [{"items": []}, {"kind": "CodexRunList", "metadata": {}}, {"metadata": {"uid": OTHER}}],
    ids=["a list", "a list's kind", "no kind"],
)
async def test_an_answer_that_is_no_run_is_no_source(operator: Operator, answer: Json) -> None:
    operator.kube.objects[operator.kube.path_of("codexruns", "old")] = answer
    operator.apply(run_json(**RESUME))
    await operator.look()
    assert operator.stored()["phase"] == "Starting"


async def test_an_apiserver_that_is_away_lets_no_run_resume_unread(operator: Operator) -> None:
    operator.apply(run_json(**RESUME))

    async def away(path: str) -> Json:
        raise Unavailable(path)

    operator.kube.get = away  # type: ignore[assignment, method-assign]
    with pytest.raises(Unavailable):
        await operator.look()
    assert not [call for call in operator.kube.calls if call[0] == "create"]


@pytest.mark.parametrize("valid", [True, False], ids=["valid", "of another job type"])
async def test_a_run_keeps_its_turn_while_the_run_that_it_resumes_is_read(
    operator: Operator, valid: bool
) -> None:
    source = {"status": USED} | ({} if valid else {"jobType": "other"})
    operator.kube.put("codexruns", run_json("Failed", name="old", uid=OTHER, **source))
    operator.apply(run_json(age=20, **RESUME))
    operator.apply(run_json(uid=THIRD, name="younger", age=10))
    read = operator.kube.get

    async def slowly(path: str) -> Json:
        assert not operator.kube.writes("create", "/jobs")
        await operator.look(THIRD)
        return await read(path)

    operator.kube.get = slowly  # type: ignore[method-assign]
    await operator.look()
    operator.kube.get = read  # type: ignore[method-assign]
    await operator.look(THIRD)
    started = [body["metadata"]["name"] for body in operator.kube.writes("create", "/jobs")]
    assert [name.partition("-")[0] for name in started] == ["hello" if valid else "younger"]
    phases = (operator.stored()["phase"], operator.stored("younger")["phase"])
    assert phases == (("Starting", "Queued") if valid else ("Rejected", "Starting"))


async def test_a_cancel_does_not_wait_for_the_run_that_is_resumed(operator: Operator) -> None:
    operator.apply(run_json(cancel=by(), **RESUME))
    operator.kube.fail("get", "/codexruns/old", Unavailable("away"))
    await operator.look()
    assert operator.stored()["phase"] == "Cancelled"


async def test_a_resumed_run_that_cannot_be_read_stops_nothing(operator: Operator) -> None:
    broken = run_json("Failed", name="old", uid=OTHER)
    broken["spec"] = {"jobType": ["no name"]}
    operator.kube.put("codexruns", broken)
    operator.apply(run_json(**RESUME))
    await operator.look()
    assert operator.stored()["phase"] == "Starting"
