"""docs/benchmarks.md shows what `make bench` has written down, and nothing else."""

from pathlib import Path

import pytest
import run as bench
from measured import Limit

ROOT = Path(__file__).resolve().parents[3]


def test_the_numbers_in_the_doc_are_those_of_the_results() -> None:
    text = bench.DOC.read_text()
    assert text == bench.with_table(text, bench.table()), "run: make bench"


def test_every_number_has_a_limit_and_what_bounds_it() -> None:
    for name, limit in bench.limits().items():
        assert (limit.at_least is None) != (limit.at_most is None), name
        assert limit.bounded_by, name


@pytest.mark.parametrize(
    ("limit", "median", "kept"),
    [
        (Limit("x", "ms", "y", at_most=50), 50.0, True),
        (Limit("x", "ms", "y", at_most=50), 50.1, False),
        (Limit("x", "/s", "y", at_least=60), 60.0, True),
        (Limit("x", "/s", "y", at_least=60), 59.9, False),
    ],
)
def test_a_breach_is_a_median_beyond_the_limit(limit: Limit, median: float, kept: bool) -> None:
    assert limit.is_kept(median) is kept
