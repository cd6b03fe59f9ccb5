"""A new version of a prompt is added beside the old ones, which nothing touches."""

from datetime import date
from pathlib import Path

import pytest

from codexrun_core.prompts import index
from codexrun_core.prompts.add import add_version
from codexrun_core.prompts.index import FolderError

TODAY = date(2026, 11, 24)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_the_first_version_of_a_prompt_makes_the_folder_a_proven_one(tmp_path: Path) -> None:
    made = add_version(tmp_path, "triage", "Read {{report}}\n", "team-platform", TODAY)
    assert (made.name, made.version, made.path, made.updated_at) == (
        "triage",
        "v1",
        "triage/v1.md",
        "2026-11-24",
    )
    assert index.load(tmp_path).find("triage", "v1") == made


def test_a_new_version_touches_no_old_one(tmp_path: Path) -> None:
    for text in ("one\n", "two\n"):
        add_version(tmp_path, "triage", text, "a", TODAY)
    before = contents(tmp_path)
    made = add_version(tmp_path, "triage", "three\n", "b", TODAY)
    after = contents(tmp_path)
    assert made.version == "v3"
    assert {name for name in after if after[name] != before.get(name)} == {
        "index.json",
        "triage/v3.md",
    }
    assert [v.text for v in index.load(tmp_path).all()] == ["one\n", "two\n", "three\n"]


def test_an_edited_old_version_stops_it(tmp_path: Path) -> None:
    add_version(tmp_path, "triage", "one\n", "a", TODAY)
    (tmp_path / "triage/v1.md").write_text("One\n")
    with pytest.raises(FolderError, match=r"triage\[0\].checksum: triage/v1.md has sha256:"):
        add_version(tmp_path, "triage", "two\n", "a", TODAY)
    assert not (tmp_path / "triage/v2.md").exists()


@pytest.mark.parametrize(
    ("name", "text", "owner", "said"),
    [
        ("triage", "one\n", "a", "triage v1 already has this text"),
        ("Triage", "two\n", "a", '"Triage" is not a valid name for a prompt'),
        ("triage", "  \n", "a", "is empty"),
        ("triage", "two\n", "", "owner"),
        ("triage", "x" * (index.MAX_PROMPT_BYTES + 1), "a", "shorten it"),
    ],
)
def test_what_cannot_be_published_leaves_the_folder_as_it_was(
    tmp_path: Path, name: str, text: str, owner: str, said: str
) -> None:
    add_version(tmp_path, "triage", "one\n", "a", TODAY)
    before = contents(tmp_path)
    with pytest.raises(FolderError, match=said):
        add_version(tmp_path, name, text, owner, TODAY)
    assert contents(tmp_path) == before


def test_a_file_that_no_index_names_is_never_overwritten(tmp_path: Path) -> None:
    add_version(tmp_path, "triage", "one\n", "a", TODAY)
    (tmp_path / "triage/v2.md").write_text("somebody's draft")
    with pytest.raises(FolderError, match=r"triage/v2.md: already exists"):
        add_version(tmp_path, "triage", "two\n", "a", TODAY)
    assert (tmp_path / "triage/v2.md").read_text() == "somebody's draft"
