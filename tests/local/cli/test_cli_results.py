"""What a run has left, on disk and in a working tree; and small commands about one run."""

import json
import subprocess
from pathlib import Path

import pytest
from clistand import Stand
from manifests import job_type

PATCH = """\
diff --git a/hello.txt b/hello.txt
index ce01362..cc628cc 100644
--- a/hello.txt
+++ b/hello.txt
@@ -1 +1 @@
-hello
+world
"""


def leave(stand: Stand, name: str, **files: str) -> None:
    """Put artifacts into the archive, as the gate ships them."""
    folder = stand.services.settings.archive / "runs" / stand.run_id(name) / "artifacts"
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A Git working tree with what the patch is about."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "hello.txt").write_text("hello\n")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def test_artifacts_are_listed_and_saved(stand: Stand, tmp_path: Path) -> None:
    name = stand.finished()
    assert "has no artifacts" in stand.cli("artifacts", name).err
    leave(stand, name, **{"final-message.md": "Done.", "workspace.patch": PATCH})
    listed = json.loads(stand.cli("artifacts", name, "-o", "json").out)
    assert listed["schema"] == "codexrun.artifact-list/v1"
    assert [item["name"] for item in listed["artifacts"]] == ["final-message.md", "workspace.patch"]
    one = stand.cli("artifacts", name, "--download", "workspace.patch", "--dir", str(tmp_path))
    assert (one.code, one.out) == (0, f"{tmp_path}/workspace.patch\n")
    assert (tmp_path / "workspace.patch").read_text() == PATCH
    again = stand.cli("artifacts", name, "--all", "--dir", str(tmp_path))
    assert again.code == 6
    assert "workspace.patch already exists" in again.err
    absent = stand.cli("artifacts", name, "--download", "notes.txt", "--dir", str(tmp_path))
    assert (absent.code, "hint: the run has final-message.md, workspace.patch" in absent.err) == (
        5,
        True,
    )


def test_a_patch_is_applied_after_a_check(stand: Stand, tree: Path) -> None:
    name = stand.finished()
    assert "has no patch" in stand.cli("apply", name, "--dir", str(tree)).err
    leave(stand, name, **{"workspace.patch": PATCH})
    assert stand.cli("diff", name).out == PATCH
    checked = stand.cli("apply", name, "--check", "--dir", str(tree))
    assert (checked.code, (tree / "hello.txt").read_text()) == (0, "hello\n"), checked
    done = stand.cli("apply", name, "--dir", str(tree))
    assert (done.code, (tree / "hello.txt").read_text()) == (0, "world\n"), done
    twice = stand.cli("apply", name, "--dir", str(tree))
    assert (twice.code, (tree / "hello.txt").read_text()) == (1, "world\n")
    assert "patch does not apply" in twice.err
    assert "hint: check out the commit that the run worked on" in twice.err


def test_a_patch_needs_a_working_tree(stand: Stand, tmp_path: Path) -> None:
    name = stand.finished()
    leave(stand, name, **{"workspace.patch": PATCH})
    done = stand.cli("apply", name, "--dir", str(tmp_path), env={"GIT_CEILING_DIRECTORIES": "/"})
    assert (done.code, "hint: use --dir to name a Git working tree" in done.err) == (1, True)


def test_priority_changes_until_the_end(both: Stand) -> None:
    name = both.start()
    assert both.cli("edit", name, "--priority", "7").code == 0
    assert both.kube.run(name)["spec"]["priority"] == 7
    both.end(name)
    both.until(lambda: both.cli("edit", name, "--priority", "8").code == 6)


def test_only_what_has_ended_is_deleted(both: Stand) -> None:
    name = both.start()
    early = both.cli("delete", name, "--yes")
    assert early.code == 6
    assert "has not ended (starting); cancel it first" in early.err
    both.end(name)
    asked = both.cli("delete", name)
    assert (asked.code, "add --yes to delete the runs" in asked.err) == (2, True)
    both.until(lambda: both.cli("delete", name, "--yes").code == 0)
    assert both.kube.run_names == []


def test_whoami(both: Stand) -> None:
    assert both.cli("whoami").out == f"{'shared' if both.rest else 'ada'}\n"


def test_logout_forgets_api_and_token(stand: Stand) -> None:
    stored = {"CODEX_CONTROL_TOKEN": None, "CODEX_CONTROL_URL": None}
    url = str(stand.env["CODEX_CONTROL_URL"])
    token = str(stand.env["CODEX_CONTROL_TOKEN"])
    assert stand.cli("login", url, "--with-token", stdin=token, env=stored).code == 0
    assert stand.cli("whoami", env=stored).out == "shared\n"
    assert f"{url} and its token were removed from" in stand.cli("logout", env=stored).err
    assert token not in stand.cli("config", "view", env=stored).out
    assert stand.cli("logout", env=stored).err == "no URL and no token are stored\n"


def test_inputs_take_the_type_of_the_schema(both: Stand) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["name"],
    }
    both.at_once(both.kube.put, both.kube.job_types, job_type("counts", inputsSchema=schema))
    both.until(lambda: "counts" in both.cli("jobtypes", "list").out)
    name = both.cli("start", "counts", "-p", "name=1", "-p", "count=3").out.strip()
    assert both.kube.run(name)["spec"]["inputs"] == {"name": "1", "count": 3}
