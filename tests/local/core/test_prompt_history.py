"""A published prompt version is what its Git history says it is, whoever edited what, and in
whatever order."""

import json
import subprocess
from datetime import date
from pathlib import Path

import pytest

from codexrun_core.prompts import index as prompts
from codexrun_core.prompts.add import add_version
from codexrun_core.prompts.history import find_edited_versions
from codexrun_core.prompts.index import FolderError

TODAY = date(2026, 11, 24)


class Team:
    """A team's own repository with prompts/ in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "prompts").mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
        return subprocess.run(
            ["git", *who, *arguments], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    def add(self, text: str, name: str = "triage") -> None:
        add_version(self.root / "prompts", name, text, "team", TODAY)

    def commit(self, message: str = "Change prompts") -> str:
        self.git("add", ".")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")[:9]

    def edit(self, version: str, text: str) -> str:
        """Text and index entry together, so that they agree; the new checksum."""
        index = self.root / "prompts/index.json"
        new = prompts.sha256_of(text.encode())
        (self.root / f"prompts/triage/{version}.md").write_text(text)
        known = json.loads(index.read_text())
        for entry in known["triage"]:
            if entry["version"] == version:
                entry["checksum"] = f"sha256:{new}"
        index.write_text(json.dumps(known))
        return new

    def edited(self, ref: str = "main") -> list[str]:
        return find_edited_versions(self.root, ref, prompts.load(self.root / "prompts"))


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path / "team")


def test_new_versions_are_fine(team: Team) -> None:
    team.add("one\n")
    team.commit()
    team.add("two\n")
    assert team.edited() == []
    team.commit()
    assert team.edited() == []


def test_an_edited_version_is_named_with_both_checksums_and_what_to_do(team: Team) -> None:
    team.add("one\n")
    published = team.commit()
    old = prompts.sha256_of(b"one\n")
    new = team.edit("v1", "One\n")
    (problem,) = team.edited()
    assert problem.startswith(
        f"prompts/index.json: triage v1: was published as sha256:{old} in {published} of "
    )
    assert f"but is now sha256:{new} (changed in the working tree)" in problem
    assert f"git show {published}:./prompts/triage/v1.md" in problem
    assert problem.endswith("add the new text as v2")


def test_an_edit_that_was_merged_is_still_one_and_its_commit_is_named(team: Team) -> None:
    team.add("one\n")
    team.commit()
    team.edit("v1", "One\n")
    guilty = team.commit("Sneak it in")
    team.add("two\n")
    team.commit()
    (problem,) = team.edited()
    assert f"(changed in {guilty} of " in problem
    assert problem.endswith("v3")


def test_restoring_the_text_settles_it(team: Team) -> None:
    team.add("one\n")
    team.commit()
    team.edit("v1", "One\n")
    team.commit()
    team.edit("v1", "one\n")
    assert team.edited() == []


def test_a_number_does_not_come_back_with_another_text(team: Team) -> None:
    team.add("one\n", name="other")
    team.add("one\n")
    team.commit()
    index = team.root / "prompts/index.json"
    kept = json.loads(index.read_text())
    index.write_text(json.dumps({"other": kept["other"]}))
    (team.root / "prompts/triage/v1.md").unlink()
    assert team.edited() == [], "a prompt may be given up"
    team.commit()
    team.add("another\n")
    (problem,) = team.edited()
    assert "triage v1: was published as" in problem


def test_a_draft_may_change_on_its_branch(team: Team) -> None:
    team.add("one\n")
    team.commit()
    team.git("checkout", "-qb", "draft")
    team.add("two\n")
    team.commit()
    team.edit("v2", "too\n")
    team.commit()
    assert team.edited("main") == []
    team.git("checkout", "-q", "main")
    team.git("merge", "-q", "--no-ff", "-m", "Merge", "draft")
    assert team.edited("main") == []


def test_history_may_begin_at_a_commit(team: Team) -> None:
    team.add("one\n")
    team.commit()
    team.edit("v1", "One\n")
    begin = team.commit()
    team.add("two\n")
    team.commit()
    assert team.edited(f"{begin}..main") == []
    team.edit("v1", "ONE\n")
    assert len(team.edited(f"{begin}..main")) == 1


def test_a_shallow_clone_says_that_it_cannot_know(team: Team, tmp_path: Path) -> None:
    team.add("one\n")
    team.commit()
    team.add("two\n")
    team.commit()
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{team.root}", str(tmp_path / "shallow")],
        check=True,
    )
    shallow = tmp_path / "shallow"
    with pytest.raises(FolderError, match="fetch-depth: 0"):
        find_edited_versions(shallow, "HEAD", prompts.load(shallow / "prompts"))
