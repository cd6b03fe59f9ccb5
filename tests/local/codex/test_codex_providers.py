"""Two job types of configs/jobs on each kind of provider: the rows "works" of the table in
docs/model-endpoint.md."""

import base64
import json

import pytest
from codex_stand import REPOSITORY, Pod
from providers import PROVIDERS, REVIEW, Provider, serve

from codexrun_core.prompts import manifests
from codexrun_core.schemas.inputs import check_inputs

FOLDER = manifests.load(REPOSITORY)
JOBS = {
    "hello": ({"name": "world"}, "Hello!"),
    "code-review": ({"focus": "errors", "base": "HEAD"}, json.dumps(REVIEW)),
}
TABLE = (REPOSITORY / "docs/model-endpoint.md").read_text()


def names(provider: type[Provider]) -> str:
    return provider.__name__


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("provider", PROVIDERS, ids=names)
def test_a_job_type_works_with_each_provider(pod: Pod, provider: type[Provider], job: str) -> None:
    given, message = JOBS[job]
    (spec,) = [each["spec"] for each in FOLDER.job_types if each["metadata"]["name"] == job]
    schema = spec.get("outputSchema")
    text = base64.b64encode(json.dumps(schema).encode()).decode()
    environment = {"CODEXRUN_OUTPUT_SCHEMA": text} if schema else {}
    allowed = spec.get("allowedTools", ["shell", "apply_patch"])
    with serve(provider) as server:
        pod.start_gate(
            max_tokens=spec["limits"]["maxTokens"],
            environment=environment,
            allowedTools=allowed,
            **server.gate_settings,
        )
        pod.start_runner(
            FOLDER.index.find(job, spec["prompt"]["version"]).text,
            check_inputs(spec["inputsSchema"], given),
            env=environment,
            allowedTools=allowed,
        )
        result = pod.end()

    assert result.code == 0, (result.runner, result.gate)
    assert result.runner["finalMessage"] == message
    assert len(server.requests) == 2 + provider.rate_limits
    assert (result.gate["completed"], result.gate["complete"]) == (2, provider.complete)
    assert "lastError" not in result.gate
    if provider.complete:
        assert result.gate["usage"]["totalTokens"] == 2 * 9050
    if schema:
        assert result.gate["output"]["ok"]


TITLES = {"VLLM": "vLLM", "CorporateProxy": "a corporate proxy", "Azure": "Azure OpenAI"}


def test_the_documentation_has_a_row_for_each() -> None:
    for provider in PROVIDERS:
        assert f"| {TITLES.get(provider.__name__, provider.__name__)} |" in TABLE
