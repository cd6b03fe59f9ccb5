"""Liveness proves progress: each loop that stands still, and a kopf that tells nothing, turns
/healthz red and says so."""

import asyncio
import time

import aiohttp
import pytest
from builders import run_json
from fake_kube import FakeKube

from codexrun_operator import health
from codexrun_operator.watch.cache import Cache
from codexrun_operator.watch.resync import Resync
from codexrun_operator.watch.workqueue import WorkQueue

DAYS = 10**6  # seconds


async def nothing(_: str) -> None:
    """A handler that has nothing to do."""


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
def resync(kube: FakeKube) -> Resync:
    queue = WorkQueue(nothing, workers=1)
    return Resync(kube, Cache(enqueue=queue.add), queue)


async def test_runs_of_the_first_list_blame_nobody(kube: FakeKube, resync: Resync) -> None:
    kube.put("codexruns", run_json(name="old", uid="uid-old", age=DAYS))
    await resync.sync()
    assert resync.missed == 0


async def test_a_run_that_kopf_never_told_of_counts_until_kopf_speaks(
    kube: FakeKube, resync: Resync
) -> None:
    await resync.sync()
    for number, name in enumerate(("one", "two"), start=1):
        kube.put("codexruns", run_json(name=name, uid=f"uid-{name}", age=DAYS))
        await resync.sync()
        await resync.sync()  # nothing new: no proof of life either
        assert resync.missed == number
    resync.kopf_reported()
    assert resync.missed == 0


def test_a_loop_that_stands_still_is_named() -> None:
    fresh = health.older_than(60, time.monotonic, "watch of pods")
    stuck = health.older_than(60, lambda: time.monotonic() - 61, "watch of pods")
    assert fresh() is None
    assert (stuck() or "").startswith("watch of pods: no activity for 61 s")


async def test_a_key_that_no_worker_takes_grows_old() -> None:
    taken = asyncio.Queue[str]()
    blocked = asyncio.Event()

    async def hang(key: str) -> None:
        taken.put_nowait(key)
        await blocked.wait()

    queue = WorkQueue(hang, workers=1)
    task = asyncio.create_task(queue.run())
    queue.add("first")
    assert await taken.get() == "first"
    queue.add("second")
    assert queue.oldest_wait > 0
    blocked.set()
    assert await taken.get() == "second"
    assert queue.oldest_wait == 0
    task.cancel()


@pytest.mark.local
async def test_healthz_answers_503_and_says_which_check_failed(unused_tcp_port: int) -> None:
    trouble: list[str | None] = [None]
    runner = await health.serve(
        unused_tcp_port, {"kopf": lambda: trouble[0]}, lambda: None, lambda: None
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as http:
            assert (await http.get("/healthz")).status == 200
            trouble[0] = "told nothing"
            answer = await http.get("/healthz")
            assert (answer.status, await answer.json()) == (
                503,
                {"failed": {"kopf": "told nothing"}},
            )
            assert "codexrun_operator_leader" in await (await http.get("/metrics")).text()
    finally:
        await runner.cleanup()
