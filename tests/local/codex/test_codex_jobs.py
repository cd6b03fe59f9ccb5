"""The job types of configs/jobs do their work on a real Git repository: real Codex, real gate,
scripted model."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from codex_stand import REPOSITORY, Pod, Result

from codexrun_core.prompts import manifests
from codexrun_core.schemas.inputs import check_inputs
from codexrun_core.schemas.json_schema import violations
from codexrun_operator.decide.observed import Container
from codexrun_operator.decide.observed import Pod as PodSeen
from codexrun_operator.decide.outcome import outcome

FOLDER = manifests.load(REPOSITORY)
# -B: an edit of the same length within one second leaves bytecode that passes for the new file.
CHECK = "python3 -B -m unittest -q test_cart"
CART = "def total(prices, discount):\n    return sum(prices) + discount\n"
TEST = (
    "import unittest\nimport cart\n\nclass Cart(unittest.TestCase):\n"
    "    def test_discount(self):\n        self.assertEqual(cart.total([5, 5], 3), 7)\n"
)


def git(at: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *who, *arguments], cwd=at, check=True, capture_output=True, text=True
    ).stdout


def commit(at: Path, message: str, **files: str) -> None:
    for name, text in files.items():
        (at / f"{name}.py").write_text(text)
    git(at, "add", ".")
    git(at, "commit", "-qm", message)


def work(pod: Pod, name: str, given: dict[str, Any]) -> Result:
    """One run of a job type of ours, as the operator would set it up."""
    (spec,) = [
        manifest["spec"] for manifest in FOLDER.job_types if manifest["metadata"]["name"] == name
    ]
    prompt = FOLDER.index.find(name, spec["prompt"]["version"])
    schema = spec.get("outputSchema")
    told = (
        {"CODEXRUN_OUTPUT_SCHEMA": base64.b64encode(json.dumps(schema).encode()).decode()}
        if schema
        else {}
    )
    pod.start_gate(environment=told, allowedTools=spec["allowedTools"])
    inputs = check_inputs(spec["inputsSchema"], given)
    pod.start_runner(prompt.text, inputs, env=told, git=True, allowedTools=spec["allowedTools"])
    return pod.end()


def test_a_review_gives_findings_as_validated_json(pod: Pod, artifacts: dict[str, bytes]) -> None:
    at = pod.workspace
    git(at, "init", "-q")
    commit(at, "first", shop="def load(text):\n    return int(text)\n")
    git(at, "tag", "v1")
    commit(
        at,
        "second",
        shop=(
            "def load(text):\n    try:\n        return eval(text)\n    except:\n        return 0\n"
        ),
    )

    result = work(pod, "code-review", {"focus": "scenario: code-review", "base": "v1"})

    assert result.code == 0, result
    (spec,) = [m["spec"] for m in FOLDER.job_types if m["metadata"]["name"] == "code-review"]
    found = json.loads(artifacts["output.json"])
    assert violations(spec["outputSchema"], found) == []
    assert [(f["severity"], f["path"], f["line"]) for f in found["findings"]] == [
        ("blocker", "shop.py", 3),
        ("major", "shop.py", 4),
    ]
    assert artifacts["output.json"] == artifacts["final-message.md"]
    assert "workspace.patch" not in artifacts, "a review changes nothing"
    verdict = outcome(ended(result))
    assert verdict.failure is None
    assert verdict.result is not None
    assert verdict.result.output == found


def test_a_review_that_does_not_fit_its_schema_fails_with_the_pointer(
    pod: Pod, artifacts: dict[str, bytes]
) -> None:
    git(pod.workspace, "init", "-q")
    commit(pod.workspace, "first", shop="x = 1\n")

    result = work(pod, "code-review", {"focus": "scenario: code-review-misfit"})

    failure = outcome(ended(result)).failure
    assert failure is not None
    assert (failure.class_, failure.retryable) == ("agent_error", failure.class_.retryable)
    assert failure.message.startswith("output/findings/0/line: missing"), failure.message
    assert "output.json" not in artifacts


def test_a_fix_leaves_a_patch_that_makes_the_failing_test_pass(
    pod: Pod, artifacts: dict[str, bytes], tmp_path: Path
) -> None:
    at = pod.workspace
    git(at, "init", "-q")
    (at / ".gitignore").write_text("__pycache__/\n")
    commit(at, "first", cart=CART, test_cart=TEST)
    fresh = tmp_path / "fresh"
    git(tmp_path, "clone", "-q", str(at), str(fresh))
    assert (
        subprocess.run(CHECK, shell=True, cwd=fresh, capture_output=True, check=False).returncode
        == 1
    )

    hint = "in cart.py `+ discount` should be `- discount` (scenario: fix-failing-test)"
    result = work(pod, "fix-failing-test", {"command": CHECK, "hint": hint})

    assert result.code == 0, result
    assert [
        e["item"]["changes"]
        for e in result.events
        if e.get("item", {}).get("type") == "file_change"
    ]
    patch = tmp_path / "it.patch"
    patch.write_bytes(artifacts["workspace.patch"])
    git(fresh, "apply", str(patch))
    assert (
        subprocess.run(CHECK, shell=True, cwd=fresh, capture_output=True, check=False).returncode
        == 0
    )
    assert git(fresh, "status", "--short").split() == ["M", "cart.py"]
    assert artifacts["final-message.md"].rstrip().endswith(b"OK\n```")


def test_release_notes_come_out_as_markdown(pod: Pod, artifacts: dict[str, bytes]) -> None:
    at = pod.workspace
    git(at, "init", "-q")
    commit(at, "first", a="1\n")
    git(at, "tag", "v1")
    for message in ("Add a cart", "Fix the total", "Remove the old cart", "Speed up totals"):
        commit(at, message, a=message)
    hashes = dict(
        reversed(line.split(" ", 1)) for line in git(at, "log", "--format=%h %s").splitlines()
    )

    result = work(
        pod,
        "release-notes",
        {"version": "2.0", "since": "v1", "audience": "scenario: release-notes"},
    )

    assert result.code == 0, result
    lines = [
        f"- {m} ({hashes[m]})"
        for m in ("Remove the old cart", "Add a cart", "Speed up totals", "Fix the total")
    ]
    headings = ("### Breaking", "### Added", "### Changed", "### Fixed")
    notes = artifacts["final-message.md"].decode()
    assert notes.startswith("## 2.0\n\n")
    assert {
        h: notes.index(h) < notes.index(line) for h, line in zip(headings, lines, strict=True)
    } == dict.fromkeys(headings, True)


def ended(result: Result) -> PodSeen:
    """As the operator sees it."""
    agent = Container(state="terminated", exit_code=result.code, report=result.runner)
    gate = Container(state="terminated", exit_code=0, report=result.gate)
    return PodSeen(
        name="p", phase="Succeeded" if result.code == 0 else "Failed", agent=agent, gate=gate
    )
