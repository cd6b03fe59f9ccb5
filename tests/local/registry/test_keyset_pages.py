"""A list is read page by page: every row once, while others are added, and only with the filter it
began with."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_rows import NOON, OnRegistry, later, row, run_id

from codexrun_core.registry import Registry
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import parse_selector
from codexrun_core.runs.paging import Cursor, InvalidPageToken, Page, parse_token, token_after
from codexrun_core.runs.record import RunRecord


async def listed(registry: Registry, chosen: Filter, size: int = 2) -> list[str]:
    """Names over all pages."""
    names = []
    token = None
    while True:
        page = await registry.page(chosen, token, size)
        names += [run.name for run in page.runs]
        token = page.next_token
        if token is None:
            return names


# Kubernetes dates in whole seconds: many runs share one.
moments = st.integers(0, 5).map(later)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    there=st.lists(moments, max_size=12),
    added=st.lists(st.lists(moments, max_size=3), max_size=12),
    size=st.integers(1, 5),
)
def test_no_row_twice_or_missed_while_rows_are_added(
    on_registry: OnRegistry, there: list[datetime], added: list[list[datetime]], size: int
) -> None:
    async def play(registry: Registry) -> None:
        await registry.remove([run_id(n) for n in range(100)])
        await registry.mark_deleted(
            [run_id(n) for n in range(100)]
        )  # and their objects: they may come again
        before = [row(n, created_at=created) for n, created in enumerate(there)]
        for run in before:
            await registry.record(run)
        shown = list[RunRecord]()
        token = None
        number = len(before)
        waves = iter(added)
        while True:
            page = await registry.page(Filter(), token, size)
            assert len(page.runs) <= size
            shown += page.runs
            token = page.next_token
            if token is None:
                break
            for created in next(waves, ()):
                await registry.record(row(number, created_at=created))
                number += 1
        keys = [(run.created_at, run.run_id) for run in shown]
        assert keys == sorted(set(keys), reverse=True), "in order, none twice"
        assert {run.run_id for run in before} <= {run.run_id for run in shown}, "none missed"

    on_registry(play)


RUNS = [
    row(
        0,
        "succeeded",
        prompt_name="review",
        prompt_version="v1",
        model="small",
        requested_by="ann",
        result="Fixed the PARSER",
        labels={"team": "a", "env": "prod"},
    ),
    row(
        1,
        "failed",
        prompt_name="review",
        prompt_version="v2",
        model="large",
        requested_by="bob",
        error="parser_error: café",
        labels={"team": "b", "env": "", "example.com/ticket": "7"},
    ),
    row(
        2,
        "running",
        job_type="triage",
        prompt_name="sort",
        prompt_version="v1",
        model="small",
        retry_of=run_id(1),
        labels={"team": "a", "env": "dev"},
    ),
    row(3, "queued", job_type="triage", requested_by="ann", name="fix-bug-42"),
    row(
        4,
        "cancelled",
        job_type="other",
        prompt_name="sort",
        prompt_version="v2",
        requested_by="50%_'\"",
        error="zebra?",
    ),
]

FILTERS = [
    (Filter(), [4, 3, 2, 1, 0]),
    (Filter(job_type=("hello",)), [1, 0]),
    (Filter(job_type=("hello", "other")), [4, 1, 0]),
    (Filter(status=("failed", "queued")), [3, 1]),
    (Filter(status=("nonsense",)), []),
    (Filter(prompt=("review",)), [1, 0]),
    (Filter(prompt=("review@v2", "sort@v1")), [2, 1]),
    (Filter(prompt=("review@v2", "sort")), [4, 2, 1]),
    (Filter(prompt=("@v2",)), []),
    (Filter(model=("small",)), [2, 0]),
    (Filter(user=("ann", "50%_'\"")), [4, 3, 0]),
    (Filter(retry_of=(run_id(1),)), [2]),
    (Filter(since=later(120)), [4, 3, 2]),
    (Filter(until=later(120)), [1, 0]),
    (Filter(since=later(60), until=later(61)), [1]),
    (Filter(since=later(120).astimezone(timezone(timedelta(hours=5)))), [4, 3, 2]),
    (Filter(search="parser"), [1, 0]),
    (Filter(search="  PARS "), [1, 0]),
    (Filter(search="fix"), [3, 0]),
    (Filter(search="fix-bug"), [3]),
    (Filter(search="bug 4"), [3]),
    (Filter(search="arser"), []),
    (Filter(search="CAFÉ"), [1]),
    (Filter(search="error"), [1]),
    (Filter(search="run"), [4, 2, 1, 0]),
    (Filter(search="?"), []),
    (Filter(search="\" OR zebra* NEAR('x':* & !y)"), []),
    (Filter(search="nul\0 \ud800"), []),
    (Filter(search="parser", status=("failed",), job_type=("hello",), user=("bob",)), [1]),
    (Filter(job_type=("hello",), prompt=("sort",)), []),
    (
        Filter(
            job_type=("triage",), user=("ann",), since=NOON, until=later(3600), status=("queued",)
        ),
        [3],
    ),
    (Filter(user=("x' OR '1'='1",)), []),
    (Filter(model=("nul\0",)), []),
    (Filter(labels=parse_selector("team=a")), [2, 0]),
    (Filter(labels=parse_selector("team==a,env!=dev")), [0]),
    (Filter(labels=parse_selector("team!=a")), [4, 3, 1]),
    (Filter(labels=parse_selector("team")), [2, 1, 0]),
    (Filter(labels=parse_selector("!team")), [4, 3]),
    (Filter(labels=parse_selector("env=")), [1]),
    (Filter(labels=parse_selector("env in (dev, prod),example.com/ticket!=7")), [2, 0]),
    (Filter(labels=parse_selector("team notin (a,c)")), [4, 3, 1]),
    (Filter(labels=parse_selector("example.com/ticket,team=b")), [1]),
    (Filter(labels=parse_selector("team=a,team=b")), []),
    (Filter(labels=parse_selector("tea=a")), []),
    (
        Filter(
            labels=parse_selector("team=a"), status=("running",), job_type=("triage",), since=NOON
        ),
        [2],
    ),
    (Filter(labels=parse_selector("team"), model=("small",), user=("ann",)), [0]),
    (Filter(labels=parse_selector("!team"), prompt=("sort",)), [4]),
    (Filter(labels=parse_selector("team=b"), search="parser"), [1]),
    (Filter(labels=parse_selector("team=a"), search="parser", status=("succeeded",)), [0]),
    (Filter(labels=parse_selector("team=a"), retry_of=(run_id(1),)), [2]),
]


@pytest.fixture
async def filled(registry: Registry) -> Registry:
    for run in RUNS:
        await registry.record(run)
    return registry


async def test_filters_pages_and_counts_agree(filled: Registry) -> None:
    for chosen, expected in FILTERS:
        assert await listed(filled, chosen) == [RUNS[n].name for n in expected], chosen
        assert await filled.counts(chosen) == {RUNS[n].status: 1 for n in expected}, chosen
        assert (await filled.stats(chosen)).runs == len(expected), chosen


async def test_search_follows_what_a_row_becomes(registry: Registry) -> None:
    await registry.record(row(0, "running", name="hello"))
    assert await listed(registry, Filter(search="finished")) == []
    await registry.record(row(0, "succeeded", name="hello", result="All finished"))
    assert await listed(registry, Filter(search="finished hello")) == ["hello"]


async def test_a_page_size_is_bounded(filled: Registry) -> None:
    assert len((await filled.page(Filter(), size=-3)).runs) == 1
    assert len((await filled.page(Filter(), size=10**9)).runs) == len(RUNS)


async def test_the_last_page_says_so(filled: Registry) -> None:
    assert (await filled.page(Filter(), size=len(RUNS))).next_token is None
    assert (await filled.page(Filter(), size=len(RUNS) - 1)).next_token


async def test_a_token_belongs_to_its_filter(filled: Registry) -> None:
    tokens = {chosen: token_after(RUNS[2], chosen) for chosen, _ in (*FILTERS[:12], *FILTERS[-6:])}
    for one, other in combinations(tokens, 2):
        with pytest.raises(InvalidPageToken, match="other filters"):
            await filled.page(one, tokens[other])
    same = Filter(status=("queued", "failed", "failed"))
    assert isinstance(
        await filled.page(same, token_after(RUNS[2], Filter(status=("failed", "queued")))), Page
    )


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


PRINT = Filter().fingerprint


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "????",
        "ünïcode",
        "a" * 5000,
        encoded(None),
        encoded([1, 2, PRINT]),
        encoded(["2026-06-01T12:00:00", "no zone", PRINT]),
        encoded(["2026-06-01T12:00:00+00:00", 7, PRINT]),
        encoded(["0001-01-01T00:00:00+14:00", "before all time", PRINT]),
        encoded(["2026-06-01T12:00:00+00:00", "x", PRINT, "more"]),
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        parse_token(token, Filter())


@settings(deadline=None)
@given(st.text())
def test_no_text_at_all_breaks_the_reader(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        parse_token(token, Filter())


def test_a_token_says_where_the_page_begins() -> None:
    assert parse_token(token_after(RUNS[1], Filter()), Filter()) == Cursor(
        later(60).astimezone(UTC), run_id(1)
    )
