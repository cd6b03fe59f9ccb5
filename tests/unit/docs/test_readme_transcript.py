"""The transcript in the README is what a command wrote: nobody typed it."""

import runpy
from typing import Any

import pytest
from docblocks import ROOT, blocks

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/transcript.py"))


def test_the_readme_has_the_commands_of_the_script_and_no_other(script: dict[str, Any]) -> None:
    (text,) = [block.text for block in blocks(README) if block.text.startswith("$ codexrun")]
    typed = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ codexrun")]
    assert typed == list(script["COMMANDS"])
    assert all(shown in text for shown in script["COMMANDS"].values())


def test_a_new_transcript_replaces_the_block_and_nothing_else(script: dict[str, Any]) -> None:
    before, _, rest = README.read_text().partition(script["MARK"])
    after = rest.partition(script["END"])[2]
    assert before
    assert after
    assert (
        script["with_transcript"](README.read_text(), "$ new\n")
        == f"{before}{script['MARK']}$ new\n```\n{after}"
    )
