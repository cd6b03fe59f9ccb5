"""Bad input is refused at the first door, by the apiserver, in words that name the field."""

import copy
import json
from typing import Any

import pytest
import yaml
from lab import Json, Lab

RUN = {
    "apiVersion": "codexrun.dev/v1alpha1",
    "kind": "CodexRun",
    "metadata": {"name": "wrong"},
    "spec": {"jobType": "hello", "inputs": {"name": "world"}},
}
JOB_TYPE = {
    "apiVersion": "codexrun.dev/v1alpha1",
    "kind": "CodexJobType",
    "metadata": {"name": "wrong"},
    "spec": {"prompt": {"name": "hello", "version": "v1"}, "model": "gpt-5.5"},
}


def changed(manifest: Json, path: str, value: Any) -> Json:
    """A copy with `value` at the dotted path; `...` removes the field."""
    copied = copy.deepcopy(manifest)
    *parents, last = path.split(".")
    place = copied
    for key in parents:
        place = place.setdefault(key, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copied


LONG = "a" * 64
UID = "0b3f7c7e-5c0f-4a43-9a51-2f8f0f8b7a11"

# One row a rule: what is wrong, where, and a word of the message besides the field's name.
RUNS_WRONG = [
    ("name of 64 characters", "metadata.name", LONG, "at most 63"),
    ("no job type", "spec.jobType", ..., "Required"),
    ("job type with capitals", "spec.jobType", "Hello", "should match"),
    ("job type too long", "spec.jobType", LONG, "63"),
    ("job type is a number", "spec.jobType", 7, "string"),
    ("unknown field", "spec.image", "evil", "unknown field"),
    ("misspelt limit", "spec.limits.maxToken", 5, "unknown field"),
    ("inputs are a list", "spec.inputs", ["world"], "object"),
    ("prompt version latest", "spec.promptVersion", "latest", "should match"),
    ("prompt version v0", "spec.promptVersion", "v0", "should match"),
    ("model with a space", "spec.model", "gpt 5", "should match"),
    ("empty model", "spec.model", "", "at least 1 chars"),
    ("effort in capitals", "spec.effort", "HIGH", "should match"),
    ("no tokens", "spec.limits.maxTokens", 0, "greater than or equal to 1"),
    ("negative timeout", "spec.limits.timeoutSeconds", -1, "greater than or equal to 1"),
    ("timeout over a week", "spec.limits.timeoutSeconds", 604801, "less than or equal to 604800"),
    ("timeout as text", "spec.limits.timeoutSeconds", "10m", "integer"),
    ("stall of zero", "spec.limits.stallSeconds", 0, "greater than or equal to 1"),
    ("start over a day", "spec.limits.startSeconds", 86401, "less than or equal to 86400"),
    ("workspace without git", "spec.workspace", {}, "Required"),
    ("git without url", "spec.workspace.git", {"ref": "main"}, "Required"),
    ("git over ssh", "spec.workspace.git.url", "git@github.com:a/b.git", "http(s) URL"),
    (
        "git with password",
        "spec.workspace.git.url",
        "https://u:p@example.com/a.git",
        "without a user name or password",
    ),
    ("git from a file", "spec.workspace.git.url", "file:///etc", "http(s) URL"),
    (
        "ref that is an option",
        "spec.workspace.git",
        {"url": "https://example.com/a.git", "ref": "--upload-pack=x"},
        "ref",
    ),
    ("whenFull misspelt", "spec.whenFull", "queue", "supported values"),
    ("priority too high", "spec.priority", 1001, "less than or equal to 1000"),
    ("priority with a fraction", "spec.priority", 1.5, "integer"),
    ("cancel by nobody", "spec.cancel", {"reason": "x"}, "Required"),
    (
        "cancel with an empty reason",
        "spec.cancel",
        {"requestedBy": "me", "reason": ""},
        "at least 1 chars",
    ),
    ("retry of nothing", "spec.retryOf", {"uid": UID}, "Required"),
    ("retry of no uid", "spec.retryOf", {"name": "a", "uid": "abc"}, "should match"),
    ("negative ttl", "spec.ttlSecondsAfterFinished", -1, "greater than or equal to 0"),
]
JOB_TYPES_WRONG = [
    ("name with a dot", "metadata.name", "a.b", "lowercase letters"),
    ("no prompt", "spec.prompt", ..., "Required"),
    ("no model", "spec.model", ..., "Required"),
    ("prompt without version", "spec.prompt", {"name": "hello"}, "Required"),
    ("sha256 too short", "spec.prompt.sha256", "abc", "should match"),
    ("default model not allowed", "spec.allowedModels", ["other"], "must contain spec.model"),
    (
        "default effort not allowed",
        "spec",
        {**JOB_TYPE["spec"], "effort": "low", "allowedEfforts": ["high"]},
        "must contain",
    ),
    ("no slots", "spec.concurrencyLimit", 0, "greater than or equal to 1"),
    ("git without URLs", "spec.git", {"allowedURLs": []}, "at least 1 items"),
    ("git allows every host", "spec.git", {"allowedURLs": ["https://*"]}, "should match"),
    ("no value in env", "spec.env", [{"name": "A"}], "either value or valueFrom"),
    (
        "two values in env",
        "spec.env",
        [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
        "either value or valueFrom",
    ),
    (
        "two sources in env",
        "spec.env",
        [
            {
                "name": "A",
                "valueFrom": {
                    "secretKeyRef": {"name": "a", "key": "b"},
                    "configMapKeyRef": {"name": "a", "key": "b"},
                },
            }
        ],
        "either secretKeyRef or configMapKeyRef",
    ),
    ("size without a unit", "spec.sizes", {"workspace": "8"}, "should match"),
    ("size of nothing", "spec.sizes", {"tmp": "0Gi"}, "should match"),
    (
        "clone of no commit",
        "spec.git",
        {"allowedURLs": ["https://github.com/acme/*"], "depth": 0},
        "greater than or equal to 1",
    ),
    (
        "a label of ours to propagate",
        "spec.propagateLabels",
        ["codexrun.dev/run"],
        "may not contain keys with the prefix",
    ),
    ("AGENTS.md above a MiB", "spec.maxAgentsMdBytes", 2_000_000, "less than or equal to 1048576"),
    (
        "env takes HOME",
        "spec.env",
        [{"name": "HOME", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
        "reserved",
    ),
    ("unknown tool", "spec.allowedTools", ["browser"], "should match"),
    (
        "tool of a server that is not there",
        "spec.allowedTools",
        ["mcp:docs/search"],
        "that is not in spec.mcpServers",
    ),
    (
        "server name with an underscore",
        "spec.mcpServers",
        [{"name": "my_docs", "url": "https://x/mcp"}],
        "should match",
    ),
    (
        "server with neither command nor url",
        "spec.mcpServers",
        [{"name": "docs"}],
        "either command",
    ),
    (
        "server with an unknown variable",
        "spec.mcpServers",
        [{"name": "docs", "command": ["x"], "env": ["T"]}],
        "not in spec.env",
    ),
    ("sandbox of another kind", "spec.sandbox", "none", "supported values"),
    (
        "label of ours",
        "spec.podTemplate",
        {"labels": {"codexrun.dev/run": "x"}},
        "may not contain keys with the prefix",
    ),
    ("sidecar in the template", "spec.podTemplate", {"containers": []}, "unknown field"),
]
WRONG = [(RUN, *row) for row in RUNS_WRONG] + [(JOB_TYPE, *row) for row in JOB_TYPES_WRONG]


def test_there_is_a_row_for_each_of_forty_rules() -> None:
    assert len({row[1] for row in WRONG}) >= 40


@pytest.mark.parametrize(
    ("manifest", "title", "path", "value", "word"), WRONG, ids=[row[1] for row in WRONG]
)
def test_refused_by_the_apiserver(
    lab: Lab, manifest: Json, title: str, path: str, value: Any, word: str
) -> None:
    done = lab.kubectl(
        "apply", "-f", "-", stdin=yaml.safe_dump(changed(manifest, path, value)), check=False
    )
    assert done.returncode != 0, f"{title} was accepted"
    assert word in done.stderr
    assert path.rpartition(".")[2] in done.stderr or path in done.stderr


LARGE = [
    ("70 KB of text", {"name": "x" * 70_000}, False),
    ("70 KB of small values", {"name": [{}] * 17_500}, False),
    ("1.3 MB of small values", {"name": [{}] * 430_000}, False),
    ("60 KB of text", {"name": "x" * 60_000}, True),
    ("60 KB of text that CEL writes four times as long", {"name": "\x7f" * 60_000}, True),
    ("60 KB of numbers that CEL writes twice as long", {"name": [0.5] * 12_000}, True),
    ("60 KB in a nested object", {"name": {"a": [{"b": "x" * 60_000}, None, True, 1]}}, True),
    ("none", {}, True),
]


@pytest.mark.parametrize(
    ("inputs", "accepted"), [row[1:] for row in LARGE], ids=[row[0] for row in LARGE]
)
def test_large_inputs_are_refused_before_they_are_stored(
    lab: Lab, inputs: Json, accepted: bool
) -> None:
    manifest = changed(changed(RUN, "spec.inputs", inputs), "metadata.name", lab.name("large"))
    manifest["metadata"]["labels"] = lab.mark
    done = lab.kubectl(
        "create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest), check=False
    )
    assert (done.returncode == 0) is accepted, done.stderr[:500]
    if not accepted:
        assert (
            "spec.inputs: the JSON exceeds the limit of 65536 bytes; put large data in the"
            " workspace instead" in done.stderr
        )


IMMUTABLE = {
    "jobType": "other",
    "inputs": {"name": "moon"},
    "promptVersion": "v2",
    "model": "other",
    "effort": "low",
    "limits": {"maxTokens": 5},
    "workspace": {"git": {"url": "https://example.com/a.git"}},
    "whenFull": "Reject",
    "retryOf": {"name": "another"},
}


@pytest.fixture(scope="module")
def waiting(lab: Lab) -> Json:
    """A run that will never start: its job type is suspended."""
    return lab.run(lab.job_type(suspended=True), "hello", stem="waiting")


@pytest.mark.parametrize("field", IMMUTABLE)
def test_spec_cannot_change_after_creation(lab: Lab, waiting: Json, field: str) -> None:
    patch = yaml.safe_dump({"spec": {field: IMMUTABLE[field]}})
    done = lab.kubectl(
        "patch", "cxr", waiting["metadata"]["name"], "--type=merge", "-p", patch, check=False
    )
    assert done.returncode != 0
    assert f"spec.{field} cannot change after creation" in done.stderr


def test_priority_and_ttl_can_change(lab: Lab, waiting: Json) -> None:
    patch = {"spec": {"priority": 7, "ttlSecondsAfterFinished": 60}}
    lab.custom.patch_namespaced_custom_object(*lab.run_kind, waiting["metadata"]["name"], patch)


def test_a_cancel_cannot_be_taken_back(lab: Lab) -> None:
    run = lab.run(lab.job_type(suspended=True), "hello", stem="cancelled")
    lab.cancel(run)
    lab.ended(run)
    for patch in (
        '{"spec":{"cancel":null}}',
        '{"spec":{"cancel":{"requestedBy":"somebody else"}}}',
    ):
        done = lab.kubectl(
            "patch", "cxr", run["metadata"]["name"], "--type=merge", "-p", patch, check=False
        )
        assert done.returncode != 0
        assert "spec.cancel cannot be withdrawn or changed" in done.stderr


def rejected(lab: Lab, job_type: str, **spec: Any) -> Json:
    run = lab.ended(lab.run(job_type, **spec))
    assert run["status"]["phase"] == "Rejected"
    assert lab.jobs(run) == []
    return run


REJECTED = [
    ("an input is missing", {"inputs": {}}, "InvalidInputs", "spec.inputs"),
    (
        "an input of another type",
        {"inputs": {"scenario": 7}},
        "InvalidInputs",
        "spec.inputs/scenario",
    ),
    (
        "an input that nobody asked for",
        {"inputs": {"scenario": "x", "extra": 1}},
        "InvalidInputs",
        "extra",
    ),
    # Above 64 KiB as UTF-8, while the cluster's policy counts characters.
    ("inputs over 64 KiB", {"inputs": {"scenario": "ü" * 34_000}}, "InputsTooLarge", "spec.inputs"),
    (
        "limit above the job type's",
        {"limits": {"timeoutSeconds": 121}},
        "LimitAboveJobType",
        "spec.limits.timeoutSeconds",
    ),
    ("another model", {"model": "gpt-6"}, "ModelNotAllowed", "spec.model"),
    ("another effort", {"effort": "low"}, "EffortNotAllowed", "spec.effort"),
    (
        "another prompt version",
        {"promptVersion": "v9"},
        "PromptVersionNotAllowed",
        "spec.promptVersion",
    ),
    (
        "a repository",
        {"workspace": {"git": {"url": "https://example.com/a.git"}}},
        "WorkspaceNotAllowed",
        "spec.workspace",
    ),
    (
        "a resume by name alone",
        {"retryOf": {"name": "another", "resume": True}},
        "ResumeNotAllowed",
        "spec.retryOf.uid",
    ),
]


@pytest.mark.parametrize(
    ("title", "spec", "reason", "field"), REJECTED, ids=[row[0] for row in REJECTED]
)
def test_what_only_the_job_type_can_judge_is_rejected_without_a_job(
    lab: Lab, plain_type: str, title: str, spec: Json, reason: str, field: str
) -> None:
    run = rejected(lab, plain_type, **{"inputs": {"scenario": "hello"}, **spec})
    assert run["status"]["reason"] == reason
    assert field in run["status"]["message"]


@pytest.fixture(scope="module")
def plain_type(lab: Lab) -> str:
    return lab.job_type()


def test_a_changed_prompt_is_rejected(lab: Lab) -> None:
    prompt = lab.prompt("scenario: {{scenario}}", sha256="0" * 64)
    run = rejected(lab, lab.job_type(prompt=prompt), inputs={"scenario": "hello"})
    assert run["status"]["reason"] == "PromptChecksumMismatch"


def test_an_unknown_job_type_is_waited_for_and_then_rejected(lab: Lab) -> None:
    run = lab.run(lab.name("nowhere"), inputs={})
    assert lab.phase(run, "Pending")["status"]["phase"] == "Pending"
    ended = lab.ended(run)
    assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Rejected", "JobTypeNotFound")


def test_apply_order_does_not_matter(lab: Lab) -> None:
    """The run first, then its job type, then the prompt."""
    prompt = lab.name("late")
    job_type = lab.name("late-type")
    run = lab.run(job_type, "message")
    body = {**copy.deepcopy(JOB_TYPE), "metadata": {"name": job_type, "labels": lab.mark}}
    body["spec"]["prompt"]["name"] = prompt
    lab.custom.create_namespaced_custom_object(*lab.job_type_kind, body)
    lab.prompt_version(prompt, "v1", "scenario: {{scenario}}\n")
    assert lab.ended(run)["status"]["phase"] == "Succeeded"
