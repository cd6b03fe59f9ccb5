"""Whatever the apiserver has against a Job: nobody is Rejected for it, few try, the order stays,
and all run in the end."""

import asyncio
import heapq
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from builders import NOON, agent_report, by, gate_report, kind_json, prompt_json, run_json, stamp
from fake_kube import FakeKube
from refusals import REFUSALS

from codexrun_core.errors import Refused, Unavailable
from codexrun_core.refusals import Cause
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.keys import Key, Kind

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
WORKERS = 16
OUTAGE = 600  # seconds
EVERY = [(name, limit, 25) for name in REFUSALS for limit in (1, 20)]
# One of each status and cause.
KINDS = {(status, cause): name for name, (status, _, _, cause) in reversed(REFUSALS.items())}
MANY = [pytest.param(name, 20, 300, marks=pytest.mark.local) for name in sorted(KINDS.values())]


def uid(number: int) -> str:
    return str(uuid.UUID(int=(number + 1) * 2**96))


class Apiserver(FakeKube):
    """Refuses Jobs as `refuses` says (by name of the run), after giving way as a request does."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str], Refused | None] = lambda run: None
        self.posts: list[str] = []
        self.made: list[str] = []

    async def create(self, path: str, body: Json) -> Json:
        if path == self.jobs:
            run = body["metadata"]["labels"]["codexrun.dev/run"]
            self.posts.append(run)
            await asyncio.sleep(0)
            if refusal := self.refuses(run):
                raise refusal
            self.made.append(run)
        return await super().create(path, body)


class Cluster:
    """Workers as in the real process, and a clock that stands still while there is anything to
    do."""

    def __init__(self, **spec: Any) -> None:
        self.kube = Apiserver()
        self.seconds = 0.0
        self.timers: list[tuple[float, str]] = []
        self.reconciler = Reconciler(self.kube, PODS, workers=WORKERS, clock=lambda: self.seconds)
        self.cache = self.reconciler.cache
        self.queue = self.reconciler.queue
        self.queue.add_later = self.later  # type: ignore[method-assign]
        self.cache.update_prompt(prompt_json())
        self.cache.update_job_type(self.kube.put("codexjobtypes", kind_json(**spec)))

    def later(self, key: Key, seconds: float) -> None:
        if key.kind is not Kind.EXPIRY:
            heapq.heappush(self.timers, (self.seconds + seconds, key))

    def apply(self, number: int, phase: str = "Queued", **spec: Any) -> None:
        """A run; the smaller its number the older it is."""
        item = run_json(
            phase,
            uid=uid(number),
            name=f"r{number}",
            age=10_000 - number,
            version=10 + number,
            **spec,
        )
        self.cache.update_run(self.kube.put("codexruns", item))

    def change(self, number: int, **spec: Any) -> None:
        item = self.kube.objects[self.kube.path_of("codexruns", f"r{number}")]
        self.kube.version += 1000
        item["metadata"]["resourceVersion"] = str(self.kube.version)
        item["spec"] |= spec
        self.cache.update_run(item)

    def status(self, number: int) -> Json:
        status: Json = self.kube.objects[self.kube.path_of("codexruns", f"r{number}")]["status"]
        return status

    def reasons(self) -> Counter[str]:
        runs = self.kube.items(self.kube.runs)
        return Counter(f"{run['status']['phase']}/{run['status']['reason']}" for run in runs)

    def ready(self) -> Json:
        job_type = self.kube.objects[self.kube.path_of("codexjobtypes", "hello")]
        (condition,) = job_type["status"]["conditions"]
        found: Json = condition
        return found

    async def settle(self) -> None:
        while self.queue.depth or self.queue._running:
            assert (
                len(self.cache.ledger.holders["hello"])
                <= self.cache.job_types["hello"].spec.concurrency_limit
            )
            await asyncio.sleep(0)
            for job in self.kube.items(self.kube.jobs):
                if "seen" not in job:
                    job["seen"] = True
                    self.cache.update_job(job)

    async def until(self, seconds: float) -> None:
        """Let every timer ring that is due by then."""
        await self.settle()
        while self.timers and self.timers[0][0] <= seconds:
            due, key = heapq.heappop(self.timers)
            self.seconds = max(self.seconds, due)
            self.queue.add(key)
            await self.settle()
        self.seconds = seconds

    def finish_jobs(self) -> None:
        """Every pod that runs ends well."""
        for job in self.kube.items(self.kube.jobs):
            if job.get("status"):
                continue
            name = job["metadata"]["name"]
            labels = job["metadata"]["labels"]
            pod = {
                "metadata": {
                    "name": f"{name}-pod",
                    "uid": f"pod-{name}",
                    "labels": labels,
                    "resourceVersion": "1",
                },
                "spec": {"nodeName": "n"},
                "status": {
                    "phase": "Succeeded",
                    "containerStatuses": [_ended("agent", agent_report())],
                    "initContainerStatuses": [_ended("gate", gate_report())],
                },
            }
            self.cache.update_pod(pod)
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
            self.kube.version += 1
            job["metadata"]["resourceVersion"] = str(self.kube.version)
            self.cache.update_job(job)

    async def run_all(self) -> None:
        """Until every run has ended."""
        for _ in range(3000):
            self.finish_jobs()
            await self.until(self.seconds + 1)
            if not self.cache.runs:
                return
        raise AssertionError(f"not all have run: {self.reasons()}")


def _ended(name: str, report: Json) -> Json:
    over = {
        "exitCode": 0,
        "message": json.dumps(report),
        "startedAt": stamp(NOON),
        "finishedAt": stamp(NOON),
    }
    return {"name": name, "state": {"terminated": over}}


@asynccontextmanager
async def working(**spec: Any) -> AsyncIterator[Cluster]:
    cluster = Cluster(**spec)
    workers = asyncio.create_task(cluster.queue.run())
    try:
        yield cluster
    finally:
        workers.cancel()
        await asyncio.wait((workers,))


def everybody(name: str) -> Callable[[str], Refused | None]:
    status, reason, message, _ = REFUSALS[name]
    return lambda run: Refused(status, reason, message)


@pytest.mark.parametrize(("name", "limit", "runs"), [*EVERY, *MANY])
async def test_a_refusal_costs_no_run_and_few_requests(name: str, limit: int, runs: int) -> None:
    async with working(concurrencyLimit=limit) as cluster:
        cluster.kube.refuses = everybody(name)
        for number in range(runs):
            cluster.apply(number)
        await cluster.until(OUTAGE)
        assert {reason.partition("/")[0] for reason in cluster.reasons()} == {"Queued"}
        assert (
            len(cluster.cache.scheduler.queues["hello"]) + len(cluster.cache.ledger.creations)
            == runs
        )
        if REFUSALS[name][3] is Cause.CONFLICT:
            # No verdict: the first in line keep their slots, and try again as after any lost
            # answer.
            assert len(cluster.kube.posts) <= limit * 30
        else:
            # Those that were under way at the first refusal, then 1, 2, 4, ... 60 s apart.
            assert len(cluster.kube.posts) <= min(limit, WORKERS) + 20
            assert cluster.ready()["status"] == "False"
            assert cluster.ready()["reason"] == REFUSALS[name][3]
        writes = Counter(
            path
            for verb, path, _ in cluster.kube.calls
            if verb == "replace" and path.startswith(cluster.kube.runs)
        )
        assert max(writes.values()) <= 3
        cluster.kube.refuses = lambda run: None
        await cluster.run_all()
        assert cluster.kube.made == [f"r{number}" for number in range(runs)]
        assert cluster.reasons() == {"Succeeded/Completed": runs}
        await cluster.until(cluster.seconds + 10)
        assert cluster.ready()["status"] == "True"


async def test_those_who_wait_are_told_of_a_hold_that_lasts() -> None:
    async with working(concurrencyLimit=1) as cluster:
        cluster.kube.refuses = everybody("webhook")
        for number in range(5):
            cluster.apply(number)
        await cluster.until(20)
        assert cluster.reasons() == {"Queued/JobTypeHeld": 5}
        assert "require-labels" in cluster.status(4)["message"]
        assert "require-labels" in cluster.ready()["message"]


@pytest.mark.parametrize(("first", "then"), [("quota", "rbac"), ("rbac", "webhook")])
async def test_those_who_wait_are_told_of_another_cause(first: str, then: str) -> None:
    async with working(concurrencyLimit=1) as cluster:
        cluster.kube.refuses = everybody(first)
        for number in range(5):
            cluster.apply(number)
        await cluster.until(100)
        assert {cluster.status(number)["reason"] for number in range(5)} == {"JobTypeHeld"}
        cluster.kube.refuses = everybody(then)
        await cluster.until(400)
        cause = REFUSALS[then][3]
        for number in range(5):
            assert f"({cause})" in cluster.status(number)["message"], number
        cluster.kube.calls.clear()
        await cluster.until(1000)  # and of the same cause not again
        assert not cluster.kube.writes("replace", "/codexruns/")


async def test_a_run_that_alone_is_refused_holds_nobody_up() -> None:
    bad = Refused(422, "Invalid", 'Job.batch "x" is invalid: spec.template: Invalid value')
    async with working(concurrencyLimit=2) as cluster:
        cluster.kube.refuses = lambda run: bad if run == "r0" else None
        for number in range(20):
            cluster.apply(number)
        for _ in range(100):
            cluster.finish_jobs()
            await cluster.until(cluster.seconds + 1)
        assert cluster.reasons() == {"Succeeded/Completed": 19, "Queued/JobRefused": 1}
        assert "spec.template" in cluster.status(0)["message"]
        assert cluster.kube.made == [f"r{number}" for number in range(1, 20)]
        assert Counter(cluster.kube.posts)["r0"] <= 8
        assert cluster.ready()["status"] == "True"
        cluster.kube.refuses = lambda run: None
        await cluster.run_all()
        assert cluster.kube.made[-1] == "r0"


async def test_quota_that_frees_one_place_serves_the_first_in_line() -> None:
    """Five Jobs at a time, although the job type would let twenty run."""
    async with working(concurrencyLimit=20) as cluster:

        def quota(run: str) -> Refused | None:
            live = sum(not job.get("status") for job in cluster.kube.items(cluster.kube.jobs))
            status, reason, message, _ = REFUSALS["quota"]
            return Refused(status, reason, message) if live >= 5 else None

        cluster.kube.refuses = quota
        for number in range(100):
            cluster.apply(number)
        await cluster.until(30)
        assert cluster.kube.made == [f"r{number}" for number in range(5)]
        assert len(cluster.kube.posts) <= 5 + WORKERS + 5
        cluster.finish_jobs()
        await cluster.until(OUTAGE)
        assert cluster.kube.made == [f"r{number}" for number in range(10)]
        assert len(cluster.kube.posts) <= 2 * (5 + WORKERS) + 30


async def test_max_queued_counts_those_whose_job_was_refused() -> None:
    async with working(concurrencyLimit=1, maxQueued=3) as cluster:
        cluster.kube.refuses = everybody("quota")
        for number in range(3):
            cluster.apply(number, "Pending")
            await cluster.until(0)
        cluster.apply(3, "Pending")
        await cluster.until(10)
        assert cluster.reasons() == {"Queued/JobTypeHeld": 3, "Rejected/QueueFull": 1}


async def test_a_run_that_does_not_want_to_wait_is_rejected_without_a_try() -> None:
    async with working(concurrencyLimit=5) as cluster:
        cluster.kube.refuses = everybody("webhook")
        cluster.apply(0)
        await cluster.until(0)
        tried = len(cluster.kube.posts)
        cluster.apply(1, "Pending", whenFull="Reject")
        await cluster.until(0)
        assert (cluster.status(1)["phase"], cluster.status(1)["reason"]) == (
            "Rejected",
            "JobTypeHeld",
        )
        assert len(cluster.kube.posts) == tried


async def test_a_refused_run_that_does_not_want_to_wait_leaves_no_hold_behind() -> None:
    async with working(concurrencyLimit=5) as cluster:
        cluster.kube.refuses = everybody("webhook")
        cluster.apply(0, "Pending", whenFull="Reject")
        await cluster.until(10)
        assert cluster.reasons() == {"Rejected/JobTypeHeld": 1}
        assert cluster.ready()["status"] == "True"
        cluster.kube.refuses = lambda run: None
        cluster.apply(1, "Pending", whenFull="Reject")
        await cluster.until(10)
        assert cluster.status(1)["phase"] == "Starting"


@pytest.mark.parametrize("what", ["cancelled", "deleted", "of a lower priority"])
async def test_when_the_one_that_tries_is_gone_the_next_one_tries(what: str) -> None:
    async with working(concurrencyLimit=1) as cluster:
        cluster.kube.refuses = everybody("quota")
        for number in range(3):
            cluster.apply(number)
        await cluster.until(100)
        cluster.kube.refuses = lambda run: None
        if what == "cancelled":
            cluster.change(0, cancel=by())
        elif what == "deleted":
            cluster.cache.update_run(
                cluster.kube.objects.pop(cluster.kube.path_of("codexruns", "r0")), gone=True
            )
        else:
            cluster.change(0, priority=-1)
        await cluster.until(200)
        assert cluster.kube.made == ["r1"]
        if what == "cancelled":
            assert cluster.status(0)["phase"] == "Cancelled"


async def test_a_job_type_that_was_changed_is_tried_at_once() -> None:
    async with working(concurrencyLimit=1) as cluster:
        cluster.kube.refuses = everybody("invalid field")
        cluster.apply(0)
        await cluster.until(300)
        cluster.kube.refuses = lambda run: None
        changed = kind_json(version=cluster.kube.version + 1, generation=2, concurrencyLimit=2)
        cluster.cache.update_job_type(cluster.kube.put("codexjobtypes", changed))
        await cluster.until(300)
        assert cluster.kube.made == ["r0"]


async def test_a_try_whose_answer_was_lost_is_one_try() -> None:
    async with working(concurrencyLimit=5) as cluster:
        cluster.kube.refuses = everybody("quota")
        for number in range(3):
            cluster.apply(number)
        await cluster.until(100)
        cluster.kube.refuses = lambda run: None
        cluster.kube.fail("create", "/jobs", Unavailable("lost"), after=True)
        await cluster.until(300)
        assert sorted(cluster.kube.made[:1]) == ["r0"]
        assert {run["status"]["phase"] for run in cluster.kube.items(cluster.kube.runs)} == {
            "Starting"
        }


DOWN = Unavailable('POST jobs: HTTP 500: failed calling webhook "w"')


async def test_a_try_without_an_answer_holds_nobody_up() -> None:
    """A webhook fails on the Job of the one that tries: the others go on, and it keeps its slot."""
    async with working(concurrencyLimit=5) as cluster:
        cluster.kube.refuses = everybody("quota")
        for number in range(5):
            cluster.apply(number)
        await cluster.until(20)
        cluster.kube.refuses = lambda run: DOWN if run == "r0" else None
        await cluster.until(300)
        assert sorted(cluster.kube.made) == ["r1", "r2", "r3", "r4"]
        cluster.kube.refuses = lambda run: None
        await cluster.until(400)
        assert cluster.kube.made[-1] == "r0"


@pytest.mark.parametrize("held", [False, True])
async def test_a_cancel_is_carried_out_although_no_creation_is_answered(*, held: bool) -> None:
    async with working(concurrencyLimit=5) as cluster:
        if held:
            cluster.kube.refuses = everybody("quota")
            cluster.apply(0)
            await cluster.until(20)
        cluster.kube.refuses = lambda run: DOWN
        if not held:
            cluster.apply(0)
        await cluster.until(100)
        posts = len(cluster.kube.posts)
        cluster.change(0, cancel=by())
        await cluster.until(200)
        assert cluster.status(0)["phase"] == "Cancelled"
        assert len(cluster.kube.posts) <= posts + 1
        assert cluster.kube.made == []
        assert not cluster.cache.ledger.holders["hello"]
