"""What is over stays over: lists and answers from before an end, and Jobs that nobody follows."""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import pytest
from builders import NOON, TEXT, UID, by, kind_json, prompt_json, run_json, stamp
from fake_kube import FakeKube

from codexrun_core.errors import EtcdRestored, Unavailable
from codexrun_core.resources import CodexRun
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.decide.run_reader import read_run
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch import resync
from codexrun_operator.watch.keys import Kind, run_key
from codexrun_operator.watch.resync import Resync

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
OTHER = "99999999-2222-4333-8444-555555555555"
POD = "hello-11111111-1-abcde"
OWNER = [{"kind": "CodexRun", "controller": True, "name": "hello", "uid": UID}]


class Paging(FakeKube):
    """A list whose first page is as it was before `meanwhile`, which happens while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: dict[str, Callable[[], Awaitable[None]]] = {}

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        async for page in super().pages(path, **selectors):
            if happens := self.meanwhile.pop(path, None):
                await happens()
            yield page


class Operator:
    def __init__(self) -> None:
        self.kube = Paging()
        self.reconciler = Reconciler(self.kube, PODS, workers=1)
        self.cache = self.reconciler.cache
        self.queue = self.reconciler.queue
        self.queue.add_later = lambda key, seconds: None  # type: ignore[method-assign]
        self.resync = Resync(self.kube, self.cache, self.queue)
        self.cache.update_prompt(prompt_json())
        self.cache.update_job_type(self.kube.put("codexjobtypes", kind_json(concurrencyLimit=1)))

    def change(self, item: Json, **metadata: Any) -> Json:
        self.kube.version += 1
        changed = copy.deepcopy(item)
        changed["metadata"] |= {"resourceVersion": str(self.kube.version), **metadata}
        return changed

    async def drain(self) -> None:
        while (key := self.queue.take()) is not None:
            await self.reconciler.reconcile(key)

    def run(self) -> Json:
        return self.kube.objects[self.kube.path_of("codexruns", "hello")]

    def jobs(self) -> list[Json]:
        return self.kube.items(self.kube.jobs)


@pytest.fixture
async def operator() -> Operator:
    return Operator()


def slot_taken(operator: Operator, *, free: bool = False, suspended: bool = False) -> None:
    """Another run holds the only slot, or has just given it back."""
    labels = {
        "codexrun.dev/run-uid": OTHER,
        "codexrun.dev/run": "other",
        "codexrun.dev/job-type": "hello",
    }
    over = {"conditions": [{"type": "Complete", "status": "True"}]} if free else {}
    metadata = {
        "name": "other-99999999-1",
        "uid": "job-other",
        "labels": labels,
        "ownerReferences": [{**OWNER[0], "name": "other", "uid": OTHER}],
        "resourceVersion": "2" if free else "1",
    }
    if suspended:
        over = {"conditions": [{"type": "Suspended", "status": "True"}]}
    job = {"metadata": metadata, "spec": {"suspend": suspended}, "status": over}
    operator.cache.update_job(job)


async def test_a_suspended_job_holds_its_slot_until_it_is_gone(operator: Operator) -> None:
    """A queue controller resumes it at any moment."""
    slot_taken(operator, suspended=True)
    operator.cache.update_run(operator.kube.put("codexruns", run_json()))
    await operator.drain()
    assert operator.run()["status"]["phase"] == "Queued"
    slot_taken(operator, free=True)
    await operator.drain()
    assert operator.run()["status"]["phase"] == "Starting"


async def cancelled(operator: Operator) -> None:
    item = operator.change(operator.run())
    item["spec"]["cancel"] = by()
    operator.cache.update_run(operator.kube.put("codexruns", item))


async def deleted(operator: Operator) -> None:
    gone = operator.change(operator.kube.objects.pop(operator.kube.path_of("codexruns", "hello")))
    operator.cache.update_run(gone, gone=True)


async def made_again(operator: Operator) -> None:
    await deleted(operator)
    again = operator.change(
        run_json(age=1, whenFull="Reject"), uid="77777777-2222-4333-8444-555555555555"
    )
    operator.cache.update_run(operator.kube.put("codexruns", again))


@pytest.mark.parametrize("ends", [cancelled, deleted, made_again])
async def test_a_list_that_is_older_than_a_run_s_end_starts_nothing(
    operator: Operator, ends: Callable[[Operator], Awaitable[None]]
) -> None:
    slot_taken(operator)
    operator.cache.update_run(operator.kube.put("codexruns", run_json()))
    await operator.drain()

    async def meanwhile() -> None:
        await ends(operator)
        await operator.drain()
        slot_taken(operator, free=True)
        await operator.drain()

    operator.kube.meanwhile[operator.kube.runs] = meanwhile
    await operator.resync.sync()
    await operator.drain()
    assert operator.jobs() == []
    assert operator.cache.runs == {}
    assert operator.resync.missed == 0


async def test_a_list_that_is_older_than_a_rejection_starts_nothing(operator: Operator) -> None:
    slot_taken(operator)
    item = operator.kube.put("codexruns", run_json(whenFull="Reject"))

    async def meanwhile() -> None:
        operator.cache.update_run(copy.deepcopy(item))
        await operator.drain()
        slot_taken(operator, free=True)

    operator.kube.meanwhile[operator.kube.runs] = meanwhile
    await operator.resync.sync()
    await operator.drain()
    assert operator.run()["status"]["phase"] == "Rejected"
    assert operator.jobs() == []


async def test_a_list_reads_only_what_the_watch_has_not_told(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All live runs are listed every minute: twice in memory, they were most of the operator's."""
    read: list[str] = []

    def reading(item: Json) -> CodexRun:
        read.append(item["metadata"]["name"])
        return read_run(item)

    monkeypatch.setattr(resync, "read_run", reading)
    known = operator.kube.put("codexruns", run_json())
    operator.kube.put("codexruns", run_json(uid=OTHER, name="other"))
    operator.cache.update_run(known)
    await operator.resync.sync()
    assert read == ["other"]
    assert set(operator.cache.runs) == {UID, OTHER}
    await operator.resync.sync()
    assert read == ["other"]


async def test_a_cancel_is_looked_at_before_what_else_waits(operator: Operator) -> None:
    operator.cache.update_run(run_json("Running"))
    operator.cache.update_run(run_json("Running", uid=OTHER, name="other", version=8))
    cancelled = run_json("Running", uid=OTHER, name="other", version=9, cancel=by())
    operator.cache.update_run(cancelled)
    keys = [key for key in iter(operator.queue.take, None) if key.kind is Kind.RUN]
    assert keys == [run_key(OTHER), run_key(UID)]
    stopping = run_json("Stopping", uid=OTHER, name="other", version=10, cancel=by())
    for item in (run_json("Running", version=11), stopping):
        operator.cache.update_run(item)
    keys = [key for key in iter(operator.queue.take, None) if key.kind is Kind.RUN]
    assert keys == [run_key(UID), run_key(OTHER)], "what follows from the stop has no hurry"


async def test_a_list_that_is_older_than_a_revocation_brings_no_job_type_back(
    operator: Operator,
) -> None:
    old = kind_json()

    async def meanwhile() -> None:
        operator.cache.update_job_type(operator.change(old), gone=True)

    operator.kube.meanwhile[operator.kube.job_types] = meanwhile
    await operator.resync.sync()
    assert operator.cache.job_types == {}


async def test_a_job_type_that_the_list_lacks_is_gone_unless_it_is_younger(
    operator: Operator,
) -> None:
    operator.kube.objects.clear()

    async def meanwhile() -> None:
        operator.cache.update_job_type(
            kind_json(name="young", uid="kind-2", version=operator.kube.version + 5)
        )

    operator.kube.meanwhile[operator.kube.job_types] = meanwhile
    await operator.resync.sync()
    assert operator.cache.job_types.keys() == {"young"}


@pytest.mark.parametrize("kind", ["job_types", "runs"])
async def test_a_list_that_is_older_than_what_was_known_before_means_that_etcd_was_restored(
    operator: Operator, kind: str
) -> None:
    if kind == "runs":
        operator.cache.update_run(operator.kube.put("codexruns", run_json(version=500)))
    else:
        operator.cache.update_job_type(operator.kube.put("codexjobtypes", kind_json(version=500)))
    operator.kube.version = 499
    with pytest.raises(EtcdRestored):
        await operator.resync.sync()
    operator.kube.version = 500
    await operator.resync.sync()


# -- Jobs and pods -------------------------------------------------------------------------------


def of_version(item: Json, version: int, **more: Any) -> Json:
    changed = copy.deepcopy(item) | more
    changed["metadata"]["resourceVersion"] = str(version)
    return changed


@pytest.mark.parametrize("late", ["event", "list"])
def test_a_state_of_job_or_pod_that_is_older_than_what_is_known_changes_nothing(
    operator: Operator, late: str
) -> None:
    """The answer to a GET was faster than the watch."""
    cache = operator.cache
    cache.update_run(run_json("Running"))
    cache.update_job(of_version(job_json(), 9, status=COMPLETE))
    cache.update_pod(of_version(pod_json("Succeeded"), 9))
    if late == "event":
        cache.update_job(of_version(job_json(), 8))
        cache.update_pod(of_version(pod_json("Running"), 8))
    else:
        cache.replace_jobs(set(), 8)
        cache.replace_pods(set(), 8)
    assert cache.jobs[UID].complete
    assert cache.pods[UID].phase == "Succeeded"
    assert not cache.pods[UID].gone


async def test_what_a_list_of_jobs_or_pods_lacks_is_gone_with_its_last_words(
    operator: Operator,
) -> None:
    cache = operator.cache
    cache.update_run(run_json("Running"))
    cache.update_job(of_version(job_json(), 8))
    cache.update_pod(of_version(pod_json("Succeeded"), 8))
    cache.replace_jobs(set(), 9)
    cache.replace_pods(set(), 9)
    assert UID not in cache.jobs
    assert UID in cache.witnessed
    assert not cache.pods[UID].gone
    await operator.reconciler._ask_for_pods(UID)
    assert (cache.pods[UID].phase, cache.pods[UID].gone) == ("Succeeded", True)
    assert not cache.ledger.holders["hello"]
    cache.update_job(of_version(job_json(), 9))
    assert UID not in cache.jobs


@pytest.mark.parametrize("gone", [False, True], ids=["event", "list"])
def test_a_prompt_of_the_same_version_in_another_config_map_stays(
    operator: Operator, gone: bool
) -> None:
    again = prompt_json(version=9)
    again["metadata"]["uid"] = "prompt-2"
    again["data"]["prompt.md"] = "another text"
    operator.cache.update_prompt(again)
    if gone:
        operator.cache.update_prompt(again, gone=True)
    else:
        operator.cache.replace_prompts({"prompt-1"}, 9)
    assert operator.cache.prompts["hello", "v1"].text == TEXT
    operator.cache.update_prompt(prompt_json(version=8), gone=True)
    assert operator.cache.prompts == {}


async def test_jobs_and_pods_of_runs_that_are_over_are_not_kept_when_they_have_ended(
    operator: Operator,
) -> None:
    """They are there for a day, and were 119 KiB each in the operator's memory."""
    cache = operator.cache
    held = pod_json("Failed", finalizers=["codexrun.dev/evidence"], deletionTimestamp=stamp(NOON))
    for number, (job, pod) in enumerate(
        (
            (job_json(status=COMPLETE), pod_json("Succeeded")),
            (job_json(), pod_json("Running")),
            (job_json(spec={"suspend": True}), None),
            (job_json(status=COMPLETE), held),
        )
    ):
        for item, update in ((job, cache.update_job), (pod, cache.update_pod)):
            if item is not None:
                own = copy.deepcopy(item)
                own["metadata"]["uid"] += f"-{number}"
                own["metadata"]["labels"]["codexrun.dev/run-uid"] = f"run-{number}"
                own["metadata"]["name"] = own["metadata"]["name"].replace(
                    "11111111", f"run-{number}"
                )
                for owner in own["metadata"]["ownerReferences"]:
                    owner["name"] = owner["name"].replace("11111111", f"run-{number}")
                    owner["uid"] = f"run-{number}"
                update(own)
    await operator.resync.sync()
    assert cache.jobs.keys() == {"run-1", "run-2"}
    assert cache.pods.keys() == {"run-1", "run-3"}
    assert (len(cache.all_jobs), len(cache.all_pods)) == (2, 2)


@pytest.mark.parametrize("listed", [True, False], ids=["after the runs", "before"])
async def test_of_a_run_that_is_over_an_ended_job_or_pod_is_never_kept(
    operator: Operator, listed: bool
) -> None:
    """The first list of pods has those of a day: not one more than is needed is in memory."""
    cache = operator.cache
    if listed:
        await operator.resync.sync()
    while operator.queue.take() is not None:
        pass
    cache.update_job(job_json(status=COMPLETE))
    cache.update_pod(pod_json("Succeeded"))
    assert (len(cache.all_jobs), len(cache.all_pods)) == ((0, 0) if listed else (1, 1))
    if listed:
        assert operator.queue.depth == 0
    cache.update_pod(of_version(pod_json("Succeeded"), 5), gone=True)
    await operator.drain()
    await operator.resync.sync()
    assert (len(cache.all_jobs), len(cache.all_pods), cache.unwatched) == (0, 0, {})


# -- Jobs and pods that nobody follows -----------------------------------------------------------


def job_json(**more: Any) -> Json:
    labels = {
        "app.kubernetes.io/managed-by": "codexrun",
        "codexrun.dev/run-uid": UID,
        "codexrun.dev/run": "hello",
        "codexrun.dev/job-type": "hello",
    }
    metadata = {
        "name": "hello-11111111-1",
        "uid": "job-1",
        "labels": labels,
        "ownerReferences": OWNER,
    }
    return {"metadata": metadata, "spec": {}, "status": {"active": 1}, **more}


def pod_json(phase: str = "Running", **metadata: Any) -> Json:
    owner = [{"kind": "Job", "controller": True, "name": "hello-11111111-1", "uid": "job-1"}]
    given = {
        "name": POD,
        "uid": "pod-1",
        "labels": job_json()["metadata"]["labels"],
        "ownerReferences": owner,
        **metadata,
    }
    return {"metadata": given, "spec": {"nodeName": "n"}, "status": {"phase": phase}}


COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
RUN_ENDED = run_json("Cancelled")
RUN_LIVES = run_json("Running")
ANOTHER_RUN = run_json("Running", uid=OTHER)


@pytest.mark.parametrize(
    ("run", "job", "pod", "ended"),
    [
        (RUN_ENDED, job_json(), pod_json(), ["hello-11111111-1", POD]),
        (None, job_json(), pod_json(), ["hello-11111111-1", POD]),
        (ANOTHER_RUN, job_json(), pod_json(), ["hello-11111111-1", POD]),
        (None, job_json(), None, ["hello-11111111-1"]),
        (RUN_ENDED, job_json(spec={"suspend": True}), None, ["hello-11111111-1"]),
        (RUN_ENDED, None, pod_json(), [POD]),
        (RUN_LIVES, job_json(), pod_json(), []),
        (RUN_ENDED, job_json(status=COMPLETE), pod_json("Succeeded"), []),
        (RUN_ENDED, job_json(), pod_json("Succeeded"), []),
        (RUN_ENDED, job_json(), pod_json(deletionTimestamp=stamp(NOON)), []),
        (
            RUN_ENDED,
            None,
            pod_json(deletionTimestamp=stamp(NOON), finalizers=["codexrun.dev/evidence"]),
            [],
        ),
    ],
    ids=[
        "run ended",
        "run deleted",
        "another run of the name",
        "run deleted, no pod yet",
        "run ended, Job suspended: anybody could resume it",
        "run ended, pod without Job",
        "run lives, and was not told yet",
        "all over",
        "pod ended, Job about to",
        "pod about to go",
        "pod held for evidence",
    ],
)
async def test_a_live_job_or_pod_of_a_run_that_is_over_is_ended(
    operator: Operator, run: Json | None, job: Json | None, pod: Json | None, ended: list[str]
) -> None:
    if run:
        operator.kube.put("codexruns", run)
    if job:
        operator.cache.update_job(operator.kube.put("jobs", job))
    if pod:
        operator.cache.update_pod(operator.kube.put("pods", pod))
    await operator.drain()
    deletions = [
        (path.rpartition("/")[2], body)
        for verb, path, body in operator.kube.calls
        if verb == "delete"
    ]
    assert [name for name, _ in deletions] == ended
    for _, body in deletions:
        assert body["propagation"] == "Background"
        assert body["uid"] in ("job-1", "pod-1")
    assert (UID in operator.cache.runs) is (run is RUN_LIVES)


async def test_what_the_caches_do_not_know_yet_is_read_before_anything_is_ended(
    operator: Operator,
) -> None:
    """The watch of pods is behind: in truth the pod has ended, and its Job is about to say so."""
    operator.kube.put("codexruns", RUN_ENDED)
    operator.kube.put("pods", pod_json("Succeeded"))
    operator.cache.update_job(operator.kube.put("jobs", job_json()))
    await operator.drain()
    assert not operator.kube.writes("delete", "/")


async def test_an_apiserver_that_is_away_proves_nothing_and_a_list_looks_again(
    operator: Operator,
) -> None:
    operator.kube.fail("get", "/codexruns/", Unavailable("away"))
    operator.cache.update_job(operator.kube.put("jobs", job_json()))
    with pytest.raises(Unavailable):
        await operator.drain()
    assert not operator.kube.writes("delete", "/")
    await operator.resync.sync()
    await operator.drain()
    assert operator.jobs() == []


async def test_a_job_that_was_made_after_its_slot_was_given_back_is_ended(
    operator: Operator,
) -> None:
    """The apiserver carried the creation out late: its client had given up, and the run was deleted
    meanwhile."""
    operator.cache.update_run(operator.kube.put("codexruns", run_json()))
    operator.kube.fail("create", "/jobs", Unavailable("timeout"))
    with pytest.raises(Unavailable):
        await operator.drain()
    await deleted(operator)
    await operator.drain()
    assert len(operator.cache.ledger.holders["hello"]) == 0
    operator.cache.update_job(operator.kube.put("jobs", job_json()))
    await operator.drain()
    assert operator.jobs() == []


async def test_objects_that_others_label_with_a_run_are_not_ended_with_it(
    operator: Operator,
) -> None:
    """A team's collector pod names the run that it belongs to."""
    theirs = pod_json("Running", name="collector", uid="pod-2", ownerReferences=[])
    theirs["metadata"]["labels"] = {"codexrun.dev/run-uid": UID}
    operator.kube.put("codexruns", RUN_ENDED)
    operator.kube.put("pods", theirs)
    operator.cache.update_job(operator.kube.put("jobs", job_json()))
    await operator.drain()
    assert operator.jobs() == []
    assert [pod["metadata"]["name"] for pod in operator.kube.items(operator.kube.pods)] == [
        "collector"
    ]


FIRST = ("first", [(4, False), (5, False), (8, True)])
SECOND = ("second", [(10, False), (12, False), (14, True)])


@pytest.mark.parametrize("deleted", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_in_whatever_order_two_job_types_of_one_name_are_told_the_younger_counts(
    operator: Operator, seed: int, deleted: bool
) -> None:
    """Each may be told late, twice, or not at all, but for the last."""
    told = [(uid, *state) for uid, history in (FIRST, SECOND) for state in history]
    told.remove(("second", 14, True))
    picked = Random(seed)
    told = picked.sample(told, picked.randint(0, len(told)))
    last = ("second", 14, True) if deleted else ("second", 12, False)
    told.insert(picked.randint(0, len(told)), last)
    cache = operator.cache
    cache.replace_job_types([], 3)
    for uid, version, gone in told:
        limit = 1 if uid == "first" else 2
        item = kind_json(uid=uid, version=version, generation=version, concurrencyLimit=limit)
        cache.update_job_type(item, gone=gone)
    if deleted and "first" in {uid for uid, *_ in told[told.index(last) + 1 :]}:
        cache.replace_job_types([], 20)  # nothing has told that it was deleted before
    names = {name: job_type.metadata.uid for name, job_type in cache.job_types.items()}
    assert names == ({} if deleted else {"hello": "second"})


def labelled(item: Json, job_type: str) -> Json:
    changed = copy.deepcopy(item)
    changed["metadata"]["labels"]["codexrun.dev/job-type"] = job_type
    return changed


RUNNING, AS_JOB, AS_POD = run_json("Running"), job_json(), pod_json()
STARTS = {
    "the Job's label was edited": (labelled(AS_JOB, "other"), None),
    "the pod's label was edited": (AS_JOB, labelled(AS_POD, "other")),
    "both were": (labelled(AS_JOB, "other"), labelled(AS_POD, "else")),
    "none was": (AS_JOB, AS_POD),
}


@pytest.mark.parametrize("run_first", [False, True], ids=["run last", "run first"])
@pytest.mark.parametrize(("job", "pod"), STARTS.values(), ids=STARTS)
def test_a_new_operator_counts_a_slot_for_the_job_type_that_the_run_names(
    operator: Operator, job: Json, pod: Json | None, run_first: bool
) -> None:
    """Whatever labels say, and in whatever order it lists; and the slot is given back once."""
    cache = operator.cache
    if run_first:
        cache.update_run(RUNNING)
    cache.update_job(of_version(job, 8))
    if pod is not None:
        cache.update_pod(of_version(pod, 8))
    if not run_first:
        cache.update_run(RUNNING)
    assert dict(cache.ledger.holders) == {"hello": {UID}}
    cache.forget(UID)
    assert dict(cache.ledger.holders) == {"hello": {UID}}
    cache.update_job(of_version(job, 9, status=COMPLETE))
    if pod is not None:
        ended = {**pod, "status": {"phase": "Succeeded"}}
        cache.update_pod(of_version(ended, 9))
    assert dict(cache.ledger.holders) == {}
