"""The runner starts on any Python 3.9 or newer with nothing but its standard library."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
POD = REPOSITORY / "pod" / "codexrun_pod"
FILES = [
    *POD.glob("runner/**/*.py"),
    *POD.glob("*.py"),
    REPOSITORY / "core/codexrun_core/prompts/rendering.py",
    REPOSITORY / "core/codexrun_core/codex/policy.py",
    REPOSITORY / "core/codexrun_core/codex/events.py",
    REPOSITORY / "core/codexrun_core/codex/tools.py",
    REPOSITORY / "core/codexrun_core/pod_contract.py",
    REPOSITORY / "pod/bin/runner",
    REPOSITORY / "pod/bin/audit-tool",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_syntax_and_imports(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported <= {*sys.stdlib_module_names, "codexrun_pod", "codexrun_core"}
    assert not {
        n.module
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("codexrun_pod.gate")
    }


def test_core_brings_nothing_along():
    assert (REPOSITORY / "core/codexrun_core/__init__.py").read_text().strip() == ""


@pytest.fixture
def image(tmp_path):
    """/opt/codexrun as the agent image lays it out."""
    shutil.copytree(REPOSITORY / "pod/bin", tmp_path / "bin")
    shutil.copytree(POD, tmp_path / "lib/codexrun_pod")
    (tmp_path / "lib/codexrun_core").mkdir()
    for name in (
        "__init__.py",
        "prompts/__init__.py",
        "prompts/rendering.py",
        "codex/__init__.py",
        "codex/policy.py",
        "codex/events.py",
        "codex/tools.py",
        "pod_contract.py",
    ):
        (tmp_path / "lib/codexrun_core" / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / "core/codexrun_core" / name, tmp_path / "lib/codexrun_core" / name)
    return tmp_path


@pytest.mark.local
def test_the_image_layout_starts_and_says_what_is_wrong(image, tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "CODEXRUN_TERMINATION_LOG": str(tmp_path / "message"),
    }
    done = subprocess.run(
        [sys.executable, "-I", str(image / "bin/runner")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "CODEXRUN_RUN is not set" in (tmp_path / "message").read_text()
    assert '"class":"config"' in done.stdout


@pytest.mark.local
def test_no_module_of_the_workspace_or_the_home_is_imported(image, tmp_path):
    """The runner imports some modules late, and an image's PYTHONPATH may have folders that an
    agent writes."""
    mark = tmp_path / "executed"
    folders = [tmp_path / "workspace", tmp_path / "home/.local/lib/python3/site-packages"]
    for folder in folders:
        folder.mkdir(parents=True)
        for name in ("json", "subprocess", "sitecustomize", "usercustomize", "http"):
            (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    done = subprocess.run(
        [str(image / "bin/runner")],
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path / "home"),
            "PYTHONPATH": os.pathsep.join(["", *map(str, folders)]),
            "PYTHONSTARTUP": str(folders[0] / "json.py"),
            "CODEXRUN_TERMINATION_LOG": str(tmp_path / "message"),
        },
        cwd=folders[0],
        capture_output=True,
        text=True,
        check=False,
    )
    assert '"class":"config"' in done.stdout, done.stderr
    assert not mark.exists()


@pytest.mark.local
@pytest.mark.parametrize(
    ("call", "code"),
    [
        ('{"tool_name": "Bash", "tool_input": {"command": "ls"}}', 0),
        ('{"tool_name": "apply_patch", "tool_input": {}}', 2),
        ('{"tool_name": "mcp__docs__search", "tool_input": {}}', 0),
        ('{"tool_name": "mcp__docs__delete", "tool_input": {}}', 2),
        ('{"tool_name": "read_mcp_resource", "tool_input": {"server": "other"}}', 2),
        ('{"tool_name": "list_mcp_resources", "tool_input": {}}', 0),
        ("{", 2),
        ("[]", 2),
        ('{"tool_name": 7}', 2),
    ],
)
def test_the_hook_forbids_what_is_not_allowed_and_what_it_does_not_understand(
    image, tmp_path, call, code
):
    home = tmp_path / "codex-home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", str(image / "bin/audit-tool"), "shell", "mcp:docs/search"],
        env={"PATH": os.environ["PATH"], "CODEX_HOME": str(home)},
        input=call,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert (home / "forbidden-tool").exists() is (code == 2)
    assert bool(done.stderr) is (code == 2)
