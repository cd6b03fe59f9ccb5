"""Which rows' objects are gone, and which objects' rows are missing or behind?"""

import pytest

from codexrun_api.mirror.comparison import absent, behind
from codexrun_core.registry.presence import PresentRow

ENDED = 5  # a rank


@pytest.mark.parametrize(
    ("version", "known", "gone", "doubtful"),
    [
        pytest.param(7, True, [], [], id="its object is there"),
        pytest.param(9, True, [], [], id="it is there, although the row is younger than the list"),
        pytest.param(7, False, ["a"], [], id="the list would have had it"),
        pytest.param(8, False, ["a"], [], id="also one of the list's own version"),
        pytest.param(9, False, [], ["a"], id="the list is older than the row: ask"),
    ],
)
def test_rows_whose_objects_are_gone(
    version: int, known: bool, gone: list[str], doubtful: list[str]
) -> None:
    row = PresentRow(seq=1, run_id="a", name="run-a", resource_version=version)
    found = absent([row], lambda run_id: known, listed_version=8)
    assert (found[0], [other.run_id for other in found[1]]) == (gone, doubtful)


@pytest.mark.parametrize(
    ("revision", "rows", "is_behind"),
    [
        pytest.param((1, ENDED, 7), {}, True, id="no row"),
        pytest.param((1, ENDED, 7), {"a": None}, False, id="retention has removed it"),
        pytest.param((1, ENDED, 7), {"a": (1, 3, 6)}, True, id="its end is not in the row"),
        pytest.param((1, ENDED, 7), {"a": (1, ENDED, 6)}, True, id="labels were changed later"),
        pytest.param((1, ENDED, 7), {"a": (1, ENDED, 7)}, False, id="the row has it"),
        pytest.param((1, ENDED, 7), {"a": (2, 3, 9)}, False, id="the row knows of a later attempt"),
        pytest.param(None, {}, False, id="its caller has had no answer yet: it has no row"),
    ],
)
def test_objects_whose_rows_are_missing_or_behind(
    revision: tuple[int, int, int] | None,
    rows: dict[str, tuple[int, int, int] | None],
    is_behind: bool,
) -> None:
    assert behind({"a": revision}, rows) == (["a"] if is_behind else [])
