"""What people see in a terminal of 80 columns."""

from collections.abc import Iterator

import pytest
from lab import Lab


@pytest.fixture(scope="module")
def run_name(lab: Lab) -> Iterator[str]:
    lab.kubectl("delete", "cxr", "hello-views", "--ignore-not-found")
    body = lab.kubectl("get", "cjt", "hello", "-o", "name").stdout
    assert body.strip() == "codexjobtype.codexrun.dev/hello"
    manifest = "apiVersion: codexrun.dev/v1alpha1\nkind: CodexRun\nmetadata: {name: hello-views}\n"
    lab.kubectl(
        "apply", "-f", "-", stdin=manifest + "spec: {jobType: hello, inputs: {name: world}}\n"
    )
    lab.kubectl("wait", "--for=condition=Succeeded", "cxr/hello-views", "--timeout=120s")
    yield "hello-views"
    lab.kubectl("delete", "cxr", "hello-views", "--wait=false")


def test_the_list_fits_eighty_columns(lab: Lab, run_name: str) -> None:
    head, row = lab.kubectl("get", "cxr", run_name).stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "TYPE", "REASON", "TOKENS", "COST", "DURATION", "AGE"]
    assert row.split()[:4] == [run_name, "Succeeded", "hello", "Completed"]
    assert max(len(head.rstrip()), len(row.rstrip())) <= 80


def test_the_wide_list_adds_prompt_model_attempt_and_job(lab: Lab, run_name: str) -> None:
    head, row = lab.kubectl("get", "cxr", run_name, "-o", "wide").stdout.splitlines()
    assert head.split()[8:] == ["PROMPT", "VERSION", "MODEL", "ATTEMPT", "JOB"]
    assert row.split()[8:12] == ["hello", "v1", "gpt-5.5", "1"]


def test_runs_are_found_by_phase_and_job_type(lab: Lab, run_name: str) -> None:
    for selector in ("status.phase=Succeeded", "spec.jobType=hello"):
        listed = lab.kubectl(
            "get", "codex", "--field-selector", selector, "-o", "name", check=False
        ).stdout
        listed += lab.kubectl("get", "cxr", "--field-selector", selector, "-o", "name").stdout
        assert f"codexrun.codexrun.dev/{run_name}" in listed


def test_describe_tells_the_story(lab: Lab, run_name: str) -> None:
    told = lab.kubectl("describe", "cxr", run_name).stdout
    for word in (
        "Phase:",
        "Completed",
        "The run succeeded",
        "Total Tokens:",
        "Hello, world!",
        "sha256:",
    ):
        assert word in told


@pytest.mark.parametrize("kind", ["codexrun", "codexjobtype"])
def test_explain_describes_every_field_of_the_spec(lab: Lab, kind: str) -> None:
    told = lab.kubectl("explain", f"{kind}.spec").stdout
    assert "<no description>" not in told


def test_a_failed_run_shows_up_in_events(lab: Lab) -> None:
    run = lab.ended(lab.run(lab.job_type(), "no-message"))
    lab.until_event(run, "SilentDeath")
    shown = lab.kubectl("events", "--for", f"codexrun/{run['metadata']['name']}").stdout
    assert "SilentDeath" in shown
