"""The job types of configs/jobs on the cluster: a review as JSON, a fix as a patch, release notes
as Markdown."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from git_server import CART, CHECK, TEST
from lab import ROOT, Json, Lab
from rest_facade import Facade

from codexrun_core.prompts import manifests


@pytest.fixture(scope="module")
def ours(lab: Lab, host: str) -> dict[str, str]:
    """Name of each of our job types -> name of a copy that may clone from the tests' server."""
    made = {}
    for job_type in manifests.load(ROOT).job_types:
        name = job_type["metadata"]["name"]
        made[name] = lab.name(name)
        spec = {**job_type["spec"], "git": {"allowedURLs": [f"http://{host}/*"]}}
        body = {**job_type, "metadata": {"name": made[name], "labels": lab.mark}, "spec": spec}
        lab.custom.create_namespaced_custom_object(*lab.job_type_kind, body)
    return made


def work(facade: Facade, job_type: str, host: str, ref: str, **inputs: Any) -> Json:
    """The ended run's row."""
    workspace = {"git": {"url": f"http://{host}/jobs.git", "ref": ref}}
    started = facade.http.post(
        "/runs/start", json={"job_type": job_type, "inputs": inputs, "workspace": workspace}
    )
    assert started.status_code == 202, started.text
    return facade.until(
        started.json()["run_id"], "succeeded", "failed", "rejected", log_closed=True
    )


def artifact(facade: Facade, row: Json, name: str) -> bytes:
    answer = facade.get(f"/runs/{row['run_id']}/artifacts/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_review_gives_findings_as_validated_json(
    lab: Lab, facade: Facade, ours: dict[str, str], host: str
) -> None:
    row = work(
        facade, ours["code-review"], host, "change", focus="scenario: code-review", base="main"
    )
    assert row["status"] == "succeeded", row
    found = json.loads(artifact(facade, row, "output.json"))
    assert [(f["severity"], f["path"], f["line"]) for f in found["findings"]] == [
        ("blocker", "shop.py", 3),
        ("major", "shop.py", 4),
    ]
    assert lab.get({"metadata": {"name": row["name"]}})["status"]["result"]["output"] == found


def test_a_review_that_does_not_fit_fails_with_the_pointer(
    facade: Facade, ours: dict[str, str], host: str
) -> None:
    row = work(facade, ours["code-review"], host, "change", focus="scenario: code-review-misfit")
    assert (row["status"], row["failure"]["class"]) == ("failed", "agent_error"), row
    assert row["failure"]["message"].startswith("output/findings/0/line: missing")


def test_a_fix_leaves_a_patch_that_makes_the_failing_test_pass(
    facade: Facade, ours: dict[str, str], host: str, tmp_path: Path
) -> None:
    hint = "in cart.py `+ discount` should be `- discount` (scenario: fix-failing-test)"
    row = work(facade, ours["fix-failing-test"], host, "main", command=CHECK, hint=hint)
    assert row["status"] == "succeeded", row
    (tmp_path / "cart.py").write_text(CART)
    (tmp_path / "test_cart.py").write_text(TEST)

    def passes() -> bool:
        return (
            subprocess.run(
                CHECK, shell=True, cwd=tmp_path, capture_output=True, check=False
            ).returncode
            == 0
        )

    assert not passes()
    patch = artifact(facade, row, "workspace.patch")
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, check=True)
    assert passes()


def test_release_notes_come_out_as_markdown(
    facade: Facade, ours: dict[str, str], host: str
) -> None:
    row = work(
        facade,
        ours["release-notes"],
        host,
        "main",
        version="2.0",
        since="v1",
        audience="scenario: release-notes",
    )
    assert row["status"] == "succeeded", row
    lines = artifact(facade, row, "final-message.md").decode().splitlines()
    assert lines[0] == "## 2.0"
    assert [line.rpartition(" (")[0] for line in lines if line.startswith("- ")] == [
        "- Add a cart",
        "- Fix the test of discounts",
    ]


def test_a_queue_that_is_full_says_so(lab: Lab, facade: Facade) -> None:
    job_type = lab.job_type(concurrencyLimit=1, maxQueued=1)
    first, second = (lab.run(job_type, "sleep-60") for _ in range(2))
    for run in (first, second):
        lab.phase(run, "Queued", "Running")
    third = lab.ended(lab.run(job_type, "hello"))
    assert (third["status"]["phase"], third["status"]["reason"]) == ("Rejected", "QueueFull")
    answer = facade.start(job_type, "hello", when_full="Queue")
    assert (answer.status_code, answer.json()["code"]) == (429, "queue-full"), answer.text
    for run in (first, second):
        lab.cancel(run)
