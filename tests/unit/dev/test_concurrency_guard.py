"""Concurrency guard: never more runs of a job type than its limit, the rest wait in order, and
maxQueued bounds who waits."""

from datetime import UTC, datetime

from builders import kind_json, prompt_json, run_json
from hypothesis import given
from hypothesis import strategies as st

from codexrun_operator.decide.plan import plan
from codexrun_operator.decide.slots import QueueKey, RunQueue, Slots, may_start
from codexrun_operator.watch.cache import Cache

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
PLACES = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), max_size=12).map(
    lambda given: [
        QueueKey(-p, NOON.timestamp() + age, f"{n:03}") for n, (p, age) in enumerate(given)
    ]
)


def queue_of(waiting: list[QueueKey]) -> RunQueue:
    queue = RunQueue()
    for place in waiting:
        queue.put(place)
    return queue


@given(PLACES, st.integers(1, 5), st.integers(0, 6))
def test_no_more_start_than_slots_are_free_and_the_first_in_line_do(
    waiting: list[QueueKey], limit: int, holders: int
) -> None:
    slots = Slots(limit=limit, holders=holders)
    starting = [place for place in waiting if may_start(place, queue_of(waiting), slots)]
    assert len(starting) == min(len(waiting), max(0, limit - holders))
    assert sorted(starting) == sorted(waiting)[: len(starting)]


@given(PLACES)
def test_a_suspended_job_type_starts_nothing(waiting: list[QueueKey]) -> None:
    slots = Slots(limit=9, holders=0, suspended=True)
    assert not any(may_start(place, queue_of(waiting), slots) for place in waiting)


def test_max_queued_is_exact_also_for_an_operator_that_has_just_started() -> None:
    """The runs that wait already count before they are looked at."""
    cache = Cache(enqueue=lambda _: None)
    cache.update_job_type(kind_json(concurrencyLimit=1, maxQueued=2))
    cache.update_prompt(prompt_json())
    for number in range(2):
        cache.update_run(
            run_json("Queued", uid=f"{number:08}-2222-4333-8444-555555555555", name=f"old-{number}")
        )
    late = run_json("Pending", uid="9" * 8 + "-2222-4333-8444-555555555555", name="late")
    cache.update_run(late)
    seen = cache.snapshot(late["metadata"]["uid"])
    assert seen is not None
    assert seen.queued == 2
    status = plan(seen, NOON).status
    assert status is not None
    assert (status.phase, status.reason) == ("Rejected", "QueueFull")
    assert "no more runs may wait (2 waiting, maxQueued 2)" in (status.message or "")
