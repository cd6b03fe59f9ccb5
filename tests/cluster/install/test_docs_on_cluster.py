"""The documentation's commands for a cluster, typed in their order into the one of `make up`."""

import os
import subprocess
from pathlib import Path

import pytest
from docblocks import ROOT, Block, blocks, documents, working_copy

pytestmark = pytest.mark.alone  # they speak of the newest run

ENV = ROOT / ".cluster/env"


def commands(document: Path) -> list[Block]:
    return [block for block in blocks(document) if block.test == "cluster"]


@pytest.mark.parametrize(
    "document", [d for d in documents() if commands(d)], ids=lambda document: document.name
)
def test_commands_of(document: Path, tmp_path: Path) -> None:
    if not ENV.exists():
        pytest.fail("there is no .cluster/env; `make up` starts the cluster and writes it")
    folder = working_copy(tmp_path)
    try:
        for block in commands(document):
            shell(block, folder)
    finally:
        # What a failed block left would make the next run fail for another reason.
        for name in ("hello-berlin", "hello-bern"):
            bash(f"kubectl delete cxr {name} -n codexrun --ignore-not-found", folder)
        for kind in ("pod", "service", "configmap"):
            bash(f"kubectl delete {kind} git-server -n codexrun --ignore-not-found", folder)


def shell(block: Block, folder: Path) -> None:
    done = bash(block.text, folder)
    if done.returncode != 0:
        seen = bash("kubectl get cxr,jobs,pods -n codexrun", folder)
        pytest.fail(
            f"{block}: exit {done.returncode}\n{done.stdout}{done.stderr}\nafter it:\n{seen.stdout}"
        )


def bash(text: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". {ENV}\n{text}"],
        check=False,
        cwd=folder,
        env=os.environ | {"PATH": f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
