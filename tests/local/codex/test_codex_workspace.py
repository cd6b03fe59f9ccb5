"""What an agent without commands, or with commands in Codex's sandbox, leaves for the runner's
Git."""

import os
import subprocess
from pathlib import Path

import pytest
from tool_calls import play

WHO = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always")


def git(at: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *WHO, *arguments], cwd=at, check=True, capture_output=True, text=True
    ).stdout


def added(path: Path, text: str) -> str:
    lines = "".join(f"+{line}\n" for line in text.splitlines())
    return f"*** Add File: {path}\n{lines}"


@pytest.mark.parametrize("configuration", ["workspace/.git/config", "home/.gitconfig"])
def test_an_agent_that_may_only_patch_files_gets_no_command_by_them(pod, configuration):
    at = pod.workspace
    git(at, "init", "-q")
    (at / "a.txt").write_text("before\n")
    git(at, "add", "a.txt")
    git(at, "commit", "-qm", "first")
    mark = pod.root / "executed"
    text = f'[core]\n\tbare = false\n[filter "x"]\n\tclean = "touch {mark}; cat"\n'
    files = (
        added(pod.root / configuration, text)
        + added(at / ".gitattributes", "* filter=x\n")
        + added(at / "new.txt", "new\n")
    )
    call = {
        "type": "custom_tool_call",
        "name": "apply_patch",
        "input": f"*** Begin Patch\n{files}*** End Patch\n",
    }
    result = play(pod, call, config=["apply_patch"], audited=["apply_patch"], git=True)
    assert result.code == 0, result
    assert "filter" in (pod.root / configuration).read_text(), "Codex has written it"
    assert not mark.exists()
    assert not [line for line in result.lines if line.get("text") == "artifact.left_out"]
    subprocess.run(
        ["git", "add", "--all"],
        cwd=at,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(pod.root / "home")},
    )
    assert mark.exists(), "with the agent's configuration it would have been executed"


SANDBOXED = """cd sub; git init -q; echo 1 > f; git add f
git -c user.name=a -c user.email=a@example.com commit -qm mine
printf '[filter "x"]\\n\\tclean = "touch {mark}; cat"\\n' >> .git/config
echo '* filter=x' > .gitattributes; echo 2 > f; touch -d @1 f
git -C .. rev-parse HEAD:sub > .git/$(cut -d' ' -f2 .git/HEAD) && echo it is laid"""


def test_an_agent_in_codex_s_sandbox_does_not_get_out_by_a_submodule(pod, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "f").write_text("1\n")
    git(library, "add", "f")
    git(library, "commit", "-qm", "first")
    at = pod.workspace
    git(at, "init", "-q")
    (at / "a.txt").write_text("before\n")
    git(at, "submodule", "--quiet", "add", str(library), "sub")
    git(at, "add", "--all")
    git(at, "commit", "-qm", "first")
    for path in ("sub/f", "sub/.git"):  # as after a clone
        (at / path).unlink()
    mark = pod.root / "executed"
    script = at / "lay"
    script.write_text(SANDBOXED.format(mark=mark))
    pod.start_gate()
    pod.start_runner("scenario: shell\ncommand: sh lay", sandbox="codex", git=True)
    result = pod.end()
    assert result.code == 0, result
    assert "it is laid" in result.runner["finalMessage"]
    assert not mark.exists()
    assert not [line for line in result.lines if line.get("text") == "artifact.left_out"]
    subprocess.run(["git", "add", "--all"], cwd=at, check=False)
    assert mark.exists(), "Git's look into the submodule would have executed it"


@pytest.mark.parametrize(
    ("then", "reasons"),
    [
        ("true", []),
        (
            "git update-index --split-index",
            [
                "workspace.patch lacks ignored files that the agent added, because the Git index"
                " cannot be read: it is a split index"
            ],
        ),
    ],
)
def test_the_log_says_when_the_patch_lacks_what_the_agent_added(pod, then, reasons):
    at = pod.workspace
    git(at, "init", "-q")
    (at / ".gitignore").write_text("dist/\n")
    git(at, "add", ".gitignore")
    git(at, "commit", "-qm", "first")
    pod.start_gate()
    command = f"mkdir dist && touch dist/a new && git add --force dist/a && {then}"
    pod.start_runner(f"scenario: shell\ncommand: {command}", git=True)
    result = pod.end()
    assert result.code == 0, result
    lines = [line for line in result.lines if line.get("text") == "artifact.left_out"]
    assert (at / "dist/a").exists(), result
    assert [line["reason"] for line in lines] == reasons


RULE = "The last rule: say please."


@pytest.mark.parametrize(
    ("limit", "whole"), [(None, False), (100_000, True)], ids=["by default", "a higher limit"]
)
def test_a_long_agents_md_is_cut_with_a_warning_or_read_whole(pod, limit, whole):
    lines = "".join(f"Rule {number}: be kind to everybody.\n" for number in range(1200))
    (pod.workspace / "AGENTS.md").write_text(lines + RULE + "\n")
    more = {} if limit is None else {"maxAgentsMdBytes": limit}
    result = pod.play("message", **more)
    assert result.code == 0, result
    rollouts = (pod.root / "home/.codex/sessions").rglob("*.jsonl")
    assert any(RULE in path.read_text() for path in rollouts) is whole
    warnings = result.runner.get("warnings", [])
    assert ["maxAgentsMdBytes" in warning for warning in warnings] == ([] if whole else [True])


def test_an_mcp_server_that_starts_too_slowly_is_named(pod):
    server = {"name": "tracker", "command": ["sleep", "60"], "startTimeoutSeconds": 2}
    result = pod.play(
        "message", stall=1, mcpServers=[server], allowedTools=["mcp:tracker"], auditedTools=[]
    )
    assert result.code == 1
    assert result.failure == "agent_error", (
        "not a stall of the model: Codex's own limit comes first"
    )
    assert "tracker" in result.runner["failure"]["message"]


def test_commits_of_an_agent_have_an_identity(pod):
    git(pod.workspace, "init", "-q")
    pod.start_gate()
    pod.start_runner(
        "scenario: shell\ncommand: git commit -q --allow-empty -m x; git log --format=%ae", git=True
    )
    result = pod.end()
    assert "codexrun@localhost" in result.runner["finalMessage"]
