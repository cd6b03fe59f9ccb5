"""docs/architecture.md says where everything is: its paths exist, and no folder is missing."""

import ast
import re
from pathlib import Path

import pytest
from docblocks import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Where is …?")[2].partition("\n## ")[0]
FOLDERS_TABLE, _, PLACES_TABLE = SECTION.partition("| where is …? |")
FOLDERS = re.findall(r"^\| `([^`]+)` \|", FOLDERS_TABLE, re.MULTILINE)
PLACES = re.findall(r"\| `([^`]+)` \|$", PLACES_TABLE, re.MULTILINE)
PARTS = ("core", "operator", "api", "pod", "cli", "cluster", "demo-model")
MAX_MODULES = 15
MAX_COLUMNS = 100


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def packages() -> list[Path]:
    """Every folder of the source that has modules, but the registry's migrations: they are data."""
    found = {path.parent for part in PARTS for path in (ROOT / part).rglob("*.py")}
    return sorted(
        folder for folder in found if "migrations" not in folder.parts and modules(folder)
    )


def test_there_are_thirty_answers() -> None:
    assert len(PLACES) >= 30


@pytest.mark.parametrize("place", [*FOLDERS, *PLACES])
def test_every_path_exists(place: str) -> None:
    assert (ROOT / place).exists()


@pytest.mark.parametrize("folder", packages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_folder_has_its_line_and_is_not_too_full(folder: Path) -> None:
    assert f"{folder.relative_to(ROOT).as_posix()}/" in FOLDERS
    if folder.name != "commands":
        assert len(modules(folder)) <= MAX_MODULES


def code() -> list[Path]:
    roots = [*PARTS, "bench", "dev", "tests"]
    return [path for root in roots for path in sorted((ROOT / root).rglob("*.py"))]


def wrapped() -> list[Path]:
    """Return what people wrap by hand or ruff formats; a template's page depends on its lines."""
    static = ROOT / "api/codexrun_api/console/static"
    return [
        *code(),
        ROOT / "pod/bin/audit-tool",
        ROOT / "pod/bin/runner",
        ROOT / "Makefile",
        ROOT / ".ci/run",
        *sorted((ROOT / "images").glob("Dockerfile.*")),
        *sorted(static.glob("*.js")),
        *sorted(static.glob("*.css")),
    ]


def test_no_line_is_longer_than_100_columns() -> None:
    """A `noqa` at its end counts, which ruff leaves out; one word, such as a URL, may be longer.

    A tab is four columns.
    """
    too_long = [
        f"{path.relative_to(ROOT).as_posix()}: {line.strip()}"
        for path in wrapped()
        for line in path.read_text(encoding="utf-8").splitlines()
        if len(line.expandtabs(4)) > MAX_COLUMNS and len(line.split()) > 1
    ]
    assert too_long == []


def test_no_comment_of_go_is_longer_than_100_columns() -> None:
    """gofmt, which leaves code as it is, has no bound."""
    too_long = [
        f"{path.relative_to(ROOT).as_posix()}: {line.strip()}"
        for path in sorted((ROOT / "cluster").rglob("*.go"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if len(line.expandtabs(4)) > MAX_COLUMNS and re.search(r"(^|\s)//", line)
    ]
    assert too_long == []


def test_no_conditional_expression_stands_in_another() -> None:
    nested = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in code()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.IfExp)
        and any(isinstance(child, ast.IfExp) for child in (node.body, node.test, node.orelse))
    ]
    assert nested == []
