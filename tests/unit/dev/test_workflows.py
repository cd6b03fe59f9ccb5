"""The workflow files: what they call is here, and none of them has more rights than its work."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / ".github/workflows").glob("*.yaml"))


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def workflow(request: pytest.FixtureRequest) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(request.param.read_text())
    return loaded


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_are_two() -> None:
    assert [file.stem for file in FILES] == ["ci", "release"]


def test_each_says_that_it_was_not_run_here() -> None:
    for file in FILES:
        assert file.read_text().startswith("# Not run where this was written"), file


def test_every_target_of_make_is_there(workflow: dict[Any, Any]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    called = {
        target
        for step in steps(workflow)
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    }
    assert called
    assert called <= targets


def test_every_file_that_is_named_is_there(workflow: dict[Any, Any]) -> None:
    text = "\n".join(step.get("run", "") for step in steps(workflow))
    for path in re.findall(r"\b(?:charts|requirements)/[\w./-]+\w", text):
        assert (ROOT / path).exists(), path


def test_rights_are_least(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job, name
        for right, level in job.get("permissions", {}).items():
            assert level == "read" or (name, right) in {
                *(("images", "packages"), ("chart", "packages"), ("chart", "id-token")),
                *(("publish-images", right) for right in ("packages", "id-token", "attestations")),
                *(("wheel", right) for right in ("contents", "id-token", "attestations")),
            }


def test_no_step_keeps_or_prints_a_token_or_runs_what_a_visitor_wrote(
    workflow: dict[Any, Any],
) -> None:
    """`${{ … }}` in a script is pasted into it: https://docs.github.com/actions/security-guides."""
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        for pasted in re.findall(r"\${{(.*?)}}", step.get("run", "")):
            assert pasted.strip() == "matrix.image", pasted


def test_the_release_finds_what_it_replaces_in_the_chart() -> None:
    values = (ROOT / "charts/codexrun/values.yaml").read_text()
    for section, name in (("image", "codexrun"), ("agentImage", "codexrun-agent")):
        _, found, rest = values.partition(f"\n{section}:\n")
        assert found
        assert rest.index('digest: ""') < 600
        assert f"repository: localhost/{name}\n" in rest
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version
    assert f"version: {version[1]}\n" in (ROOT / "charts/codexrun/Chart.yaml").read_text()
