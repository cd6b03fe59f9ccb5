"""The wheel by itself: what is installed from it is whole, without a checkout around it."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PARTS = ("core", "operator", "pod", "cli", "api", "demo-model")
HEAD = '{"format": "codexrun-registry", "version": 1, "schema": "0001"}\n{"end": {"runs": 0}}\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *build, "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("codexrun-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *arguments: str, stdin: str = "", **env: str) -> str:
    """Python with the wheel's modules and the environment's dependencies, but not its .pth files,
    which lead to the checkout."""
    path = f"{installed}:{sysconfig.get_path('purelib')}"
    done = subprocess.run(
        [sys.executable, "-S", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=installed.parent,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "HOME": str(installed.parent), **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_file_that_is_read_is_in_it(installed: Path) -> None:
    ours = {
        path.relative_to(part)
        for part in (ROOT / name for name in PARTS)
        for path in part.rglob("*")
        if path.is_file() and path.relative_to(part).parts[0].startswith("codexrun_")
        if "__pycache__" not in path.parts
    }
    assert ours - {path.relative_to(installed) for path in installed.rglob("*")} == set()


def test_the_command_line_the_api_and_the_migrations_work_from_it(
    installed: Path, tmp_path: Path
) -> None:
    assert "Unattended Codex runs" in run(installed, "-m", "codexrun_cli", "--help")
    where = (
        "import codexrun_core, codexrun_api; print(codexrun_core.__file__, codexrun_api.__file__)"
    )
    assert run(installed, "-c", where).count(str(installed)) == 2
    document = run(installed, "-m", "codexrun_api.openapi")
    assert json.loads(document)["info"]["title"] == "codexrun"
    data = {"CODEXRUN_DATA": str(tmp_path)}
    said = run(installed, "-m", "codexrun_cli", "import", stdin=HEAD, **data)
    assert "0 runs imported" in said
    assert (tmp_path / "registry.db").stat().st_size > 0
