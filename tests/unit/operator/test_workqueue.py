"""A key is handled by one worker at a time, queued once, and tried again with a growing pause."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from codexrun_operator.watch import workqueue
from codexrun_operator.watch.workqueue import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, WorkQueue


@asynccontextmanager
async def working(queue: WorkQueue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def until(true: Callable[[], Any]) -> None:
    """Lets everything else run; no clock is involved."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("never came true")


async def test_first_in_first_out_and_once() -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)

    queue = WorkQueue(handle, workers=1)
    for key in "abcab":
        queue.add(key)
    assert queue.depth == 3
    async with working(queue):
        await until(lambda: queue.depth == 0)
    assert seen == ["a", "b", "c"]


async def test_what_is_urgent_goes_first_and_is_handled_once() -> None:
    seen: list[str] = []
    urgent = {"x", "y"}

    async def handle(key: str) -> None:
        seen.append(key)

    queue = WorkQueue(handle, workers=1, is_urgent=urgent.__contains__)
    for key in "abxcy":
        queue.add(key)
    urgent.add("c")
    queue.add("c")  # it has become urgent while it waits
    assert queue.depth == 5
    async with working(queue):
        await until(lambda: queue.depth == 0)
    assert seen == ["x", "y", "c", "a", "b"]


async def test_one_worker_at_a_time_for_a_key_and_again_if_it_changed_meanwhile() -> None:
    busy = 0
    most = 0
    looks = 0
    go = asyncio.Event()

    async def handle(key: str) -> None:
        nonlocal busy, most, looks
        busy = busy + 1
        looks = looks + 1
        most = max(most, busy)
        await go.wait()
        busy -= 1

    queue = WorkQueue(handle, workers=4)
    async with working(queue):
        queue.add("a")
        await until(lambda: busy)
        for _ in range(3):
            queue.add("a")
        assert queue.depth == 0
        go.set()
        await until(lambda: looks == 2 and not busy)
    assert (most, looks) == (1, 2)


async def test_different_keys_side_by_side() -> None:
    busy: set[str] = set()
    go = asyncio.Event()

    async def handle(key: str) -> None:
        busy.add(key)
        await go.wait()

    queue = WorkQueue(handle, workers=2)
    async with working(queue):
        for key in "abc":
            queue.add(key)
        await until(lambda: len(busy) == 2)
        assert (busy, queue.depth) == ({"a", "b"}, 1)


async def test_failures_wait_longer_each_time_and_a_success_forgets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    fail = True

    async def handle(key: str) -> None:
        if fail:
            raise RuntimeError("no")

    queue = WorkQueue(handle, workers=1)
    monkeypatch.setattr(queue, "add_later", lambda key, seconds: pauses.append(seconds))
    async with working(queue):
        for attempt in range(1, 15):
            queue.add("a")
            await until(lambda attempt=attempt: len(pauses) == attempt)
        fail = False
        queue.add("a")
        await until(lambda: not queue._failures)
    assert pauses[0] == FIRST_PAUSE_SECONDS * 2
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_SECONDS


async def test_a_failure_ends_no_worker() -> None:
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)
        raise RuntimeError("no")

    queue = WorkQueue(handle, workers=1)
    async with working(queue):
        queue.add("a")
        queue.add("b")
        await until(lambda: len(seen) == 2)
    assert seen == ["a", "b"]


async def test_of_several_timers_the_earliest_stays() -> None:
    queue = WorkQueue(lambda key: asyncio.sleep(0), workers=1)
    queue.add_later("a", 50)
    queue.add_later("a", 100)
    first, _ = queue._timers["a"]
    queue.add_later("a", 10)
    assert queue._timers["a"][0] < first
    queue.add_later("a", 0)
    await until(lambda: queue.depth)
    assert queue._timers == {}


async def test_forgetting_stops_the_timer() -> None:
    queue = WorkQueue(lambda key: asyncio.sleep(0), workers=1)
    queue.add_later("a", 50)
    _, timer = queue._timers["a"]
    queue.forget("a")
    queue.forget("a")
    assert timer.cancelled()


async def test_the_oldest_wait_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(workqueue.time, "monotonic", lambda: now)
    queue = WorkQueue(lambda key: asyncio.sleep(0), workers=1)
    assert queue.oldest_wait == 0
    queue.add("a")
    now = 107.0
    queue.add("a")
    queue.add("b")
    assert queue.oldest_wait == 7
