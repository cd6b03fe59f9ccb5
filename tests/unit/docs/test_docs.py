"""The documentation does what it says: every code block is marked, and those that need no cluster
are run here."""

import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from docblocks import ROOT, Block, all_blocks, blocks, documents, working_copy

from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.git_urls import allowed_url

MODELS = {"CodexJobType": CodexJobType, "CodexRun": CodexRun}
SHELL = ("sh", "bash", "console")


@pytest.mark.parametrize("block", all_blocks(), ids=str)
def test_every_block_is_run_or_says_why_not(block: Block) -> None:
    assert block.test is not None, (
        f"{block}: no mark; write <!-- test: unit -->, <!-- test: chart -->, <!-- test: cluster -->"
        " or <!-- not run: the reason --> right above it (CONTRIBUTING.md, Documentation)"
    )


@pytest.mark.local
@pytest.mark.parametrize(
    "document",
    [d for d in documents() if any(b.test == "unit" for b in blocks(d))],
    ids=lambda d: d.name,
)
def test_blocks_without_a_cluster(document: Path, tmp_path: Path) -> None:
    """A document's blocks in their order, in one copy of the checkout, as a reader would."""
    folder = working_copy(tmp_path)
    for block in (b for b in blocks(document) if b.test == "unit"):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
        if block.language in SHELL:
            run(block, folder)
        elif block.language == "yaml":
            validate(block)
        else:
            assert block.file, (
                f"{block}: {block.language or 'no language'} is neither shell nor YAML: nothing to"
                " test"
            )


def run(block: Block, folder: Path) -> None:
    path = f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        check=False,
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block}: exit {done.returncode}\n{done.stdout}{done.stderr}"


def validate(block: Block) -> None:
    documents = list(yaml.safe_load_all(block.text))
    assert documents, f"{block}: no YAML document"
    for document in documents:
        MODELS[document["kind"]].model_validate(document, extra="forbid")


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name
)
def test_examples_fit_their_job_type(example: Path) -> None:
    """As far as it can be told without a cluster: schema, inputs, limits, repository."""
    for document in yaml.safe_load_all(example.read_text()):
        run_ = CodexRun.model_validate(document, extra="forbid")
        job_type = CodexJobType.model_validate(
            yaml.safe_load((ROOT / f"configs/jobs/{run_.spec.job_type}.yaml").read_text()),
            extra="forbid",
        )
        jsonschema.validate(run_.spec.inputs, job_type.spec.inputs_schema or {})
        if run_.spec.workspace:
            assert job_type.spec.git
            allowed_url(run_.spec.workspace.git.url, job_type.spec.git.allowed_urls)


def test_links_between_documents_lead_somewhere() -> None:
    for document in documents():
        for target in re.findall(
            r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#[^)]*)?\)", document.read_text()
        ):
            assert not target or (document.parent / target).exists(), (
                f"{document.name} links to {target}"
            )


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([\w-]+\.md)\)", index))


def test_anchors_of_the_readme_are_its_headings() -> None:
    text = (ROOT / "README.md").read_text()
    headings = {
        re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings
