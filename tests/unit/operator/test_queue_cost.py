"""What a queue costs: nothing for a run whose turn has not come, however many wait.

Looks and writes are counted, not seconds.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from builders import by, kind_json, prompt_json, run_json
from fake_kube import FakeKube

from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.keys import Kind
from codexrun_operator.watch.resync import Resync

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
RUNS = 200
SLOTS = 3


class Operator:
    """One that has just started, before a full queue; `looks` counts by kind of key."""

    def __init__(
        self,
        reason: str = "ConcurrencyLimit",
        *,
        kube: FakeKube | None = None,
        workers: int = 1,
        **spec: Any,
    ) -> None:
        self.kube = kube or FakeKube()
        self.kube.version = 10_000
        self.looks: Counter[Kind] = Counter()
        self.reconciler = Reconciler(self.kube, PODS, workers=workers)
        self.cache = self.reconciler.cache
        self.queue = self.reconciler.queue
        self.queue.add_later = lambda key, seconds: None  # type: ignore[method-assign]
        self.cache.update_prompt(prompt_json())
        self.kube.put("codexjobtypes", kind_json(**{"concurrencyLimit": SLOTS, **spec}))
        for number in range(RUNS):
            self.put(number, reason=reason)

    def put(self, number: int, phase: str = "Queued", **more: Any) -> Json:
        return self.kube.put(
            "codexruns",
            run_json(
                phase,
                uid=str(uuid.UUID(int=(number + 1) * 2**96)),
                name=f"r{number}",
                age=10_000 - number,
                version=10 + number,
                **more,
            ),
        )

    async def start(self) -> None:
        await Resync(self.kube, self.cache, self.queue).sync()
        await self.settle()

    async def settle(self) -> None:
        while (key := self.queue.take()) is not None:
            self.looks[key.kind] += 1
            await self.reconciler.reconcile(key)
            for job in self.kube.items(self.kube.jobs):
                self.cache.update_job(job)

    def change_job_type(self, **spec: Any) -> None:
        self.kube.version += 1
        item = kind_json(version=self.kube.version, generation=2, **spec)
        self.cache.update_job_type(self.kube.put("codexjobtypes", item))

    def forget_counts(self) -> None:
        self.looks.clear()
        self.kube.calls.clear()

    @property
    def writes(self) -> int:
        return len(self.kube.writes("replace", "/codexruns/"))

    @property
    def started(self) -> list[str]:
        jobs = self.kube.items(self.kube.jobs)
        return [job["metadata"]["labels"]["codexrun.dev/run"] for job in jobs]


# a start is looked at again when its status is written and its Job shows
LOOKS_PER_START = 4


async def test_a_restart_looks_at_those_whose_turn_it_is() -> None:
    operator = Operator()
    await operator.start()
    assert operator.started == ["r0", "r1", "r2"]
    assert operator.looks[Kind.RUN] <= SLOTS * LOOKS_PER_START
    assert operator.writes == SLOTS
    assert len(operator.cache.scheduler.queues["hello"]) == RUNS - SLOTS


async def test_a_raised_limit_starts_the_next_and_writes_nothing_else() -> None:
    operator = Operator()
    await operator.start()
    operator.forget_counts()
    operator.change_job_type(concurrencyLimit=SLOTS + 1)
    await operator.settle()
    assert operator.started[SLOTS:] == ["r3"]
    assert operator.looks[Kind.RUN] <= LOOKS_PER_START
    assert operator.writes == 1


async def test_each_resync_costs_a_queue_nothing() -> None:
    operator = Operator()
    await operator.start()
    operator.forget_counts()
    await operator.start()
    assert (operator.looks[Kind.RUN], operator.writes) == (0, 0)


async def test_a_freed_slot_is_one_look_at_the_next() -> None:
    operator = Operator()
    await operator.start()
    operator.forget_counts()
    uid = str(uuid.UUID(int=2**96))
    (job,) = [
        job
        for job in operator.kube.items(operator.kube.jobs)
        if job["metadata"]["labels"]["codexrun.dev/run"] == "r0"
    ]
    gone = job | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    gone["metadata"] = job["metadata"] | {"resourceVersion": str(operator.kube.version + 1)}
    del operator.kube.objects[operator.kube.path_of("jobs", job["metadata"]["name"])]
    operator.cache.forget(uid)
    operator.cache.update_job(gone, gone=True)
    await operator.settle()
    assert operator.started[-1] == "r3"
    # and at the one that has ended
    assert operator.looks[Kind.RUN] <= LOOKS_PER_START + 1


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"suspended": True}, "Suspended"),
        ({"suspended": True}, {"suspended": False}, "ConcurrencyLimit"),
    ],
    ids=["suspended", "resumed"],
)
async def test_what_a_run_waits_for_is_told_once(before: Json, after: Json, reason: str) -> None:
    operator = Operator("Suspended" if before else "ConcurrencyLimit", **before)
    await operator.start()
    operator.forget_counts()
    operator.change_job_type(concurrencyLimit=SLOTS, **after)
    await operator.settle()
    waiting = [
        run for run in operator.kube.items(operator.kube.runs) if run["status"]["phase"] == "Queued"
    ]
    assert {run["status"]["reason"] for run in waiting} == {reason}
    assert operator.writes <= RUNS
    operator.forget_counts()
    await operator.start()
    assert (operator.looks[Kind.RUN], operator.writes) == (0, 0)


@pytest.mark.parametrize("what", ["cancel", "priority"])
async def test_who_waits_is_heard_at_once(what: str) -> None:
    operator = Operator()
    await operator.start()
    operator.forget_counts()
    last = operator.kube.objects[operator.kube.path_of("codexruns", f"r{RUNS - 1}")]
    last["spec"] |= {"cancel": by()} if what == "cancel" else {"priority": 9}
    operator.kube.version += 1
    last["metadata"] |= {"resourceVersion": str(operator.kube.version), "generation": 2}
    operator.cache.update_run(last)
    await operator.settle()
    if what == "cancel":
        assert last["metadata"]["name"] not in operator.started
        phase = operator.kube.objects[operator.kube.path_of("codexruns", f"r{RUNS - 1}")]
        assert phase["status"]["phase"] == "Cancelled"
    else:
        operator.change_job_type(concurrencyLimit=SLOTS + 1)
        await operator.settle()
        assert operator.started[-1] == f"r{RUNS - 1}"
    assert operator.looks[Kind.RUN] <= LOOKS_PER_START + 1


@pytest.mark.parametrize("gone", [False, True], ids=["edited", "deleted"])
async def test_no_worker_keeps_the_loop_to_itself(gone: bool) -> None:
    """Whatever changes for all who wait, others come in between."""
    operator = Operator()
    await operator.start()
    queue = operator.queue
    workers = asyncio.create_task(queue.run())
    if gone:
        job_type = operator.kube.objects[operator.kube.path_of("codexjobtypes", "hello")]
        operator.cache.update_job_type(job_type, gone=True)
    else:
        operator.change_job_type(concurrencyLimit=SLOTS, suspended=True)
    turns = 0
    while queue.depth:
        before = queue.depth
        await asyncio.sleep(0)
        turns += 1
        assert before - queue.depth <= 1
    assert turns >= RUNS - SLOTS
    workers.cancel()
    await asyncio.wait((workers,))


async def test_a_run_that_was_made_invalid_is_rejected_in_its_turn_and_holds_nobody_up() -> None:
    operator = Operator()
    operator.put(SLOTS, inputs={}, reason="ConcurrencyLimit")
    await operator.start()
    operator.change_job_type(concurrencyLimit=SLOTS + 1)
    await operator.settle()
    status = operator.kube.objects[operator.kube.path_of("codexruns", f"r{SLOTS}")]["status"]
    assert status["phase"] == "Rejected"
    assert operator.started[-1] == f"r{SLOTS + 1}"


# -- what was taken away and comes back ----------------------------------------------------------


class SlowWrites(FakeKube):
    """A status write is answered when `open` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()

    async def replace(self, path: str, body: Json) -> Json:
        await self.open.wait()
        return await super().replace(path, body)


def prompt_lost(operator: Operator) -> None:
    operator.cache.update_prompt(prompt_json(version=50), gone=True)


def prompt_back(operator: Operator) -> None:
    item = prompt_json(version=60)
    item["metadata"]["uid"] = "prompt-2"
    operator.cache.update_prompt(item)


def job_type_lost(operator: Operator) -> None:
    operator.kube.version += 1
    operator.cache.update_job_type(kind_json(version=operator.kube.version), gone=True)


def job_type_back(operator: Operator) -> None:
    operator.kube.version += 1
    item = kind_json(version=operator.kube.version, uid="kind-2", concurrencyLimit=2 * SLOTS)
    operator.cache.update_job_type(operator.kube.put("codexjobtypes", item))


@pytest.mark.parametrize(
    ("lose", "bring_back"),
    [(job_type_lost, job_type_back), (prompt_lost, prompt_back)],
    ids=["job type", "prompt"],
)
@pytest.mark.parametrize("turns", [0, 1, 5, 40])
async def test_who_waits_keeps_its_place_while_what_it_needs_is_replaced(
    lose: Callable[[Operator], None], bring_back: Callable[[Operator], None], turns: int
) -> None:
    """Whoever is being looked at when it comes back: the best start."""
    kube = SlowWrites()
    operator = Operator(kube=kube, workers=16)
    await operator.start()
    before = len(operator.started)
    work = asyncio.create_task(operator.queue.run())
    kube.open.clear()
    lose(operator)
    if lose is prompt_lost:
        operator.change_job_type(concurrencyLimit=2 * SLOTS)  # and slots become free meanwhile
    for _ in range(turns):
        await asyncio.sleep(0)
    bring_back(operator)
    kube.open.set()
    for _ in range(100 * RUNS):
        await asyncio.sleep(0)
        for job in kube.items(kube.jobs):
            operator.cache.update_job(job)
        if len(operator.started) > before + SLOTS - 1 and not operator.queue._running:
            break
    work.cancel()
    assert sorted(operator.started, key=lambda name: int(name[1:])) == [
        f"r{number}" for number in range(2 * SLOTS)
    ]


async def test_a_run_whose_prompt_is_missing_holds_nobody_up() -> None:
    operator = Operator(prompt={"name": "hello", "version": "v1", "allowOverride": True})
    operator.put(0, promptVersion="v2", reason="ConcurrencyLimit")
    await operator.start()
    assert operator.started == [f"r{number}" for number in range(1, SLOTS + 1)]
    operator.cache.update_prompt(prompt_json(version=60))
    await operator.settle()
    assert operator.started == [f"r{number}" for number in range(1, SLOTS + 1)]


@pytest.mark.parametrize("phase", ["Pending", "Queued"])
async def test_nothing_is_kept_of_a_job_type_that_nobody_has_made(phase: str) -> None:
    operator = Operator()
    for number in range(10):
        operator.cache.update_run(operator.put(number, phase, jobType=f"made-up-{number}"))
    await operator.settle()
    for number in range(10):
        operator.kube.version += 1
        run = operator.kube.objects[operator.kube.path_of("codexruns", f"r{number}")]
        run["metadata"]["resourceVersion"] = str(operator.kube.version)
        operator.cache.update_run(run, gone=True)
    await operator.settle()
    assert not operator.cache.scheduler.queues
    assert not operator.cache.ledger.holders
    assert not operator.cache.missing
