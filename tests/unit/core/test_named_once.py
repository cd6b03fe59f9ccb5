"""What several parts must agree on stands in one module of core, and nowhere else as a literal."""

import ast
from pathlib import Path

import pytest

from codexrun_core import pod_contract, reasons
from codexrun_core.runs import annotations, label_keys

REPOSITORY = Path(__file__).resolve().parents[3]
PARTS = ("core", "operator", "api", "pod", "cli")
KEYS = {
    value
    for module in (label_keys, annotations)
    for value in vars(module).values()
    if isinstance(value, str) and value.startswith("codexrun.dev/")
}
CONTRACT = {
    value
    for name, value in vars(pod_contract).items()
    if name.endswith(("_ENV", "_FOLDER")) or name in ("RUNNER", "INGEST_AUDIENCE")
}
# Names that another contract has too, with the same text for another reason.
EXCEPTIONS = {
    ("api/codexrun_api/__main__.py", pod_contract.INGEST_AUDIENCE),  # the api's User-Agent
}


def literals(path: Path) -> set[str]:
    """The strings in a module, its docstrings excepted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    }


@pytest.mark.parametrize(
    ("texts", "homes"),
    [
        (KEYS, {"runs/label_keys.py", "runs/annotations.py"}),
        (CONTRACT, {"pod_contract.py"}),
    ],
    ids=["labels and annotations", "environment, paths and audience of the pod"],
)
def test_a_name_of_the_contract_stands_in_one_module(texts: set[str], homes: set[str]) -> None:
    assert texts
    copies = [
        (name, text)
        for part in PARTS
        for path in sorted((REPOSITORY / part).rglob("*.py"))
        if (name := str(path.relative_to(REPOSITORY))).removeprefix("core/codexrun_core/")
        not in homes
        for text in sorted(texts & literals(path))
        if (name, text) not in EXCEPTIONS
    ]
    assert copies == []


# Reasons that are words of Kubernetes, of a phase or of a page too.
COMMON_WORDS = {reasons.STARTING, reasons.SUSPENDED, reasons.UNSCHEDULABLE, reasons.EVICTED}


def test_a_reason_stands_in_one_module() -> None:
    texts = {text for name, text in vars(reasons).items() if name.isupper()} - COMMON_WORDS
    copies = [
        (path.relative_to(REPOSITORY).as_posix(), text)
        for part in PARTS
        for path in (REPOSITORY / part).rglob("*.py")
        if path.name != "reasons.py"
        for text in sorted(literals(path) & texts)
    ]
    assert copies == []


def test_no_constant_is_known_by_a_second_module() -> None:
    """`NAME = reasons.NAME` lets others import NAME from where it is not defined."""
    aliases = [
        f"{path.relative_to(REPOSITORY).as_posix()}: {ast.unparse(node)}"
        for part in PARTS
        for path in (REPOSITORY / part).rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in {ast.unparse(target) for target in node.targets}
    ]
    assert aliases == []
