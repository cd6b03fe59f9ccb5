"""What is over stays over: lists and answers from before an end, and Jobs that nobody follows."""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from builders import NOON, UID, by, kind_json, prompt_json, run_json, stamp
from fake_kube import FakeKube

from codexrun_core.errors import Unavailable
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.resync import Resync
from codexrun_operator.watch.tombstones import DELETED_VERSION, Tombstones

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
OTHER = "99999999-2222-4333-8444-555555555555"
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
        while self.queue._ready:
            key = self.queue._ready.popleft()
            self.queue._queued.pop(key, None)
            await self.reconciler.reconcile(key)

    def run(self) -> Json:
        return self.kube.objects[self.kube.path_of("codexruns", "hello")]

    def jobs(self) -> list[Json]:
        return self.kube.items(self.kube.jobs)


@pytest.fixture
async def operator() -> Operator:
    return Operator()


def slot_taken(operator: Operator, *, free: bool = False) -> None:
    """Another run holds the only slot, or has just given it back."""
    labels = {
        "codexrun.dev/run-uid": OTHER,
        "codexrun.dev/run": "other",
        "codexrun.dev/job-type": "hello",
    }
    over = {"conditions": [{"type": "Complete", "status": "True"}]} if free else {}
    metadata = {"name": "other", "uid": "job-other", "labels": labels, "ownerReferences": OWNER}
    operator.cache.update_job({"metadata": metadata, "spec": {}, "status": over})


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


def test_tombstones_are_bounded_and_let_newer_versions_pass() -> None:
    graves = Tombstones(limit=2)
    for uid, version in (("a", 5), ("b", DELETED_VERSION), ("a", 3)):
        graves.bury(uid, version)
    assert [graves.covers("a", version) for version in (4, 5, 6)] == [True, True, False]
    assert graves.covers("b", 10**12)
    assert not graves.covers("c", 1)
    graves.bury("c", 1)
    assert (len(graves), graves.covers("b", 1), graves.covers("a", 1)) == (2, False, True)


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
        "name": "p",
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
        (RUN_ENDED, job_json(), pod_json(), ["hello-11111111-1", "p"]),
        (None, job_json(), pod_json(), ["hello-11111111-1", "p"]),
        (ANOTHER_RUN, job_json(), pod_json(), ["hello-11111111-1", "p"]),
        (None, job_json(), None, ["hello-11111111-1"]),
        (RUN_ENDED, job_json(spec={"suspend": True}), None, ["hello-11111111-1"]),
        (RUN_ENDED, None, pod_json(), ["p"]),
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
    assert len(operator.cache.holders["hello"]) == 0
    operator.cache.update_job(operator.kube.put("jobs", job_json()))
    await operator.drain()
    assert operator.jobs() == []


async def test_objects_that_others_label_with_a_run_are_not_ended_with_it(
    operator: Operator,
) -> None:
    """A team's collector pod names the run that it belongs to."""
    theirs = pod_json("Running", name="collector", uid="pod-2")
    theirs["metadata"]["labels"] = {"codexrun.dev/run-uid": UID}
    operator.kube.put("codexruns", RUN_ENDED)
    operator.kube.put("pods", theirs)
    operator.cache.update_job(operator.kube.put("jobs", job_json()))
    await operator.drain()
    assert operator.jobs() == []
    assert [pod["metadata"]["name"] for pod in operator.kube.items(operator.kube.pods)] == [
        "collector"
    ]
