"""Sums by group, on both databases: each run is in one group of each grouping."""

from datetime import UTC, datetime
from typing import Any

import pytest
from registry_rows import row

from codexrun_core.registry import Registry
from codexrun_core.registry.groups import GROUPINGS, check_grouping
from codexrun_core.runs.filters import Filter


async def fill(registry: Registry) -> None:
    given: list[dict[str, Any]] = [
        {"status": "succeeded", "requested_by": "ada", "labels": {"team": "a"}, "cost": 3},
        {"status": "failed", "requested_by": "ada", "failure_class": "auth", "cost": 2},
        {"status": "succeeded", "model": "gpt-5.5", "labels": {"team": "b"}, "cost": 9},
        {"status": "running", "prompt_name": "hello", "prompt_version": "v1", "cost": 0},
    ]
    for number, fields in enumerate(given):
        status, cost = fields.pop("status"), fields.pop("cost")
        late = datetime(2026, 1, 31, 23, 59, tzinfo=UTC) if number < 3 else None
        times = {"created_at": late} if late else {}
        await registry.record(
            row(number, status, cost_tokens=10, cost_micro_usd=cost, **times, **fields)
        )


@pytest.mark.parametrize("grouping", [*GROUPINGS, "label:team", "label:none"])
async def test_every_grouping_adds_up(registry: Registry, grouping: str) -> None:
    await fill(registry)
    groups = await registry.grouped(Filter(), grouping)
    assert sum(group.runs for group in groups) == 4
    assert sum(group.cost_micro_usd for group in groups) == 14
    assert len({group.key for group in groups}) == len(groups)


async def test_groups(registry: Registry) -> None:
    await fill(registry)

    async def keys(grouping: str, run_filter: Filter = Filter()) -> list[str]:  # noqa: B008
        return [group.key for group in await registry.grouped(run_filter, grouping)]

    assert await keys("label:team") == ["b", "a", ""]
    assert await keys("failure_class") == ["", "auth"]
    assert await keys("prompt") == ["", "hello@v1"]
    assert await keys("status", Filter(failure_class=("auth",))) == ["failed"]
    assert all(len(day) == 10 for day in await keys("day"))
    assert await keys("day") == sorted(await keys("day"))


async def test_runs_without_a_label_and_with_an_empty_one_are_counted_together(
    registry: Registry,
) -> None:
    await registry.record(row(0, "succeeded", labels={"team": ""}, cost_micro_usd=2))
    await registry.record(row(1, "succeeded", cost_micro_usd=3))
    (group,) = await registry.grouped(Filter(), "label:team")
    assert (group.key, group.runs, group.cost_micro_usd) == ("", 2, 5)


@pytest.mark.parametrize("text", ["", "weather", "label:", "label:" + "k" * 400, "seq"])
def test_what_is_no_grouping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid grouping"):
        check_grouping(text)
