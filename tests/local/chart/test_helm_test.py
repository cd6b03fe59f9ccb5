"""`helm test`: its job type and prompt are valid, and its script goes through against the real api;
the cluster and the run's end are played."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clistand import Stand, event, stands
from fake_cluster import FakeCluster, condition
from test_chart import DEMO, Manifest, hook_of, names, one, render

from codexrun_core.resources import CodexJobType

NAME = "codexrun-test"


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return [manifest for manifest in render(*DEMO) if hook_of(manifest) == "test"]


@pytest.fixture
def stand(
    manifests: list[Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stand]:
    for made in stands(tmp_path, monkeypatch):

        def admit(path: str, raw: Manifest, kube: FakeCluster = made.kube) -> None:
            if path.startswith(kube.runs):
                admitted = [condition("Admitted")]
                name = raw["metadata"]["name"]
                kube.status(name, "Starting", attempt=1, reason="Starting", conditions=admitted)

        made.kube.on_create = admit
        prompt = one(manifests, "ConfigMap", f"prompt-{NAME}-v1")
        made.at_once(made.kube.put, made.kube.config_maps, prompt)
        made.at_once(made.kube.put, made.kube.job_types, one(manifests, "CodexJobType", NAME))
        yield made


def script(manifests: list[Manifest], stand: Stand) -> subprocess.Popen[str]:
    """As the pod runs it, with this environment's Python."""
    (container,) = one(manifests, "Pod", NAME)["spec"]["containers"]
    path = f"{Path(sys.executable).parent}:{stand.env['PATH']}"
    return subprocess.Popen(
        [*container["command"], *container["args"]],
        env={**stand.env, "JOB_TYPE": NAME, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def started(stand: Stand) -> str:
    def run() -> str | None:
        rows = stand.cli("list", "-j", NAME, "-o", "name").out.split()
        return rows[0].removeprefix("codexrun/") if rows else None

    name: str = stand.until(run)
    return name


def test_it_is_of_the_api_and_comes_and_goes_with_it(manifests: list[Manifest]) -> None:
    assert names(manifests) == {
        f"CodexJobType/{NAME}",
        f"ConfigMap/prompt-{NAME}-v1",
        f"Pod/{NAME}",
    }
    assert not any(hook_of(m) == "test" for m in render(*DEMO, "api.enabled=false"))


def test_job_type_and_prompt_are_valid_and_name_each_other(manifests: list[Manifest]) -> None:
    job_type = one(manifests, "CodexJobType", NAME)
    CodexJobType.model_validate(job_type, extra="forbid")
    prompt = one(manifests, "ConfigMap", f"prompt-{NAME}-v1")
    text = prompt["data"]["prompt.md"].encode()
    assert (
        prompt["metadata"]["annotations"]["codexrun.dev/sha256"]
        == (job_type["spec"]["prompt"]["sha256"])
    )
    assert job_type["spec"]["prompt"]["sha256"] == hashlib.sha256(text).hexdigest()
    assert prompt["metadata"]["labels"]["codexrun.dev/prompt"] == job_type["spec"]["prompt"]["name"]


def test_a_run_with_its_row_and_its_log_passes(manifests: list[Manifest], stand: Stand) -> None:
    process = script(manifests, stand)
    name = started(stand)
    stand.log(name, event(type="turn.completed"))
    stand.end(name)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"run {name}" in output.splitlines()
    assert output.splitlines()[-2:] == ["its row is there", "its log is there"]


def test_a_run_that_fails_is_told_and_the_test_fails(
    manifests: list[Manifest], stand: Stand
) -> None:
    process = script(manifests, stand)
    name = started(stand)
    failure = {"class": "auth", "message": "the endpoint refused the key", "retryable": False}
    stand.end(name, "Failed", failure=failure)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "auth" in output or "failed" in output.lower(), output
