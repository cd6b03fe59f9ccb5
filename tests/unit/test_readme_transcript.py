"""The transcript in the README is what a command wrote: nobody typed it."""

from docblocks import ROOT, blocks


def test_the_readme_shows_the_transcript_as_it_was_written() -> None:
    transcript = (ROOT / "docs/transcript.txt").read_text()
    assert transcript in [block.text for block in blocks(ROOT / "README.md")]


def test_the_transcript_has_every_command_of_its_script() -> None:
    transcript = (ROOT / "docs/transcript.txt").read_text()
    typed = [line.removeprefix("$ ") for line in transcript.splitlines() if line.startswith("$ codexrun")]
    script = (ROOT / "docs/transcript.py").read_text()
    assert typed
    assert all(line in script for line in typed)
