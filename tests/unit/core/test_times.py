"""One reader of times for the REST api and the command line: the same words, the same bounds."""

from datetime import UTC, datetime

import pytest

from codexrun_core.times import moment, now

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90s", "2026-11-24T11:58:30+00:00"),
        ("10m", "2026-11-24T11:50:00+00:00"),
        ("12h", "2026-11-24T00:00:00+00:00"),
        ("7d", "2026-11-17T12:00:00+00:00"),
        ("2w", "2026-11-10T12:00:00+00:00"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00+00:00"),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
    ],
)
def test_times_are_read(text: str, time: str) -> None:
    assert moment(text, NOON) == datetime.fromisoformat(time)


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "999999w", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not a valid time; use, for example, 7d, 12h or 2026-01-31"
    ):
        moment(text, NOON)


@pytest.mark.parametrize("text", ["1800-01-01", "9001-01-01T00:00:00Z"])
def test_years_far_away_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is out of range; use a year from 1900 to 9000"):
        moment(text, NOON)


def test_the_clock_has_whole_seconds_and_is_aware() -> None:
    assert now().microsecond == 0
    assert now().tzinfo is UTC
