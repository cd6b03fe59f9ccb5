"""Two job types of configs/jobs on each kind of provider, and what each refuses: the table in
docs/model-endpoint.md."""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

import providers
import pytest
from codex_stand import REPOSITORY, Pod, Result
from providers import PROVIDERS, REVIEW, Provider, Zoo, serve
from verdicts import status_of

from codexrun_core.prompts import manifests
from codexrun_core.schemas.inputs import check_inputs

Json = dict[str, Any]

FOLDER = manifests.load(REPOSITORY)
JOBS: dict[str, tuple[Json, str]] = {
    "hello": ({"name": "world"}, "Hello!"),
    "code-review": ({"focus": "errors", "base": "HEAD"}, json.dumps(REVIEW)),
}
TABLE = (REPOSITORY / "docs/model-endpoint.md").read_text()


def names(provider: type[Provider]) -> str:
    return provider.__name__


def play(
    pod: Pod,
    server: Zoo,
    job: str,
    *,
    schema: Json | None = None,
    model: str = "gpt-5.5",
    **settings: Any,
) -> Result:
    """A run of a job type, with its own outputSchema or another; settings: of the gate."""
    given, _ = JOBS[job]
    (spec,) = [each["spec"] for each in FOLDER.job_types if each["metadata"]["name"] == job]
    schema = schema or spec.get("outputSchema")
    text = base64.b64encode(json.dumps(schema).encode()).decode()
    environment = {"CODEXRUN_OUTPUT_SCHEMA": text} if schema else {}
    allowed = spec.get("allowedTools", ["shell", "apply_patch"])
    pod.start_gate(
        max_tokens=spec["limits"]["maxTokens"],
        environment=environment,
        allowedTools=allowed,
        **{**server.gate_settings, **settings},
    )
    pod.start_runner(
        FOLDER.index.find(job, spec["prompt"]["version"]).text,
        check_inputs(spec["inputsSchema"], given),
        env=environment,
        allowedTools=allowed,
        model=model,
    )
    return pod.end()


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("provider", PROVIDERS, ids=names)
def test_a_job_type_works_with_each_provider(pod: Pod, provider: type[Provider], job: str) -> None:
    _, message = JOBS[job]
    with serve(provider) as server:
        result = play(pod, server, job)

    assert result.code == 0, (result.runner, result.gate)
    assert result.runner["finalMessage"] == message
    assert len(server.requests) == 2 + provider.rate_limits
    assert (result.gate["completed"], result.gate["complete"]) == (2, provider.complete)
    assert "lastError" not in result.gate
    if provider.complete:
        assert result.gate["usage"]["totalTokens"] == 2 * 9050
    if job == "code-review":
        assert result.gate["output"]["ok"]


@dataclass(frozen=True)
class Refused:
    """A cell "refused": what a run on a provider ends with. row: the table's; requests: how often
    the provider is asked; options: of `play`."""

    row: str
    provider: type[Provider]
    message: str
    class_: str = "model_error"
    requests: int = 1
    options: Json = field(default_factory=dict)


LOOSE = {"type": "object", "properties": {"summary": {"type": "string"}}}
REFUSED = [
    Refused(
        "OpenAI",
        providers.OpenAI,
        "the provider does not accept the job type's outputSchema",
        options={"schema": LOOSE},
    ),
    Refused(
        "Azure OpenAI",
        providers.Azure,
        "there is no Responses API at model.upstreamURL",
        options={"upstream": "{url}/openai"},
    ),
    Refused(
        "Azure OpenAI",
        providers.Azure,
        "the endpoint does not have this model",
        options={"model": "gpt-6-sol"},
    ),
    Refused(
        "vLLM", providers.ShortVLLM, "the conversation no longer fits in the model's context window"
    ),
    Refused(
        "vLLM",
        providers.OldVLLM,
        "the endpoint does not accept a tool in the form that Codex sends",
    ),
    Refused(
        "vLLM",
        providers.SingleTurnVLLM,
        "the endpoint rejects the request, and a retry would fail too",
        requests=2,
    ),
    Refused("LiteLLM", providers.SpentLiteLLM, "the account's quota is used up", "quota"),
    Refused(
        "LiteLLM",
        providers.BalancedLiteLLM,
        "configure it to send all requests of a run to the same deployment",
        requests=2,
    ),
    Refused(
        "LiteLLM",
        providers.WrappingLiteLLM,
        "the endpoint does not accept a tool in the form that Codex sends",
    ),
    Refused("LiteLLM", providers.ChattingLiteLLM, "the endpoint must support the Responses API"),
    Refused(
        "OpenRouter",
        providers.ModeratedOpenRouter,
        "the provider's usage policy rejects the prompt",
        "policy",
    ),
    Refused("OpenRouter", providers.SpentOpenRouter, "the account's quota is used up", "quota"),
    Refused(
        "Ollama",
        providers.Ollama,
        "the endpoint does not have this model",
        options={"model": "gpt-6-sol"},
    ),
    Refused("Ollama", providers.OldOllama, "there is no Responses API at model.upstreamURL"),
    Refused(
        "a corporate proxy",
        providers.LoginProxy,
        "a proxy or firewall responded instead of the model",
    ),
    Refused(
        "a corporate proxy",
        providers.BlockingProxy,
        "a proxy or firewall responded instead of the model",
    ),
]


@pytest.mark.parametrize(
    "case", REFUSED, ids=lambda case: f"{case.provider.__name__}: {case.message}"
)
def test_a_provider_that_refuses_is_asked_once_and_told_of(pod: Pod, case: Refused) -> None:
    with serve(case.provider) as server:
        options = {**case.options}
        if upstream := options.get("upstream"):
            options["upstream"] = upstream.format(url=f"http://127.0.0.1:{server.server_port}")
        result = play(pod, server, "hello", **options)

    failure = status_of(result.code, result.runner, result.gate).failure
    assert failure is not None, result
    assert case.message in failure.message
    assert (failure.class_.value, failure.retryable) == (case.class_, False)
    assert len(server.requests) == case.requests


TITLES = {"VLLM": "vLLM", "CorporateProxy": "a corporate proxy", "Azure": "Azure OpenAI"}


def test_the_documentation_has_a_row_for_each() -> None:
    for provider in PROVIDERS:
        assert f"| {TITLES.get(provider.__name__, provider.__name__)} |" in TABLE


def test_the_documentation_has_each_refusal_and_no_other() -> None:
    cells = re.findall(r"^\| ([^|]+) \| work[^|]* \| ([^|]+) \|$", TABLE, re.M)
    documented = {(row, message) for row, cell in cells for message in re.findall('"(.*?)"', cell)}
    assert documented == {(case.row, case.message) for case in REFUSED}
