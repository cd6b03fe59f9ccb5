"""A run's moves are told once each, whatever order its states are seen in; an end is final, and
nothing goes back."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_rows import UID, later, row, run_id, seen

from codexrun_core.logs import JsonFormatter
from codexrun_core.registry import Registry
from codexrun_core.runs import lifecycle_hooks
from codexrun_core.runs.lifecycle_hooks import Transition, event_id, transition_between
from codexrun_core.runs.record import RunRecord, merge

# The life of one run: a wait that changes its reason, a first attempt that is put back, a second
# one that ends.
LIFE = [
    seen("Pending", 1),
    seen("Queued", 2, reason="ConcurrencyLimit"),
    seen("Queued", 3, reason="Budget"),
    seen("Starting", 4, attempt=1),
    seen("Running", 5, attempt=1, startedAt="2026-06-01T12:00:30Z"),
    seen("Running", 6, attempt=1, usage={"totalTokens": 10, "requests": 1}),
    seen("Queued", 7, attempt=2, reason="RateLimitHold", usage={"totalTokens": 20, "requests": 2}),
    seen("Starting", 8, attempt=2, usage={"totalTokens": 20, "requests": 2}),
    seen(
        "Running",
        9,
        attempt=2,
        usage={"totalTokens": 20, "requests": 2},
        startedAt="2026-06-01T12:05:00Z",
    ),
    seen("Stopping", 10, attempt=2, usage={"totalTokens": 40, "requests": 4}),
    seen(
        "Succeeded",
        11,
        attempt=2,
        usage={"totalTokens": 50, "requests": 5},
        startedAt="2026-06-01T12:05:00Z",
        finishedAt="2026-06-01T12:06:00Z",
        result={"message": "done"},
    ),
]
END = LIFE[-1]

# Any states of it, in any order and as often as may be, the end among them.
orders = st.lists(st.sampled_from(LIFE), max_size=25).flatmap(
    lambda some: st.permutations([*some, END])
)


def applied(states: list[RunRecord]) -> tuple[RunRecord, list[Transition]]:
    """What the registry does, without a database."""
    current = None
    told = []
    for state in states:
        after = merge(current, state) if current else state
        if moved := transition_between(current, after):
            told.append(moved)
        current = after
    assert current
    return current, told


@settings(deadline=None)
@given(orders)
def test_any_order_gives_the_same_row_and_each_transition_at_most_once(
    states: list[RunRecord],
) -> None:
    current, told = applied(states)
    assert replace(current, updated_at=END.updated_at) == END
    assert len({moved.event_id for moved in told}) == len(told)
    assert told[-1].status == "succeeded"


@settings(deadline=None)
@given(orders)
def test_nothing_goes_back_and_an_end_is_final(states: list[RunRecord]) -> None:
    current: RunRecord | None = None
    for state in states:
        after = merge(current, state) if current else state
        if current:
            assert (after.attempt, after.rank) >= (current.attempt, current.rank)
            assert not current.terminal or after == current
        current = after


@settings(deadline=None)
@given(st.lists(st.sampled_from(LIFE[:-1]), min_size=1, max_size=25))
def test_without_the_end_the_latest_state_stands(states: list[RunRecord]) -> None:
    latest = max(states, key=lambda state: state.revision)
    current, _ = applied(states)
    assert replace(
        current,
        **{
            name: getattr(latest, name)
            for name in ("updated_at", "cost_tokens", "requests", "usage_complete")
        },
    )
    assert (current.status, current.attempt, current.reason) == (
        latest.status,
        latest.attempt,
        latest.reason,
    )


@pytest.mark.parametrize("end", ["Succeeded", "Failed", "Cancelled", "Rejected"])
@pytest.mark.parametrize(
    "after", ["Pending", "Running", "Succeeded", "Failed", "Cancelled", "Rejected"]
)
def test_no_state_moves_an_ended_run(end: str, after: str) -> None:
    ended = seen(end, 5, attempt=1)
    assert merge(ended, seen(after, 9, attempt=2, reason="Late")) == ended
    assert transition_between(ended, seen(after, 9, attempt=2)) is None


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(states=orders)
def test_the_database_does_the_same(url: str, states: list[RunRecord]) -> None:
    """The pure rules above, row lock and event table included."""
    import asyncio

    async def play() -> tuple[RunRecord | None, list[Transition], list[str]]:
        async with await Registry.open(url) as registry:
            await registry.migrate()
            await registry.remove([UID])
            await registry.mark_deleted([UID])  # and its object: it may come again
            told = [moved for state in states if (moved := await registry.record(state))]
            return (
                await registry.get(UID),
                told,
                [event.event_id for event in await registry.events(UID)],
            )

    stored, told, events = asyncio.run(play())
    expected, expected_told = applied(states)
    assert stored == expected
    assert told == expected_told
    assert events == [moved.event_id for moved in told]


async def test_a_transition_is_told_once_after_its_row_was_removed_and_after_a_restart(
    registry: Registry, url: str
) -> None:
    first = await registry.record(row(0, "running"))
    async with await Registry.open(url) as restarted:
        assert await restarted.record(row(0, "running")) is None
    assert first
    assert first.before is None
    moved = await registry.record(row(0, "failed", finished_at=later(9)))
    assert moved
    assert (moved.before, moved.status, moved.at) == ("running", "failed", later(9))


def test_start_and_end_of_the_agent_are_by_its_nodes_clock() -> None:
    """What the operator adds to the object comes seconds later, and would put the start behind the
    end."""
    running = transition_between(None, row(0, "running", started_at=later(2), updated_at=later(6)))
    ended = transition_between(
        None, row(0, "succeeded", started_at=later(2), finished_at=later(4), updated_at=later(7))
    )
    waiting = transition_between(None, row(0, "queued", updated_at=later(1)))
    assert running
    assert ended
    assert waiting
    assert (running.at, ended.at, waiting.at) == (later(2), later(4), later(1))


def test_operator_and_registry_name_a_transition_alike() -> None:
    before = seen("Starting", 4, attempt=1)
    after = seen("Running", 5, attempt=1)
    moved = transition_between(before, after)
    assert moved
    assert moved.event_id == event_id(UID, 1, "running") == event_id(UID, 1, "running")
    assert len({event_id(UID, a, s) for a in (1, 2) for s in ("queued", "running")}) == 4
    assert event_id("no-uuid", 1, "running") != event_id("another", 1, "running")


HOOKS = {
    "running": lifecycle_hooks.record_run_start,
    "succeeded": lifecycle_hooks.record_run_success,
    "failed": lifecycle_hooks.record_run_failure,
    "rejected": lifecycle_hooks.record_run_failure,
    "cancelled": lifecycle_hooks.record_run_cancelled,
}


@pytest.mark.parametrize("status", ["pending", "queued", "starting", "running", "stopping", *HOOKS])
def test_every_transition_reaches_every_sink_once(status: str) -> None:
    moved = transition_between(None, row(0, status))
    assert moved
    one: list[Transition] = []
    two: list[Transition] = []
    lifecycle_hooks.publish(moved, (one.append, two.append))
    assert one == two == [moved]


@pytest.mark.parametrize(("status", "hook"), HOOKS.items())
def test_start_and_end_go_through_the_hook_of_their_kind(
    status: str, hook: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = transition_between(None, row(0, status))
    assert moved
    calls: list[object] = []
    monkeypatch.setattr(lifecycle_hooks, hook.__name__, lambda *args: calls.append(args))
    lifecycle_hooks.publish(moved, ())
    assert calls == [(moved, ())]


def test_the_log_sink_writes_one_line_with_the_common_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = row(
        0,
        "failed",
        started_at=later(10),
        finished_at=later(12.5),
        prompt_version="v3",
        cost_tokens=7,
        cost_cents=1,
    )
    moved = transition_between(None, replace(run, failure_class="timeout"))
    assert moved
    with caplog.at_level(logging.INFO, logger="codexrun.lifecycle"):
        lifecycle_hooks.record_run_failure(moved, (lifecycle_hooks.log_transition,))
    (record,) = caplog.records
    line = json.loads(JsonFormatter().format(record))
    expected = {
        "event": "run.failed",
        "run_id": run_id(0),
        "job_type": "hello",
        "status": "failed",
        "prompt_version": "v3",
        "phase": "report",
        "duration_ms": 2500,
        "cost_tokens": 7,
        "cost_cents": 1,
        "failure_class": "timeout",
    }
    assert expected.items() <= line.items()
    assert moved.queue_ms == 10_000


def test_the_hooks_need_no_database_library() -> None:
    """The operator imports them; SQLAlchemy would cost it 30 MB."""
    import subprocess
    import sys

    code = (
        "import sys, codexrun_core.runs.lifecycle_hooks, codexrun_core.runs.queue_position;"
        " sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
