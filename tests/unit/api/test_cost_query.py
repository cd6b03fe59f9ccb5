"""Which days and groups the page of costs shows, and the same for a spreadsheet."""

import csv
from datetime import date
from typing import Any

import pytest
from apistand import Stand

from codexrun_api.console.pages.cost import Sum, as_csv, read_cost_query, with_bars
from codexrun_api.console.pages.run_list import valid_part
from codexrun_api.console.pages.start import labels_of
from codexrun_api.console.view.list_query import read_list_query
from codexrun_core.registry import Group

TODAY = date(2026, 1, 31)


@pytest.mark.parametrize(
    ("params", "first", "last", "by", "problem"),
    [
        ({}, "2026-01-25", "2026-01-31", "", ""),
        ({"days": "1"}, "2026-01-31", "2026-01-31", "", ""),
        ({"days": "999"}, "2026-01-25", "2026-01-31", "", ""),
        ({"since": "2026-01-30", "until": "2026-01-30"}, "2026-01-30", "2026-01-30", "", ""),
        ({"since": "2026-01-31", "until": "2026-01-01"}, "2026-01-01", "2026-01-31", "", ""),
        ({"since": "soon"}, "2026-01-25", "2026-01-31", "", "is not a valid date"),
        ({"since": "2020-01-01"}, "2025-01-31", "2026-01-31", "", "366 days can be shown"),
        ({"by": "label:team"}, "2026-01-25", "2026-01-31", "label:team", ""),
        ({"by": "label", "label": "team"}, "2026-01-25", "2026-01-31", "label:team", ""),
        ({"by": "label"}, "2026-01-25", "2026-01-31", "", ""),
        ({"by": "", "label": " team "}, "2026-01-25", "2026-01-31", "label:team", ""),
        ({"label": "team"}, "2026-01-25", "2026-01-31", "label:team", ""),
        ({"by": "user", "label": "team"}, "2026-01-25", "2026-01-31", "user", ""),
        ({"label": "a" * 400}, "2026-01-25", "2026-01-31", "", "is not a valid"),
        ({"by": "weather"}, "2026-01-25", "2026-01-31", "", "is not a valid grouping"),
    ],
)
def test_what_a_url_asks_for(
    params: dict[str, str], first: str, last: str, by: str, problem: str
) -> None:
    query = read_cost_query(params, TODAY)
    assert (str(query.first), str(query.last), query.by) == (first, last, by)
    assert problem in query.problem
    assert bool(query.problem) is bool(problem)


def test_a_key_that_a_spreadsheet_would_compute_is_text() -> None:
    groups = [Group("=cmd()", {"succeeded": 1, "failed": 1}, 10, 20), Group("", {}, 0, 0)]
    rows = list(csv.reader(as_csv("user", groups).splitlines()))
    assert rows == [
        ["user", "runs", "succeeded", "failed", "tokens", "cost_micro_usd"],
        ["'=cmd()", "2", "1", "1", "10", "20"],
        ["", "0", "0", "0", "0", "0"],
    ]


def test_a_filter_that_is_none_is_left_out_and_the_others_hold() -> None:
    asked = read_list_query(
        [("label", "a b"), ("since", "yesterday"), ("job_type", "hello"), ("sort", "weight")]
    )
    query, problems = valid_part(asked)
    assert query.fields == {"job_type": ("hello",)}
    assert (query.label, query.since, query.sort) == ("", "", "")
    assert len(problems) == 3


async def test_costs_by_label_agree_with_all(stand: Stand) -> None:
    for team in ("a", "a", "b", None):
        labels: dict[str, Any] = {"labels": {"team": team}} if team else {}
        name = (await stand.start(**labels)).json()["name"]
        usage = {"totalTokens": 10, "costMicroUSD": 500, "requests": 1}
        await stand.finish(name, usage=usage)
    stats = (await stand.http.get("/stats?group_by=label:team")).json()
    assert [(g["key"], g["runs"], g["cost_micro_usd"]) for g in stats["groups"]] == [
        ("a", 2, 1000),
        ("", 1, 500),
        ("b", 1, 500),
    ]
    assert stats["cost_micro_usd"] == 2000
    assert "groups" not in (await stand.http.get("/stats")).json()
    wrong = await stand.http.get("/stats?group_by=weather")
    assert wrong.status_code == 422
    detail = wrong.json()["errors"][0]["detail"]
    assert detail.startswith('"weather" is not a valid grouping; use job_type, model')


def test_bars_are_of_dollars_and_of_tokens_only_where_nothing_has_a_price() -> None:
    dear, cheap, unpriced = Sum("a", 1, 900, 4_000), Sum("b", 1, 90, 1_000), Sum("c", 1, 3_000, 0)
    assert [s.part for s in with_bars([dear, cheap, unpriced])] == [1, 0.25, 0]
    assert [s.part for s in with_bars([unpriced, Sum("d", 1, 750, 0)])] == [1, 0.25]
    assert [s.part for s in with_bars([Sum("e", 2, 0, 0)])] == [0]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", {}),
        ("team=payments, ticket=4711", {"team": "payments", "ticket": "4711"}),
        (" , a = b ,", {"a": "b"}),
        ("urgent", {"urgent": ""}),
        ("url=a=b", {"url": "a=b"}),
    ],
)
def test_labels_of_the_start_form(text: str, labels: dict[str, str]) -> None:
    assert labels_of(text) == labels
