"""Which columns are left where a terminal is narrow: they shrink before they go, and what matters
goes last."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_cli.output.runs import kind
from codexrun_cli.output.table import Column, fit_columns, table
from codexrun_cli.run_selection import choices
from codexrun_cli.terminal import Terminal
from codexrun_cli.transports.schemas import Run

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def run(**fields: Any) -> Run:
    values = {
        "name": "code-review-7f035022-retry-a029",
        "run_id": "x",
        "status": "failed",
        "job_type": "code-review",
        "created_at": "2026-01-31T11:00:00Z",
        "title": "Review v1.2.0..main of the shop",
        "usage": {"total_tokens": 14695, "complete": True, "cost_micro_usd": 43_534},
        "failure": {"class": "auth", "message": "the key is not valid", "retryable": False},
        **fields,
    }
    return cast(Run, values)


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (None, "NAME STATUS JOB-TYPE ABOUT AGE DURATION TOKENS COST MESSAGE"),
        (160, "NAME STATUS JOB-TYPE ABOUT AGE DURATION TOKENS COST MESSAGE"),
        (100, "NAME STATUS JOB-TYPE ABOUT AGE TOKENS COST MESSAGE"),
        (80, "NAME STATUS JOB-TYPE COST MESSAGE"),
    ],
)
def test_cost_and_message_stay(width: int | None, titles: str) -> None:
    lines = table([run()], kind(NOON).columns, Terminal(width=width)).splitlines()
    assert lines[0].split() == titles.split()
    assert "auth: t" in lines[1]
    assert width is None or max(map(len, lines)) <= width


columns = st.lists(
    st.builds(
        lambda flexible, optional: Column[str]("T", str, flexible=flexible, optional=optional),
        st.booleans(),
        st.none() | st.integers(1, 5),
    ),
    min_size=1,
    max_size=8,
)


@given(columns, st.data(), st.integers(20, 200))
def test_it_fits_or_only_what_must_stay_is_left(
    given_columns: list[Column[str]], data: st.DataObject, limit: int
) -> None:
    sizes = data.draw(
        st.lists(st.integers(1, 80), min_size=len(given_columns), max_size=len(given_columns))
    )
    fitted = fit_columns(sizes, given_columns, limit)
    total = sum(size + 2 for size in fitted if size) - 2
    left = [c for c, size in zip(given_columns, fitted, strict=True) if size]
    assert total <= limit or not any(c.flexible or c.optional is not None for c in left)
    assert all(new <= old for new, old in zip(fitted, sizes, strict=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "queued", "reason": "ConcurrencyLimit"}, "waiting for a slot"),
        ({"status": "starting", "reason": "ImagePull"}, "an image of its pod cannot be pulled"),
        ({"status": "queued", "reason": "SomethingNew"}, "SomethingNew"),
        ({"status": "running", "reason": "AgentRunning"}, ""),
    ],
)
def test_a_run_that_does_not_run_yet_says_why(fields: dict[str, Any], message: str) -> None:
    shown = run(**fields, failure=None)
    assert kind(NOON).columns[-1].value(shown) == message


def test_choices_tell_runs_apart() -> None:
    assert choices([run(), run(name="b", title="", status="running")], NOON) == [
        "  1  code-review-7f035022-retry-a029  failed       1h  Review v1.2.0..main of the shop",
        "  2  b                                running      1h",
    ]
