"""Each recorded end of Codex gets its class; the page that lists them all is made from the same
list."""

from pathlib import Path

import pytest
from verdicts import of_output
from ways_to_end import LIVE, PAGE, RECORDED, Recorded, page

from codexrun_core.resources.phases import FailureClass
from codexrun_demo_model.scenarios import SCENARIOS

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.mark.parametrize("way", RECORDED, ids=[way.name for way in RECORDED])
def test_a_recorded_end_has_its_class(way: Recorded) -> None:
    stdout = RECORDINGS / f"{way.name}.jsonl"
    stderr = RECORDINGS / f"{way.name}.stderr"
    lines = stdout.read_text().splitlines() if stdout.exists() else []
    said = stderr.read_text().splitlines() if stderr.exists() else []
    assert lines or said
    assert of_output(lines, said, way.code, way.stop, way.gate) == way.class_


def test_every_recording_is_in_the_list() -> None:
    assert {path.stem for path in RECORDINGS.iterdir()} == {way.name for way in RECORDED}


def test_every_scenario_of_the_demo_model_is_in_the_list() -> None:
    def kind(name: str) -> str:
        plain, _, number = name.rpartition("-")
        return f"{plain}-<n>" if plain and number.isdigit() else name

    assert {scenario.name for scenario in SCENARIOS} <= {kind(way.scenario) for way in LIVE}


def test_the_page_has_the_tables_of_this_list() -> None:
    """`make generate` writes them."""
    text = PAGE.read_text()
    assert text == page(text)


def test_the_page_explains_every_class() -> None:
    text = PAGE.read_text()
    assert [c for c in FailureClass if f"| `{c}` |" not in text] == []
