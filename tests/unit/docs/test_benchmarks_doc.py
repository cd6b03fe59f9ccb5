"""docs/benchmarks.md shows what `make bench` has written down, and nothing else."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import run as bench
from measured import Limit, quantile
from plots import PLOTS, draw
from simulation import audit, usage

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


def test_a_goal_stands_beside_the_limit_that_does_not_reach_it() -> None:
    assert Limit("x", "ms", "y", at_most=50).text == "≤ 50 ms"
    assert Limit("x", "ms", "y", at_most=50, goal=40).text == "≤ 50 ms (goal ≤ 40)"
    assert Limit("x", "/s", "y", at_least=5, goal=8).text == "≥ 5 /s (goal ≥ 8)"


def test_every_plot_is_of_a_measurement_and_is_well_formed() -> None:
    for name, plot in PLOTS.items():
        assert name in bench.limits()
        picture = ElementTree.fromstring(draw(plot, [(5, 3.0), (50, 4.5), (500, 12.0)]))
        (line,) = picture.iter("{http://www.w3.org/2000/svg}polyline")
        heights = [float(place.split(",")[1]) for place in line.attrib["points"].split()]
        assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    assert quantile([float(number) for number in range(100, 0, -1)], share) == value


def test_cpu_and_memory_of_a_process_whose_name_has_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    times = f"{2 * usage.TICKS_PER_SECOND} {usage.TICKS_PER_SECOND // 2}"
    (folder / "stat").write_text(f"7 (a (b) c) S 1 7 7 0 -1 4194304 9 0 0 0 {times} 0 0 20 0\n")
    (folder / "status").write_text("Name:\ta\nVmHWM:\t  2000 kB\nVmRSS:\t  1000 kB\n")
    assert usage.cpu_seconds(7, tmp_path) == 2.5
    assert usage.peak_mb(7, tmp_path) == 2.048


def test_writes_are_told_apart_by_user_and_subresource(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text("a line of before\n")
    unread = audit.AuditLog(log)
    line = (
        '{"user":{"username":"ops"},"verb":"update","responseStatus":{"code":200},'
        '"requestReceivedTimestamp":"1970-01-01T00:00:09.250000Z","objectRef":{"resource":"%s"}}'
    )
    status = line.replace('"%s"', '"pods","subresource":"status"')
    log.write_text(f"a line of before\n{line % 'leases'}\n{status}\n{status[:30]}")
    assert unread.read() == [audit.Write("ops", "update", "pods/status", 200, 9.25)]
    assert unread.read() == []
