"""Where a waiting run stands, and about when it may start."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_rows import NOON, later, row

from codexrun_core.runs.queue_position import QueuePosition, queue_position, slot_free_at
from codexrun_core.runs.record import RunRecord

MINUTE = timedelta(minutes=1)


def queued(number: int, **given: Any) -> RunRecord:
    return row(number, "queued", **given)


def running(number: int, since: float) -> RunRecord:
    return row(number, "running", started_at=later(since))


ME = queued(5)

CASES = [
    ("a free slot: at once", [ME], 1, NOON, 1),
    ("one runs for 20 s already: 40 s more", [ME, running(0, -20)], 1, later(40), 1),
    ("the second slot is free earlier", [ME, running(0, -20), running(1, -50)], 2, later(10), 1),
    ("one is ahead: it takes the first slot", [ME, queued(1), running(0, -20)], 1, later(100), 2),
    (
        "one is ahead, but there are two slots",
        [ME, queued(1), running(0, -20), running(2, -10)],
        2,
        later(50),
        2,
    ),
    ("a later run does not count", [ME, queued(6), running(0, -20)], 1, later(40), 1),
    (
        "a later run of higher priority does",
        [ME, queued(6, priority=1), running(0, -20)],
        1,
        later(100),
        2,
    ),
    ("nobody knows when a run past its usual length ends", [ME, running(0, -600)], 1, None, 1),
    (
        "a slot with a known end, beside one without",
        [ME, running(0, -600), running(1, -20)],
        2,
        later(40),
        1,
    ),
    (
        "the limit was lowered, and of the two that must end one is past its length",
        [ME, running(0, -600), running(1, -20)],
        1,
        None,
        1,
    ),
    (
        "the limit was lowered: two must end",
        [ME, running(0, -20), running(1, -10)],
        1,
        later(50),
        1,
    ),
    ("suspended: no slot will come", [ME], 0, None, 1),
    ("a stopping run holds its slot", [ME, row(0, "stopping", started_at=NOON)], 1, later(60), 1),
    ("a starting run has all its time before it", [ME, row(0, "starting")], 1, later(60), 1),
    ("what has ended holds nothing", [ME, row(0, "failed"), row(1, "succeeded")], 1, NOON, 1),
]


@pytest.mark.parametrize(
    ("peers", "limit", "eta", "position"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_place(peers: list[RunRecord], limit: int, eta: datetime | None, position: int) -> None:
    assert queue_position(ME, peers, limit, MINUTE, NOON) == QueuePosition(position, eta)


def test_with_nothing_to_learn_from_only_a_free_slot_has_a_time() -> None:
    assert queue_position(ME, [ME, running(0, 0)], 1, None, NOON) == QueuePosition(1, None)
    assert queue_position(ME, [ME], 1, None, NOON) == QueuePosition(1, NOON)


@pytest.mark.parametrize("status", ["pending", "starting", "running", "succeeded"])
def test_what_does_not_wait_has_no_place(status: str) -> None:
    assert queue_position(row(0, status), [], 1, MINUTE, NOON) is None


peers = st.lists(
    st.builds(
        lambda number, status, age, priority: row(
            number, status, started_at=later(-age), priority=priority
        ),
        st.integers(10, 60),
        st.sampled_from(["queued", "running", "starting", "stopping", "succeeded"]),
        st.integers(0, 200),
        st.integers(-2, 2),
    ),
    max_size=20,
    unique_by=lambda run: run.run_id,
)


@settings(deadline=None)
@given(peers, st.integers(1, 5))
def test_places_are_numbered_in_turn_and_times_never_fall(
    everyone: list[RunRecord], limit: int
) -> None:
    places = [
        found for run in everyone if (found := queue_position(run, everyone, limit, MINUTE, NOON))
    ]
    places.sort(key=lambda found: found.position)
    assert [found.position for found in places] == list(range(1, len(places) + 1))
    times = [found.eta for found in places if found.eta]
    assert len(times) in (0, len(places))
    assert times == sorted(times)
    assert all(time >= NOON for time in times)


@settings(deadline=None)
@given(peers, st.integers(1, 5), st.integers(0, 5))
def test_one_slot_more_is_never_later(everyone: list[RunRecord], limit: int, ahead: int) -> None:
    one = slot_free_at(ahead, everyone, limit, MINUTE, NOON)
    more = slot_free_at(ahead, everyone, limit + 1, MINUTE, NOON)
    assert one is None or (more is not None and more <= one)
