"""The command line as people and scripts meet it: stdout for data, stderr for words, exit codes
that mean something."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from codexrun_cli import exit_codes
from codexrun_cli.main import app
from codexrun_core.resources.phases import ENDED_STATUSES

ROOT = Path(__file__).parents[3]


def codexrun(*arguments: str) -> Result:
    return CliRunner().invoke(
        app,
        arguments,
        prog_name="codexrun",
        env={"COLUMNS": "80", "NO_COLOR": "1", "CODEX_CONTROL_URL": None},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("prompts", "configs"):
        shutil.copytree(ROOT / part, tmp_path / part)
    return tmp_path


def test_manifests_of_a_folder() -> None:
    done = codexrun("prompts", "manifests", str(ROOT), "-n", "codexrun")
    assert done.exit_code == 0
    assert done.stderr == ""
    kinds = [
        (m["kind"], m["metadata"]["name"], m["metadata"]["namespace"])
        for m in yaml.safe_load_all(done.stdout)
    ]
    assert kinds == [
        ("ConfigMap", "prompt-code-review-v1", "codexrun"),
        ("ConfigMap", "prompt-code-review-v2", "codexrun"),
        ("ConfigMap", "prompt-fix-failing-test-v1", "codexrun"),
        ("ConfigMap", "prompt-hello-v1", "codexrun"),
        ("ConfigMap", "prompt-release-notes-v1", "codexrun"),
        ("CodexJobType", "code-review", "codexrun"),
        ("CodexJobType", "fix-failing-test", "codexrun"),
        ("CodexJobType", "hello", "codexrun"),
        ("CodexJobType", "release-notes", "codexrun"),
    ]


def test_manifests_of_a_wrong_folder_print_no_manifest(folder: Path) -> None:
    (folder / "prompts/hello/v1.md").write_text("changed {{name}}")
    done = codexrun("prompts", "manifests", str(folder))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "codexrun: prompts/index.json: hello[0].checksum: hello/v1.md has sha256:"
    )


def test_verify_says_what_it_saw() -> None:
    done = codexrun("prompts", "verify", str(ROOT))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "OK: 5 prompt versions, 4 job types\n"


def test_verify_prints_every_problem_on_a_line(folder: Path) -> None:
    for name in ("hello", "code-review"):
        file = folder / f"configs/jobs/{name}.yaml"
        file.write_text(re.sub(r"version: v\d", "version: v9", file.read_text()))
    done = codexrun("prompts", "verify", str(folder))
    assert (done.exit_code, done.stdout) == (1, "")
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [
        " configs/jobs/code-review.yaml",
        " configs/jobs/hello.yaml",
    ]


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True
    )


@pytest.mark.local
def test_a_version_published_earlier_must_not_change(folder: Path) -> None:
    git(folder, "init", "-b", "main")
    git(folder, "commit", "--allow-empty", "-m", "Begin")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "Publish")
    assert codexrun("prompts", "verify", str(folder), "--since", "main").exit_code == 0

    text = folder / "prompts/hello/v1.md"
    index = folder / "prompts/index.json"
    before = hashlib.sha256(text.read_bytes()).hexdigest()
    text.write_text("Changed, {{name}}.")
    index.write_text(
        index.read_text().replace(before, hashlib.sha256(text.read_bytes()).hexdigest())
    )
    assert codexrun("prompts", "verify", str(folder)).exit_code == 0
    done = codexrun("prompts", "verify", str(folder), "--since", "main")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"hello v1: was published as sha256:{before} in " in done.stderr
    assert "add the new text as v2" in done.stderr
    assert codexrun("prompts", "verify", str(folder), "--since", "main~1").exit_code == 0, (
        "nothing was published there"
    )


@pytest.mark.local
def test_a_commit_that_git_does_not_know_is_wrong_usage(folder: Path) -> None:
    done = codexrun("prompts", "verify", str(folder), "--since", "main")
    assert (done.exit_code, done.stdout) == (2, "")
    assert '"main" is not a branch or commit' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prompts", "verify", "/not/there"], "'/not/there' does not exist"),
        (
            ["prompts", "manifests", "-n", "Team_A"],
            '"Team_A" is not a valid name for a namespace; use at most 63',
        ),
        (["prompts", "manifest"], "No such command 'manifest'"),
        (["prompts", "verify", "--fix"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_from_failure(arguments: list[str], said: str) -> None:
    done = codexrun(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    "command", [[], ["prompts"], ["prompts", "manifests"], ["prompts", "verify"]], ids=" ".join
)
def test_help_fits_80_columns(command: list[str]) -> None:
    done = codexrun(*command, "--help")
    assert done.exit_code == 0
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    if command != ["prompts"]:
        assert "Examples:\n" in done.stdout


def test_version() -> None:
    assert codexrun("--version").stdout.startswith("codexrun 0.")


def test_every_terminal_status_has_an_exit_code() -> None:
    assert set(exit_codes.ENDS) == ENDED_STATUSES


@pytest.mark.local
def test_help_is_quick_because_heavy_imports_are_late() -> None:
    """What a command needs is imported when it runs: completion and --help call the program on
    every key press."""
    slow = {"kubernetes", "pydantic", "yaml", "jsonschema"}
    code = f"import sys, codexrun_cli.main; print(*sorted({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "\n"


@pytest.mark.local
def test_a_reader_that_leaves_early_is_no_error_of_ours() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m codexrun_cli prompts manifests {ROOT} | head -1"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


@pytest.mark.local
def test_bytes_are_utf8_under_any_locale(folder: Path) -> None:
    file = folder / "configs/jobs/hello.yaml"
    file.write_text(file.read_text().replace("Greets somebody", "Grüßt 🦊"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "codexrun_cli", "prompts", "manifests", str(folder)],
        check=True,
        capture_output=True,
        env=os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    )
    assert "Grüßt 🦊" in done.stdout.decode("utf-8")
