"""Is this run right? Every reason to refuse it or to wait, each in words that name the field and
the way out."""

import json
from dataclasses import replace
from typing import Any

import pytest
from builders import NOON, PRICES, SHA, kind, prompt, run, run_json

from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.git_urls import UrlError, allowed_url
from codexrun_core.resources.limits import Limits
from codexrun_core.schemas.inputs import MAX_INPUTS_BYTES
from codexrun_operator.decide.job_type_status import job_type_status
from codexrun_operator.decide.run_reader import read_run
from codexrun_operator.decide.validation import (
    Accepted,
    Missing,
    Rejected,
    effective_limits,
    validate_run,
)

OTHER = "f" * 64
GIT = {"allowedURLs": ["https://git.example/acme/*"]}


def names(version: str = "v1", sha256: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "prompt": {
            "name": "hello",
            "version": version,
            **({"sha256": sha256} if sha256 else {}),
            **more,
        }
    }


def asks(**spec: Any) -> CodexRun:
    return run(**spec)


def needs(schema: Any) -> CodexJobType:
    return kind(inputsSchema=schema)


REFUSALS: list[tuple[str, str, CodexRun, CodexJobType, Prompt]] = [
    (
        "PromptVersionNotAllowed",
        "spec.promptVersion",
        asks(promptVersion="v2"),
        kind(),
        prompt(version="v2"),
    ),
    ("PromptChecksumMismatch", "apply the manifests", run(), kind(), prompt(declared_sha256=OTHER)),
    ("PromptChecksumMismatch", "says nothing", run(), kind(), prompt(declared_sha256="")),
    ("PromptChecksumMismatch", "prompt.sha256", run(), kind(**names(sha256=OTHER)), prompt()),
    (
        "InvalidInputs",
        "spec.inputs: the prompt has a placeholder {{name}}, but there is no input with that name",
        asks(inputs={}),
        needs({"properties": {"name": {}}}),
        prompt(),
    ),
    ("ModelNotAllowed", "spec.model", asks(model="o9"), kind(), prompt()),
    (
        "ModelNotAllowed",
        "use one of: a, b",
        asks(model="o9"),
        kind(model="a", allowedModels=["a", "b"]),
        prompt(),
    ),
    ("EffortNotAllowed", "spec.effort", asks(effort="high"), kind(), prompt()),
    ("EffortNotAllowed", "use one of: low", asks(effort="high"), kind(effort="low"), prompt()),
    (
        "LimitAboveJobType",
        "spec.limits.maxTokens",
        asks(limits={"maxTokens": 9}),
        kind(limits={"maxTokens": 8}),
        prompt(),
    ),
    (
        "LimitAboveJobType",
        "spec.limits.maxCostCents",
        asks(limits={"maxCostCents": 9}),
        kind(limits={"maxCostCents": 8}),
        prompt(),
    ),
    (
        "UnknownPrice",
        "spec.limits.maxCostCents",
        asks(limits={"maxCostCents": 9}),
        kind(model="new"),
        prompt(),
    ),
    (
        "UnknownPrice",
        "spec.limits.maxCostCents",
        asks(),
        kind(model="new", limits={"maxCostCents": 9}),
        prompt(),
    ),
    (
        "UnknownPrice",
        "has no price for web_search",
        asks(limits={"maxCostCents": 9}),
        kind(allowedTools=["web_search"]),
        prompt(),
    ),
    (
        "LimitAboveJobType",
        "spec.limits.timeoutSeconds: 3601 is above 3600",
        asks(limits={"timeoutSeconds": 3601}),
        kind(),
        prompt(),
    ),
    (
        "WorkspaceNotAllowed",
        "spec.workspace",
        asks(workspace={"git": {"url": "https://git.example/a/b"}}),
        kind(),
        prompt(),
    ),
    (
        "WorkspaceNotAllowed",
        "spec.workspace.git.url",
        asks(workspace={"git": {"url": "https://git.example/evil/b"}}),
        kind(git=GIT),
        prompt(),
    ),
    (
        "InvalidInputs",
        "spec.inputs/name: missing; give it a value",
        asks(inputs={}),
        kind(),
        prompt(),
    ),
    (
        "InvalidInputs",
        "spec.inputs/more: unknown; the allowed fields are: name",
        asks(inputs={"name": "x", "more": "y"}),
        kind(),
        prompt(),
    ),
    (
        "InvalidInputs",
        "spec.inputs/name: 3 is not of type",
        asks(inputs={"name": 3}),
        kind(),
        prompt(),
    ),
    (
        "UnknownPrice",
        'has no price for model "new", and job type',
        run(),
        kind(model="new", requireKnownPrice=True),
        prompt(),
    ),
    (
        "UnknownPrice",
        "spec.limits.maxCostCents",
        run(),
        kind(model="new", limits={"maxCostCents": 5}),
        prompt(),
    ),
    (
        "JobTypeInvalid",
        "spec.outputSchema/type",
        run(),
        kind(outputSchema={"type": "string"}),
        prompt(),
    ),
    (
        "InputsTooLarge",
        "spec.inputs",
        asks(inputs={"name": "x" * MAX_INPUTS_BYTES}),
        kind(),
        prompt(),
    ),
    (
        "JobTypeInvalid",
        "spec.inputsSchema/properties/a",
        run(),
        needs({"properties": {"a": {"type": "nothing"}}}),
        prompt(),
    ),
    ("JobTypeInvalid", "spec.inputsSchema/type", run(), needs({"type": "array"}), prompt()),
    (
        "JobTypeInvalid",
        "spec.inputsSchema",
        run(),
        needs({"properties": {"a": {"pattern": "("}}}),
        prompt(),
    ),
    (
        "JobTypeInvalid",
        "spec.inputsSchema",
        run(),
        needs({"$ref": "https://schemas.example/x.json"}),
        prompt(),
    ),
    ("JobTypeInvalid", "spec.inputsSchema", run(), needs({"$ref": "#/$defs/none"}), prompt()),
    ("JobTypeInvalid", "spec.inputsSchema", run(), needs({"$ref": "#"}), prompt()),
]


@pytest.mark.parametrize(
    ("reason", "words", "of", "job_type", "text"),
    REFUSALS,
    ids=[f"{r[0]}: {r[1]}" for r in REFUSALS],
)
def test_refusals(
    reason: str, words: str, of: CodexRun, job_type: CodexJobType, text: Prompt
) -> None:
    verdict = validate_run(of, job_type, text, replace(PRICES, fees={}))
    assert isinstance(verdict, Rejected), verdict
    assert verdict.reason == reason
    assert words in verdict.message
    assert len(verdict.message) < 2048


def test_a_search_within_a_budget_in_cents_needs_a_fee_and_no_more() -> None:
    job_type = kind(allowedTools=["web_search"])
    assert isinstance(
        validate_run(run(limits={"maxCostCents": 9}), job_type, prompt(), PRICES), Accepted
    )
    without = replace(PRICES, fees={})
    assert isinstance(validate_run(run(), job_type, prompt(), without), Accepted)
    assert isinstance(
        validate_run(run(limits={"maxCostCents": 9}), kind(), prompt(), without), Accepted
    )


@pytest.mark.parametrize(
    ("job_type", "table", "max_output"),
    [
        (None, None, None),
        (None, 32_000, 32_000),
        (16_000, 32_000, 16_000),
        (64_000, None, 64_000),
    ],
)
def test_what_a_model_can_answer_is_the_job_type_s_word_then_the_table_s(
    job_type: int | None, table: int | None, max_output: int | None
) -> None:
    price = PRICES.models["gpt-5.5"].model_copy(update={"max_output_tokens": table})
    prices = replace(PRICES, models={"gpt-5.5": price})
    spec = {} if job_type is None else {"maxOutputTokens": job_type}
    accepted = validate_run(run(), kind(**spec), prompt(), prices)
    assert isinstance(accepted, Accepted)
    assert accepted.max_output_tokens == max_output


def test_no_schema_is_fetched_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Any] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *arguments, **_: fetched.append(arguments))
    validate_run(run(), needs({"$ref": "http://169.254.169.254/latest"}), prompt())
    assert fetched == []


def test_a_missing_prompt_is_waited_for() -> None:
    verdict = validate_run(run(), kind(), None)
    assert isinstance(verdict, Missing)
    assert verdict.reason == "PromptNotFound"
    assert '"hello" v1' in verdict.message
    assert "codexrun prompts manifests" in verdict.message


def test_a_missing_version_of_the_run_s_own_choice_names_the_run_s_field() -> None:
    verdict = validate_run(run(promptVersion="v7"), kind(**names(allowOverride=True)), None)
    assert isinstance(verdict, Missing)
    assert verdict.message.startswith("spec.promptVersion: ")


def accepted(of: CodexRun, job_type: CodexJobType, text: Prompt | None = None) -> Accepted:
    verdict = validate_run(of, job_type, text or prompt(), PRICES)
    assert isinstance(verdict, Accepted), verdict
    return verdict


def test_defaults_are_filled_in() -> None:
    verdict = accepted(run(), kind(effort="low"))
    assert verdict.prompt.dump() == {"name": "hello", "version": "v1", "sha256": SHA}
    assert (verdict.model, verdict.effort, verdict.inputs) == ("gpt-5.5", "low", {"name": "world"})
    assert verdict.limits.dump() == {
        "timeoutSeconds": 3600,
        "stallSeconds": 600,
        "startSeconds": 600,
        "maxWaitSeconds": 120,
    }


def test_what_the_job_type_allows_is_taken() -> None:
    job_type = kind(
        allowedModels=["gpt-5.5", "small"],
        allowedEfforts=["low", "high"],
        git=GIT,
        **names(allowOverride=True),
    )
    of = run(
        model="small",
        effort="high",
        promptVersion="v2",
        workspace={"git": {"url": "https://git.example/acme/app"}},
    )
    verdict = accepted(of, job_type, prompt(version="v2"))
    assert (verdict.model, verdict.effort, verdict.prompt.version) == ("small", "high", "v2")


def test_naming_the_fixed_version_is_no_override() -> None:
    assert accepted(run(promptVersion="v1"), kind()).prompt.version == "v1"


def test_the_pinned_checksum_speaks_of_its_own_version_only() -> None:
    job_type = kind(**names(sha256=OTHER, allowOverride=True))
    assert accepted(run(promptVersion="v2"), job_type, prompt(version="v2")).prompt.sha256 == SHA


def test_inputs_take_the_schema_s_defaults() -> None:
    schema = {
        "type": "object",
        "required": ["name", "tone"],
        "properties": {
            "name": {"type": "string"},
            "tone": {"type": "string", "default": "kind"},
            "extra": True,
        },
    }
    assert accepted(run(), needs(schema)).inputs == {"name": "world", "tone": "kind"}
    assert accepted(run(inputs={"name": "a", "tone": "b"}), needs(schema)).inputs == {
        "name": "a",
        "tone": "b",
    }
    assert validate_run(
        run(), needs({"properties": {"n": {"type": "integer", "default": "x"}}}), prompt()
    ) == Rejected(
        "JobTypeInvalid",
        "spec.inputsSchema/properties/n/default: 'x' is not of type 'integer'; correct the default",
    )


def test_pointers_are_json_pointers() -> None:
    schema = {"properties": {"a/b~c": {"type": "array", "items": {"type": "integer"}}}}
    verdict = validate_run(run(inputs={"a/b~c": [1, "x"]}), needs(schema), prompt())
    assert isinstance(verdict, Rejected)
    assert verdict.message.startswith("spec.inputs/a~1b~0c/1: ")


def test_three_errors_are_enough_and_long_values_are_cut() -> None:
    schema = {"additionalProperties": {"type": "integer"}}
    verdict = validate_run(
        run(inputs={name: name * 900 for name in "abcde"}), needs(schema), prompt()
    )
    assert isinstance(verdict, Rejected)
    assert "(and 2 more)" in verdict.message
    assert len(verdict.message) < 1024


def test_64_kib_are_the_largest_inputs_defaults_included() -> None:
    room = MAX_INPUTS_BYTES - len(json.dumps({"name": ""}))
    assert isinstance(validate_run(run(inputs={"name": "x" * room}), kind(), prompt()), Accepted)
    assert isinstance(
        validate_run(run(inputs={"name": "x" * (room + 1)}), kind(), prompt()), Rejected
    )
    assert isinstance(
        validate_run(run(inputs={"name": "ü" * (room // 2 + 1)}), kind(), prompt()), Rejected
    )
    padded = needs({"properties": {"pad": {"default": "x" * 20}}})
    assert isinstance(validate_run(run(inputs={"name": "x" * room}), padded, prompt()), Rejected)


def test_a_run_lowers_limits_and_never_raises_them() -> None:
    ceiling = Limits(max_tokens=1000, timeout_seconds=60)
    assert effective_limits(Limits(max_tokens=10), ceiling, "t") == Limits(
        max_tokens=10,
        timeout_seconds=60,
        stall_seconds=600,
        start_seconds=600,
        max_wait_seconds=120,
    )
    assert effective_limits(Limits(max_tokens=1000), ceiling, "t") == effective_limits(
        None, ceiling, "t"
    )
    assert effective_limits(Limits(max_tokens=5), Limits(), "t") == Limits(
        max_tokens=5,
        timeout_seconds=3600,
        stall_seconds=600,
        start_seconds=600,
        max_wait_seconds=120,
    )
    assert isinstance(effective_limits(Limits(start_seconds=601), ceiling, "t"), Rejected)


# -- repositories --------------------------------------------------------------------------------

ALLOWED = ["https://git.example/acme/*", "https://git.example/solo/one"]


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/acme/app",
        "https://git.example/acme/a/b.git",
        "https://git.example/solo/one",
    ],
)
def test_allowed_urls(url: str) -> None:
    assert allowed_url(url, ALLOWED).hostname == "git.example"


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/acme",
        "https://git.example/solo/one/more",
        "https://git.example/solo/onemore",
        "http://git.example/acme/app",
        "https://git.example.evil/acme/app",
        "https://git.example:8443/acme/app",
        "https://user@git.example/acme/app",
        "https://git.example@evil.example/acme/app",
        "https://git.example/acme/../evil/app",
        "https://git.example/acme/./app",
        "https://git.example/acme/..",
        "https://git.example/acme/%2e%2e/evil",
        "https://git.example/acme/%2E./evil",
        "https://git.example/acme/..%2fevil",
        "https://git.example/acme/app?x=1",
        "https://git.example/acme/app#x",
        "https://git.example/acme/app\\..\\evil",
        "https://git.example/acme/a b",
        "https://git.example/acme/app\n",
        "https://git.example/ACME/app",
        "HTTPS://GIT.EXAMPLE/acme/app",
        "ssh://git.example/acme/app",
        "file:///acme/app",
        "git.example/acme/app",
        "https://[::1/acme/app",
        "",
    ],
)
def test_urls_that_a_server_could_read_in_another_way(url: str) -> None:
    with pytest.raises(UrlError):
        allowed_url(url, ALLOWED)


# -- the job type's own condition ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("job_type", "text", "status", "reason"),
    [
        (kind(), prompt(), "True", "Valid"),
        (kind(suspended=True), prompt(), "True", "Suspended"),
        (kind(), None, "False", "PromptNotFound"),
        (kind(**names(sha256=OTHER)), prompt(), "False", "PromptChecksumMismatch"),
        (needs({"type": 3}), prompt(), "False", "InvalidSchema"),
        (needs({"properties": {"name": {"pattern": "(?=x)"}}}), prompt(), "False", "InvalidSchema"),
        (needs({"properties": {"name": {}}}), prompt(), "False", "InvalidSchema"),
        (needs({"properties": {"name": {"default": "you"}}}), prompt(), "True", "Valid"),
        (needs({"allOf": [{"required": ["name"]}]}), prompt(), "True", "Valid"),
        (kind(outputSchema={"type": "array"}), prompt(), "False", "InvalidSchema"),
        (
            kind(outputSchema={"type": "object", "properties": 3}),
            prompt(),
            "False",
            "InvalidSchema",
        ),
        (kind(model="new", requireKnownPrice=True), prompt(), "False", "UnknownPrice"),
        (kind(model="new", limits={"maxCostCents": 5}), prompt(), "False", "UnknownPrice"),
        (kind(model="new"), prompt(), "True", "Valid"),
    ],
)
def test_ready(job_type: CodexJobType, text: Prompt | None, status: str, reason: str) -> None:
    (condition,) = job_type_status(job_type, text, PRICES, NOON).conditions
    assert (condition.type, condition.status, condition.reason) == ("Ready", status, reason)
    assert condition.message


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("inputs", "reason", "words"),
    [
        (
            {"a": [{}] * 400_000},
            "InputsTooLarge",
            "bytes long, which exceeds the limit of 65536 bytes",
        ),
        ({"a": nested(40)}, "InvalidInputs", "levels deep"),
    ],
    ids=["large", "deep"],
)
def test_inputs_that_start_nothing_are_not_kept_and_rejected_all_the_same(
    inputs: dict, reason: str, words: str
) -> None:
    kept = read_run(run_json(inputs=inputs))
    assert kept.spec.inputs == {}
    verdict = validate_run(kept, kind(inputsSchema={"type": "object"}), prompt())
    assert isinstance(verdict, Rejected)
    assert verdict.reason == reason
    assert words in verdict.message


EARLIER = "99999999-2222-4333-8444-555555555555"
USED = {"prompt": {"name": "hello", "version": "v1", "sha256": SHA}, "model": "gpt-5.5"}
REPOSITORY = {"git": {"url": "https://git.example/acme/a"}}


def earlier(*, status: dict[str, Any] = USED, **spec: Any) -> CodexRun:
    return run("Failed", uid=EARLIER, name="old", status=status, **spec)


def resumes(**spec: Any) -> CodexRun:
    return run(retryOf={"name": "old", "uid": EARLIER, "resume": True}, **spec)


RESUMES: list[tuple[str, CodexRun, CodexRun | None, str | None]] = [
    ("the same of everything", resumes(), earlier(), None),
    (
        "the same repository",
        resumes(workspace=REPOSITORY),
        earlier(workspace=REPOSITORY),
        None,
    ),
    ("an object that is gone: the api judges", resumes(), None, None),
    (
        "a link without resume is a link to anything",
        run(retryOf={"name": "old", "uid": EARLIER}),
        earlier(jobType="other"),
        None,
    ),
    (
        "by name alone: names come again",
        run(retryOf={"name": "old", "resume": True}),
        None,
        "spec.retryOf.uid",
    ),
    *(
        (
            f"what can be no name: {name}",
            run(retryOf={"name": name, "uid": EARLIER, "resume": True}),
            None,
            f'spec.retryOf.name: "{name}"',
        )
        for name in (
            "?",
            "..",
            ".",
            "../../pods",
            "old?limit=1",
            "old%2f",
            "old/status",
            "Old",
            "a\n",
        )
    ),
    ("another job type", resumes(), earlier(jobType="other"), "the job type"),
    (
        "another version of the prompt",
        resumes(),
        earlier(
            status=USED | {"prompt": {**USED["prompt"], "sha256": OTHER}}  # type: ignore[dict-item]
        ),
        "the checksum of the prompt",
    ),
    ("another model", resumes(), earlier(status=USED | {"model": "o9"}), "the model"),
    ("a repository", resumes(workspace=REPOSITORY), earlier(), "the workspace"),
    ("no repository", resumes(), earlier(workspace=REPOSITORY), "the workspace"),
    ("a run that never began", resumes(), earlier(status={}), "never started"),
]


@pytest.mark.parametrize(
    ("of", "source", "words"), [row[1:] for row in RESUMES], ids=[row[0] for row in RESUMES]
)
def test_which_thread_a_run_may_go_on_with(
    of: CodexRun, source: CodexRun | None, words: str | None
) -> None:
    verdict = validate_run(of, kind(git=GIT), prompt(), PRICES, source)
    if words is None:
        assert isinstance(verdict, Accepted)
        return
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "ResumeNotAllowed"
    assert words in verdict.message
    assert "create the new run without spec.retryOf.resume" in verdict.message
