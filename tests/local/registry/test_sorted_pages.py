"""A list in any order is read page by page: every row once, and what is not known last."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_rows import OnRegistry, later, row, run_id

from codexrun_core.registry import Registry
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import parse_selector
from codexrun_core.runs.paging import InvalidPageToken
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import NEWEST, SORT_COLUMNS, Sort, parse_sort, sort_runs

SORTS = [Sort(key, descending=down) for key in SORT_COLUMNS for down in (True, False)]


async def listed(registry: Registry, chosen: Filter, sort: Sort, size: int) -> list[RunRecord]:
    found = list[RunRecord]()
    token = None
    while True:
        page = await registry.page(chosen, token, size, sort)
        assert len(page.runs) <= size
        found += page.runs
        if (token := page.next_token) is None:
            return found


# Few values: many runs share one, and some of each kind are not known.
few = st.integers(0, 2)
runs = st.fixed_dictionaries(
    {
        "created": few,
        "started": st.none() | few,
        "lasted": st.none() | few,
        "cost_tokens": few,
        "cost_micro_usd": st.none() | few,
        "status": st.sampled_from(["running", "failed"]),
        "labels": st.sampled_from([{}, {"team": "a"}, {"team": "b"}]),
    }
)


def made(number: int, drawn: dict[str, Any]) -> RunRecord:
    started = None if drawn["started"] is None else later(drawn["started"])
    finished = (
        None
        if drawn["lasted"] is None or started is None
        else started + timedelta(milliseconds=drawn["lasted"])
    )
    given = {key: drawn[key] for key in ("cost_tokens", "cost_micro_usd", "labels")}
    created = later(drawn["created"])
    return row(
        number,
        drawn["status"],
        created_at=created,
        started_at=started,
        finished_at=finished,
        **given,
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=st.lists(runs, max_size=9), size=st.integers(1, 4))
def test_every_order_has_every_row_once_and_the_unknown_last(
    on_registry: OnRegistry, drawn: list[dict[str, Any]], size: int
) -> None:
    async def play(registry: Registry) -> None:
        await registry.remove([run_id(n) for n in range(10)])
        await registry.mark_deleted(
            [run_id(n) for n in range(10)]
        )  # and their objects: they may come again
        there = [made(n, one) for n, one in enumerate(drawn)]
        for run in there:
            await registry.record(run)
        chosen = {
            Filter(): there,
            Filter(labels=parse_selector("team=a")): [
                run for run in there if run.labels.get("team") == "a"
            ],
            Filter(status=("failed",)): [run for run in there if run.status == "failed"],
        }
        for sort in SORTS:
            for wanted, found in chosen.items():
                assert await listed(registry, wanted, sort, size) == sort_runs(found, sort), (
                    sort,
                    wanted,
                )

    on_registry(play)


def test_the_unknown_comes_last_both_ways() -> None:
    there = [row(0, cost_micro_usd=5), row(1), row(2, cost_micro_usd=7), row(3, cost_micro_usd=0)]
    assert [run.name for run in sort_runs(there, parse_sort("cost"))] == [
        "run-3",
        "run-0",
        "run-2",
        "run-1",
    ]
    assert [run.name for run in sort_runs(there, parse_sort("-cost"))] == [
        "run-2",
        "run-0",
        "run-3",
        "run-1",
    ]


@pytest.mark.parametrize("text", ["", "-", "price", "--cost", "cost desc", "COST", "+cost"])
def test_what_is_no_order_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(
        ValueError,
        match=(
            "is not a valid sort order; use created, started, finished, duration, tokens, cost,"
            ' with a leading "-"'
        ),
    ):
        parse_sort(text)


async def test_a_token_belongs_to_its_order(registry: Registry) -> None:
    for number in range(3):
        await registry.record(row(number, cost_micro_usd=number))
    tokens = {sort: (await registry.page(Filter(), size=1, sort=sort)).next_token for sort in SORTS}
    for sort in SORTS:
        for other in SORTS:
            if other != sort:
                with pytest.raises(InvalidPageToken, match="another order"):
                    await registry.page(Filter(), tokens[other], sort=sort)
    with pytest.raises(InvalidPageToken, match="other filters"):
        await registry.page(Filter(status=("running",)), tokens[NEWEST])


async def test_a_forged_value_is_no_token(registry: Registry) -> None:
    for sort in SORTS:
        print_of = Filter().fingerprint + ("" if sort == NEWEST else str(sort))
        for value in (2**80, -1, True, "x", [], 1.5, "2026-06-01T12:00:00", {}):
            forged = json.dumps(["2026-06-01T12:00:00+00:00", run_id(0), print_of, value])
            with pytest.raises(InvalidPageToken, match="not a valid page token"):
                await registry.page(
                    Filter(),
                    base64.urlsafe_b64encode(forged.encode()).decode().rstrip("="),
                    sort=sort,
                )


async def test_labels_follow_the_object_also_after_its_end(registry: Registry) -> None:
    live = row(0, "running", resource_version=1, labels={"team": "a", "env": "dev"})
    await registry.record(live)
    await registry.record(replace(live, resource_version=2, labels={"team": "b"}))
    assert await registry.counts(Filter(labels=parse_selector("team=a"))) == {}
    assert await registry.counts(Filter(labels=parse_selector("team=b,!env"))) == {"running": 1}
    ended = row(0, "succeeded", resource_version=3, labels={"team": "b"})
    await registry.record(ended)
    assert await registry.counts(Filter(labels=parse_selector("team=b"))) == {"succeeded": 1}
    await registry.record(replace(ended, resource_version=5, labels={"team": "c"}))
    await registry.record(replace(ended, resource_version=4, labels={"team": "stale"}))
    assert (await registry.get(live.run_id)).labels == {"team": "c"}  # type: ignore[union-attr]
    assert await registry.counts(Filter(labels=parse_selector("team=c"))) == {"succeeded": 1}


async def test_labels_go_with_the_row_and_follow_a_deletion(registry: Registry) -> None:
    await registry.record(row(0, labels={"team": "a"}))
    await registry.record(row(1, labels={"team": "a"}))
    await registry.mark_deleted([run_id(0)])
    assert await registry.counts(Filter(labels=parse_selector("team=a"))) == {
        "deleted": 1,
        "running": 1,
    }
    await registry.remove([run_id(0), run_id(1)])
    left = await registry._reading(
        lambda c: c.exec_driver_sql("SELECT count(*) FROM run_labels").scalar()
    )
    assert left == 0
