"""What `make test` says at its end, from what each lane's pytest has left."""

import re

import pytest
from suite import (
    ALONE,
    CLUSTER,
    LANES,
    LOCAL,
    UNIT,
    Progress,
    Result,
    closing_line,
    report,
    result_of,
    with_missing,
)

CASE = '<testcase classname="tests.unit.test_a" name="{}">{}</testcase>'
BAD = '<failure message="no">trace</failure>'
ERROR = '<error message="setup">trace</error>'
SKIP = '<skipped message="why"/>'


def junit(*inside: str) -> str:
    cases = "".join(CASE.format(f"test_{number}", text) for number, text in enumerate(inside))
    return f'<?xml version="1.0"?><testsuites><testsuite>{cases}</testsuite></testsuites>'


ROWS = [
    ("all good", junit("", "", SKIP), 0, (2, 0, 1), ""),
    ("failures and errors of fixtures count the same", junit("", BAD, ERROR), 1, (1, 2, 0), ""),
    ("nothing selected is no failure", junit(), 5, (0, 0, 0), ""),
    ("a usage error is one", junit(), 4, (0, 1, 0), "pytest ended with code 4"),
    ("interrupted after some good ones", junit(""), 2, (1, 1, 0), "pytest ended with code 2"),
    (
        "failed without a failure that is written down",
        junit(""),
        1,
        (1, 1, 0),
        "pytest ended with code 1",
    ),
    (
        "killed before it wrote anything",
        None,
        -9,
        (0, 1, 0),
        "pytest ended with code -9 and wrote no results",
    ),
]


@pytest.mark.parametrize(
    ("xml", "code", "counts", "broke"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_lane_comes_to(
    xml: str | None, code: int, counts: tuple[int, int, int], broke: str
) -> None:
    result = result_of("unit", xml, code)
    assert (result.passed, result.failed, result.skipped) == counts
    assert result.broke == broke
    assert result.good is (counts[1] == 0)


def test_the_closing_line_sums_all_lanes() -> None:
    results = [Result("unit", 10), Result("local", 5, 1, 2), Result("cluster", 3, 2)]
    assert closing_line(results) == "18 passed, 3 failed, 2 skipped"
    assert closing_line(results[:1]) == "10 passed, 0 failed"


def test_the_report_ends_in_that_line_and_names_the_lane_that_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = report(
        [Result("unit", 10, wall=61), Result("gone", 3, 1, failures=("tests/unit/test_a::test_1",))]
    )
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert lines[-1] == "13 passed, 1 failed"
    assert "lane gone failed: 1 tests" in lines
    assert "  tests/unit/test_a::test_1" in lines


def test_a_lane_without_a_result_has_failed() -> None:
    results = with_missing(
        [Result("cluster", 3), Result("up", failed=1, broke="no"), Result("unit", 10)]
    )
    assert [(result.lane, result.good) for result in results] == [
        ("up", False),
        ("unit", True),
        ("local", False),
        ("cluster", True),
        ("alone", False),
    ]
    assert closing_line(results) == "13 passed, 3 failed"


def test_a_good_report_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Result("unit", 10)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "10 passed, 0 failed"


LINES = [
    ("2 workers [117 items]", (0, 117, 0), False),
    ("collected 3362 items / 3300 deselected / 62 selected", (0, 62, 0), False),
    ("[gw1] [ 12%] PASSED tests/unit/test_a.py::test_1[x] ", (1, 0, 0), False),
    ("tests/unit/test_a.py::test_1 PASSED         [  1%]", (1, 0, 0), False),
    ("[gw0] [  3%] FAILED tests/unit/test_a.py::test_1 ", (1, 0, 1), True),
    ("[gw0] [  3%] ERROR tests/unit/test_a.py::test_1 ", (1, 0, 1), True),
    ("tests/unit/test_a.py::test_1 SKIPPED (why)      [  1%]", (1, 0, 0), False),
    ("FAILED tests/unit/test_a.py::test_1 - AssertionError", (0, 0, 0), False),
    ("tests/unit/test_a.py::test_1 ", (0, 0, 0), False),
    ("tests/unit/test_a.py::test_1[FAILED in a name] ", (0, 0, 0), False),
    ("[gw0] [  3%] PASSED tests/unit/test_a.py::test_1[FAILED in a name] ", (1, 0, 0), False),
]


@pytest.mark.parametrize(("line", "counts", "tells"), LINES, ids=[line for line, *_ in LINES])
def test_progress_is_read_off_pytest_s_lines(
    line: str, counts: tuple[int, int, int], tells: bool
) -> None:
    progress = Progress()
    assert progress.line(line) is tells
    assert (progress.done, progress.total, progress.failed) == counts


def selected(marks: str, own: set[str]) -> bool:
    """pytest's -m, for these markers."""
    names = {
        name: name in own
        for name in re.findall(r"[a-z]+", marks)
        if name not in ("and", "or", "not")
    }
    return bool(eval(marks, {}, names))


@pytest.mark.parametrize(
    ("own", "lane"),
    [
        ({"unit"}, UNIT),
        ({"local"}, LOCAL),
        ({"cluster"}, CLUSTER),
        ({"cluster", "disruptive"}, ALONE),
        ({"cluster", "alone"}, ALONE),
        ({"cluster", "afterwards"}, ALONE),
    ],
)
def test_each_test_is_run_once(own: set[str], lane: object) -> None:
    assert [one for one in LANES if selected(one.marks, own)] == [lane]
