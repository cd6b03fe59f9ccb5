"""Every way a run can end, live: real Codex, real pods, a model that misbehaves on request. One row
an ending.

All runs are started at once, so that the slow failures (Codex retries a 5xx for half a minute) wait
side by side.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from lab import Json, Lab


@dataclass(frozen=True)
class Ending:
    """A scenario of the demo model, what the job type changes, and how it must end."""

    title: str
    scenario: str
    class_: str
    said: str
    job_type: Json = field(default_factory=dict)
    workspace: str = ""


LIMITS = {"timeoutSeconds": 120, "stallSeconds": 60, "startSeconds": 120}
MISSING_ENV = [
    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "nobody-made-this", "key": "token"}}}
]
SMALL = {"resources": {"limits": {"memory": "20Mi"}, "requests": {"memory": "20Mi"}}}

ENDINGS = [
    Ending("key refused", "401", "auth", "401"),
    Ending(
        "rate limit",
        "429",
        "rate_limit",
        "limits.maxWaitSeconds",
        {"limits": {**LIMITS, "maxWaitSeconds": 2}},
    ),
    Ending("rate limit inside the stream", "failed-rate-limit", "rate_limit", "Rate limit reached"),
    Ending("quota", "quota", "quota", "quota"),
    Ending("server error", "500", "model_error", "500"),
    Ending("cut stream", "cut", "model_error", "response"),
    Ending("failed response", "failed", "model_error", "server had an error"),
    Ending("incomplete response", "incomplete", "policy", "content_filter"),
    Ending("stalled stream", "stall", "stall", "", {"limits": {**LIMITS, "stallSeconds": 6}}),
    Ending("no headers", "no-headers", "stall", "", {"limits": {**LIMITS, "stallSeconds": 6}}),
    Ending("no final message", "no-message", "silent_death", "message"),
    Ending("run-away loop", "runaway", "budget", "5000", {"limits": {**LIMITS, "maxTokens": 5000}}),
    Ending("too long", "sleep-60", "timeout", "15", {"limits": {**LIMITS, "timeoutSeconds": 15}}),
    Ending(
        "image nowhere",
        "hello",
        "image",
        "codexrun.invalid/none",
        {"image": "codexrun.invalid/none:1", "limits": {**LIMITS, "startSeconds": 60}},
    ),
    Ending(
        "image with a bad name", "hello", "image", "InvalidImageName", {"image": "Not an image"}
    ),
    Ending("image without our runner", "hello", "image", "make image", {"image": "{control}"}),
    Ending(
        "larger than any node",
        "hello",
        "unschedulable",
        "exceed the capacity of every node",
        {"resources": {"requests": {"cpu": "1000"}}},
    ),
    Ending(
        "no such node label",
        "hello",
        "unschedulable",
        "No node",
        {
            "podTemplate": {"nodeSelector": {"disk": "none"}},
            "limits": {**LIMITS, "startSeconds": 10},
        },
    ),
    Ending(
        "missing Secret in env",
        "hello",
        "config",
        "nobody-made-this",
        {"env": MISSING_ENV, "limits": {**LIMITS, "startSeconds": 60}},
    ),
    Ending(
        "missing Git credentials",
        "hello",
        "config",
        "nobody-made-this",
        {
            "git": {
                "allowedURLs": ["http://git.invalid/*"],
                "credentialsSecretRef": {"name": "nobody-made-this"},
            },
            "limits": {**LIMITS, "startSeconds": 80},
        },
        "http://git.invalid/a.git",
    ),
    Ending(
        "Git host that is not there",
        "hello",
        "workspace",
        "git.invalid",
        {"git": {"allowedURLs": ["http://git.invalid/*"]}},
        "http://git.invalid/a.git",
    ),
    Ending("out of memory", "hello", "oom", "memory", SMALL),
]


@pytest.fixture(scope="module")
def endings(lab: Lab) -> dict[str, Json]:
    control = (
        lab.apps.read_namespaced_deployment("codexrun-operator", "codexrun")
        .spec.template.spec.containers[0]
        .image
    )
    prompt = lab.prompt()
    runs = {}
    for ending in ENDINGS:
        spec: dict[str, Any] = {"limits": LIMITS, **ending.job_type}
        if "image" in spec:
            spec["image"] = spec["image"].format(control=control)
        extra: Json = {"workspace": {"git": {"url": ending.workspace}}} if ending.workspace else {}
        runs[ending.title] = lab.run(
            lab.job_type(prompt=prompt, **spec), ending.scenario, stem="end", **extra
        )
    return {title: lab.ended(run, patience=300) for title, run in runs.items()}


@pytest.mark.parametrize("ending", ENDINGS, ids=[e.title for e in ENDINGS])
def test_ends_in_its_class_with_words_to_act_on(endings: dict[str, Json], ending: Ending) -> None:
    status = endings[ending.title]["status"]
    assert status["phase"] == "Failed", status
    assert status["failure"]["class"] == ending.class_, status["failure"]
    assert ending.said in status["failure"]["message"]
    assert status["finishedAt"]


def test_the_run_away_loop_overshoots_by_one_request_at_most(endings: dict[str, Json]) -> None:
    usage = endings["run-away loop"]["status"]["usage"]
    # A request of the loop has 1,000 tokens of input.
    assert 5000 <= usage["totalTokens"] <= 5000 + 1000
    assert usage["complete"] is True


def test_answers_that_were_cut_are_an_estimate_and_have_a_bound(endings: dict[str, Json]) -> None:
    usage = endings["cut stream"]["status"]["usage"]
    assert usage["complete"] is False
    assert 0 < usage["totalTokens"] < usage["atMostTokens"]


def test_a_timeout_keeps_log_and_usage(lab: Lab, endings: dict[str, Json]) -> None:
    run = endings["too long"]
    assert run["status"]["usage"]["totalTokens"] > 0
    assert any("sleep" in str(line.get("event")) for line in lab.log(run))


def test_nothing_is_left_running(lab: Lab, endings: dict[str, Json]) -> None:
    """The verdict is there when the containers have ended; the pod's own phase follows."""
    for run in endings.values():
        for pod in lab.pods(run):
            lab.kubectl(
                "wait",
                "--for=jsonpath={.status.phase}=" + settled(pod),
                f"pod/{pod.metadata.name}",
                "--timeout=60s",
            )


def settled(pod: Any) -> str:
    return "Succeeded" if pod.status.phase == "Succeeded" else "Failed"
