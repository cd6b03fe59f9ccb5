"""How did the pod end? Nothing that a container says raises, and nothing short of the proof
succeeds."""

import json
from dataclasses import replace
from typing import Any

import pytest
from builders import (
    agent_report,
    ended,
    gate_report,
    no_gate,
    pod,
    running,
    signalled,
    waiting,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from codexrun_core.pod_contract import UNUSABLE_SCHEMA
from codexrun_core.resources import RunStatus
from codexrun_core.resources.phases import FailureClass
from codexrun_operator.decide.observed import Container, Pod, event_from, pod_from
from codexrun_operator.decide.outcome import Outcome, commit_of, outcome, usage_of


def after(
    report: dict[str, Any] | None = None,
    code: int = 0,
    gate: dict[str, Any] | None = None,
    **more: Any,
) -> Pod:
    """A pod after its end; by default that of a proven success."""
    said = agent_report() if report is None else report
    gate_says = gate_report() if gate is None else gate
    return pod(
        "Succeeded",
        **{"agent": ended(code, report=said), "gate": ended(0, report=gate_says)} | more,
    )


def failure(class_: str, message: str = "said so") -> dict[str, Any]:
    return agent_report(
        exitCode=1, turnCompleted=False, failure={"class": class_, "message": message}
    )


def model(class_: str) -> dict[str, Any]:
    return gate_report(lastError={"class": class_, "message": "HTTP 4xx"})


def gate_stop(class_: str) -> dict[str, Any]:
    return gate_report(stop={"class": class_, "message": "no further"})


EMPTY_DIR = 'Usage of EmptyDir volume "tmp" exceeds the limit "2Gi".'
EPHEMERAL = "Container agent exceeded its local ephemeral storage limit"
CASES = [
    ("the full proof", after(), None),
    ("told by signal after the proof", after(agent_report(stopped="signal")), None),
    ("proven before the runner wrote 'done'", after(agent_report(state="running")), None),
    ("codex failed with a message", after(failure("agent_error"), 1), "agent_error"),
    ("a class nobody knows", after(failure("bad_luck"), 1), "agent_error"),
    ("runner: timeout", after(failure("timeout"), 1), "timeout"),
    ("runner: stall", after(failure("stall"), 1), "stall"),
    ("runner: storage", after(failure("storage"), 1), "storage"),
    ("runner: config", after(failure("config"), 1), "config"),
    ("runner: guardrail", after(failure("guardrail"), 1), "guardrail"),
    ("runner: silent death", after(failure("silent_death"), 1), "silent_death"),
    ("runner: internal", after(failure("internal"), 1), "internal"),
    ("no report at all", after({}, 1), "silent_death"),
    ("no report, exit 0", after({}, 0), "silent_death"),
    ("image without python3", after({}, 127, agent=ended(127)), "image"),
    (
        "image without runner",
        after(agent=ended(128, reason="StartError", message="no such file")),
        "image",
    ),
    (
        "out of memory",
        after(agent=ended(137, reason="OOMKilled", report=agent_report(state="running"))),
        "oom",
    ),
    (
        "budget stop goes before what the agent says",
        after(failure("timeout"), 1, gate_stop("budget")),
        "budget",
    ),
    ("budget stop goes before a claimed success", after(gate=gate_stop("budget")), "budget"),
    (
        "every try of a turn was broken off, and the estimates took the budget",
        after(failure("agent_error"), 1, gate_stop("model_error")),
        "model_error",
    ),
    (
        "the model does not end what the agent has left",
        after(failure("agent_error"), 1, gate_stop("stall")),
        "stall",
    ),
    ("gate's guardrail", after(failure("agent_error"), 1, gate_stop("guardrail")), "guardrail"),
    ("a stop of a class that the gate has not", after(gate=gate_stop("auth")), None),
    ("model: auth", after(failure("agent_error"), 1, model("auth")), "auth"),
    ("model: rate limit", after(failure("agent_error"), 1, model("rate_limit")), "rate_limit"),
    ("model: quota", after(failure("agent_error"), 1, model("quota")), "quota"),
    ("model: error", after(failure("agent_error"), 1, model("model_error")), "model_error"),
    ("model error that was overcome", after(gate=model("model_error")), None),
    ("model: policy", after(failure("agent_error"), 1, model("policy")), "policy"),
    ("a model error goes before a timeout", after(failure("timeout"), 1, model("auth")), "auth"),
    (
        "a model error goes before a stall",
        after(failure("stall"), 1, model("rate_limit")),
        "rate_limit",
    ),
    (
        "a model error goes before the pod's deadline",
        after(signalled(), 143, model("model_error"), reason="DeadlineExceeded"),
        "model_error",
    ),
    (
        "a full disk goes before a model error",
        after(failure("storage"), 1, model("auth")),
        "storage",
    ),
    ("so does a guardrail", after(failure("guardrail"), 1, model("auth")), "guardrail"),
    (
        "so does memory",
        after(
            gate=model("auth"),
            agent=ended(137, reason="OOMKilled", report=agent_report(state="running")),
        ),
        "oom",
    ),
    (
        "so does an eviction",
        after({}, 137, model("auth"), reason="Evicted", message="low on memory"),
        "evicted",
    ),
    ("a stall goes before a model error that was overcome", after(failure("stall"), 1), "stall"),
    ("pod's deadline", after(signalled(), 143, reason="DeadlineExceeded"), "timeout"),
    ("pod's deadline, long after the proof", after(reason="DeadlineExceeded"), None),
    (
        "pod's deadline, long after the agent has failed",
        after(failure("agent_error"), 1, reason="DeadlineExceeded"),
        "agent_error",
    ),
    (
        "evicted: memory",
        after({}, 137, reason="Evicted", message="The node was low on resource: memory."),
        "evicted",
    ),
    ("evicted: emptyDir", after({}, 137, reason="Evicted", message=EMPTY_DIR), "storage"),
    ("evicted: ephemeral", after({}, 137, reason="Evicted", message=EPHEMERAL), "storage"),
    ("drained", after(signalled(), 143, disruption="EvictionByEvictionAPI"), "evicted"),
    ("drained after its end", after(disruption="EvictionByEvictionAPI"), None),
    ("node lost", pod(disruption="DeletionByTaintManager"), "node_lost"),
    ("clone failed", pod("Failed", agent=waiting(), gate=waiting(), clone=ended(1)), "workspace"),
    ("signalled by a stop", after(signalled(), 143), "silent_death"),
    (
        "the gate cannot start, and the agent waited",
        after(failure("internal"), 1, no_gate()),
        "config",
    ),
    (
        "a mesh's init container failed",
        pod(
            "Failed",
            agent=waiting(),
            gate=waiting(),
            foreign_init={"first": ended(), "mesh-init": ended(1, message="no rights")},
        ),
        "config",
    ),
    (
        "a mesh's sidecar failed at the end of a success",
        replace(
            after(), phase="Failed", foreign_init={"mesh": ended(1)}, foreign={"log": ended(1)}
        ),
        None,
    ),
    (
        "refused by the kubelet",
        pod("Failed", reason="UnexpectedAdmissionError", agent=Container(), gate=Container()),
        "unschedulable",
    ),
    (
        "refused by a kubelet that lists its containers",
        pod("Failed", reason="NodeAffinity", agent=waiting(), gate=waiting()),
        "unschedulable",
    ),
    (
        "refused by a kubelet that is short of memory",
        pod("Failed", reason="Evicted", message="MemoryPressure", agent=waiting(), gate=waiting()),
        "evicted",
    ),
]


@pytest.mark.parametrize(("end", "class_"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_outcome(end: Pod, class_: str | None) -> None:
    judged = outcome(end)
    assert (judged.failure.class_.value if judged.failure else None) == class_
    if judged.failure:
        assert judged.failure.retryable is FailureClass(class_).retryable
        assert judged.failure.message


def with_word(word: object, class_: str = "model_error") -> dict[str, Any]:
    return {"class": class_, "message": "no", "retryable": word, "advice": "change it"}


RETRYABLE = [
    ("the gate knows better", after(gate=gate_report(lastError=with_word(False)), code=1), False),
    ("either way", after(gate=gate_report(lastError=with_word(True, "auth")), code=1), True),
    ("not by a word", after(gate=gate_report(lastError=with_word("no")), code=1), True),
    ("an older gate does not say", after(gate=model("model_error"), code=1), True),
    ("nor of this", after(gate=model("policy"), code=1), False),
    (
        "the clone step knows too",
        pod(
            "Failed",
            agent=waiting(),
            gate=waiting(),
            clone=ended(1, report={"failure": {"message": "hiccup", "retryable": True}}),
        ),
        True,
    ),
    (
        "the agent's word counts for nothing",
        after(agent_report(exitCode=1, failure=with_word(True, "config")), 1),
        False,
    ),
]


@pytest.mark.parametrize(("end", "word"), [r[1:] for r in RETRYABLE], ids=[r[0] for r in RETRYABLE])
def test_whether_a_retry_has_a_chance_belongs_to_the_failure(end: Pod, word: bool) -> None:
    judged = outcome(end).failure
    assert judged is not None
    assert judged.retryable is word


def test_the_gate_s_advice_stands_before_that_of_the_class() -> None:
    told = outcome(after(gate=gate_report(lastError=with_word(False)), code=1)).failure
    older = outcome(after(gate=model("auth"), code=1)).failure
    assert told is not None
    assert older is not None
    assert told.message == "no (change it)"
    assert "modelSecretRef" in older.message


WITHOUT = [
    ("the agent's exit code 0", after(code=1)),
    ("Codex's exit code 0", after(agent_report(exitCode=1))),
    ("Codex's exit code", after(agent_report(exitCode=None))),
    ("Codex's exit code as a number", after(agent_report(exitCode="0"))),
    ("Codex's exit code as a number and no truth value", after(agent_report(exitCode=False))),
    ("a completed turn", after(agent_report(turnCompleted=None))),
    ("a turn completed by more than a word", after(agent_report(turnCompleted="yes"))),
    ("a last turn that did not fail", after(agent_report(turnFailed=True))),
    ("a final message", after(agent_report(finalMessage=None))),
    ("a final message with something in it", after(agent_report(finalMessage=" \n"))),
    ("a final message of text", after(agent_report(finalMessage={"a": 1}))),
    ("the agent's report", after({})),
    ("the gate's report", after(gate={})),
    ("a response that the gate saw completed", after(gate=gate_report(completed=0))),
    ("a count of completed responses", after(gate=gate_report(completed=None))),
    ("a sane count of completed responses", after(gate=gate_report(completed=-1))),
    ("a count that is one", after(gate=gate_report(completed=True))),
    ("an agent that ended", after(agent=running(report=agent_report()))),
]


@pytest.mark.parametrize("end", [w[1] for w in WITHOUT], ids=[f"without {w[0]}" for w in WITHOUT])
def test_success_needs_every_piece_of_the_proof(end: Pod) -> None:
    assert outcome(end).failure is not None


def test_what_counts_as_the_run_s_own_end() -> None:
    assert outcome(after()).ended_by_itself
    assert outcome(after(failure("timeout"), 1)).ended_by_itself
    assert not outcome(after(signalled(), 143)).ended_by_itself
    assert not outcome(
        after(agent_report(state="running", turnCompleted=None), 137)
    ).ended_by_itself
    assert not outcome(after({}, 137)).ended_by_itself
    assert not outcome(
        after(failure("agent_error"), 1, gate=gate_report(cutShort=True))
    ).ended_by_itself


# -- usage ---------------------------------------------------------------------------------------


def test_usage_is_the_gate_s() -> None:
    counted = usage_of(after(agent_report(usage={"inputTokens": 9})))
    assert counted is not None
    assert counted.dump() == {
        "inputTokens": 100,
        "cachedInputTokens": 20,
        "outputTokens": 10,
        "reasoningTokens": 0,
        "totalTokens": 110,
        "requests": 2,
        "costMicroUSD": 4200,
        "costCents": 1,
        "cost": "$0.0042",
        "priceTable": "2026-06-12",
        "complete": True,
    }


def test_an_unknown_price_is_absent_and_not_nothing() -> None:
    counted = usage_of(after(gate=gate_report(usage={"totalTokens": 5})))
    assert counted is not None
    assert counted.dump().keys() & {"costMicroUSD", "costCents", "cost", "priceTable"} == set()


def test_how_wrong_the_estimates_can_be_is_told() -> None:
    usage = {"totalTokens": 440, "atMostTokens": 1500}
    counted = usage_of(after(gate=gate_report(usage=usage, complete=False)))
    assert counted is not None
    assert (counted.total_tokens, counted.at_most_tokens, counted.complete) == (440, 1500, False)
    exact = usage_of(after())
    assert exact is not None
    assert "atMostTokens" not in exact.dump()


@pytest.mark.parametrize(
    ("reported", "count"), [(None, None), (3, 3), (-1, None), ("x", None), (True, None)]
)
def test_keys_that_the_gate_took_out_are_counted(reported: object, count: int | None) -> None:
    counted = usage_of(after(gate=gate_report(droppedKeys=reported)))
    assert counted is not None
    assert counted.dropped_keys == count


def test_no_word_of_the_gate_no_usage() -> None:
    assert usage_of(after(gate={})) is None


def test_a_gate_that_still_ran_has_counted_on() -> None:
    counted = usage_of(pod(gate=running(report=gate_report())))
    assert counted is not None
    assert counted.complete is False


@pytest.mark.parametrize(
    ("micro", "text", "cents"),
    [
        (0, "$0.00", 0),
        (1, "$0.0001", 1),
        (99, "$0.0001", 1),
        (100, "$0.0001", 1),
        (101, "$0.0002", 1),
        (10_000, "$0.0100", 1),
        (10_001, "$0.0101", 2),
        (1_234_567, "$1.24", 124),
        (12_000_000, "$12.00", 1200),
    ],
)
def test_cost_is_rounded_up(micro: int, text: str, cents: int) -> None:
    counted = usage_of(after(gate=gate_report(usage={"costMicroUSD": micro})))
    assert counted is not None
    assert (counted.cost, counted.cost_cents) == (text, cents)


# -- the workspace, and what a run warns of ------------------------------------------------------

OOM_KILLED = ended(137, reason="OOMKilled")


def clone_report(class_: str, *, retryable: bool) -> dict[str, Any]:
    return {"src": "clone", "failure": {"class": class_, "message": "m", "retryable": retryable}}


@pytest.mark.parametrize(
    ("clone", "class_", "retryable"),
    [
        (ended(1, report=clone_report("workspace", retryable=True)), "workspace", True),
        (ended(1, report=clone_report("workspace", retryable=False)), "workspace", False),
        (ended(1, report=clone_report("oom", retryable=False)), "oom", False),
        (ended(1, report=clone_report("storage", retryable=False)), "storage", False),
        (ended(1, report=clone_report("budget", retryable=False)), "workspace", False),
        (ended(1, report={"src": "clone", "failure": {"message": "older"}}), "workspace", False),
        (OOM_KILLED, "oom", False),
    ],
)
def test_how_a_clone_failed(clone: Container, class_: str, retryable: bool) -> None:
    failure = outcome(pod("Failed", agent=waiting(), gate=waiting(), clone=clone)).failure
    assert failure is not None
    assert (failure.class_, failure.retryable) == (class_, retryable)
    if clone is OOM_KILLED:
        assert "git.memory" in failure.message


@pytest.mark.parametrize(
    ("commit", "told"),
    [("a" * 40, "a" * 40), ("b" * 64, "b" * 64), ("a" * 41, None), ("A" * 40, None), (7, None)],
)
def test_the_commit_is_the_clone_step_s_word(commit: Any, told: str | None) -> None:
    report = {"src": "clone", "commit": commit}
    assert commit_of(after(clone=ended(0, report=report))) == told


def test_warnings_of_clone_step_and_runner_are_bounded() -> None:
    clone = ended(0, report={"src": "clone", "warnings": ["lfs"]})
    assert outcome(after(agent_report(warnings=["cut"]), clone=clone)).warnings == ["lfs", "cut"]
    assert outcome(after()).warnings is None
    for hostile in ("text", {"a": 1}, [1, None, ""]):
        assert outcome(after(agent_report(warnings=hostile))).warnings is None
    many = outcome(after(agent_report(warnings=["x" * 600] * 30))).warnings
    assert many is not None
    assert (len(many), len(many[0])) == (16, 512)


def test_a_masked_value_is_named_where_the_message_no_longer_fits() -> None:
    gate = gate_report(output={"ok": False, "pointer": "/count", "message": "is not an integer"})
    failure = outcome(after(agent_report(masked=["FLAG"]), gate=gate)).failure
    assert failure is not None
    assert (
        "values that the job type's env takes from Secrets were masked in the message: FLAG"
    ) in failure.message


def test_a_schema_that_cannot_be_used_is_not_held_against_the_message() -> None:
    words = f'{UNUSABLE_SCHEMA}: there is no "/x"; a $ref must point to a part of this schema'
    gate = gate_report(output={"ok": False, "message": words})
    failure = outcome(after(agent_report(), gate=gate)).failure
    assert failure is not None
    assert failure.message == words


# -- hostile reports -----------------------------------------------------------------------------


def raw(agent_message: str, gate_message: str = "", exit_code: int = 0) -> Pod:
    """As the apiserver would send it, through the whole way of a message."""

    def status(name: str, message: str) -> dict[str, Any]:
        ended = {
            "exitCode": exit_code,
            "message": message,
            "startedAt": "2026-11-24T11:00:00Z",
            "finishedAt": "2026-11-24T11:01:00Z",
        }
        return {"name": name, "state": {"terminated": ended}}

    return pod_from(
        {
            "metadata": {"name": "p", "uid": "u", "labels": {"codexrun.dev/run": "hello"}},
            "spec": {"nodeName": "n"},
            "status": {
                "phase": "Succeeded",
                "containerStatuses": [status("agent", agent_message)],
                "initContainerStatuses": [status("gate", gate_message)],
            },
        }
    )


def storable(judged: Outcome) -> None:
    """What the apiserver will take: valid UTF-8, numbers of 64 bits, lengths as the CRD bounds
    them."""
    fields = {
        "usage": judged.usage,
        "failure": judged.failure,
        "result": judged.result,
        "thread_id": judged.thread_id,
    }
    fields |= {
        "turns": judged.turns,
        "commands": judged.commands,
        "warnings": judged.warnings,
    }
    dumped = RunStatus().model_copy(update=fields).dump()
    RunStatus.model_validate(dumped)
    json.dumps(dumped, ensure_ascii=False, allow_nan=False).encode()

    def bounded(value: Any) -> None:
        if isinstance(value, dict):
            for part in value.values():
                bounded(part)
        elif isinstance(value, int):
            assert -(2**63) <= value < 2**63

    bounded(dumped)


@pytest.mark.parametrize(
    "message",
    [
        "[" * 4096,
        '{"src":' + "[" * 4000,
        '{"src":"runner","finalMessage":"\\ud800","threadId":"\\udfff","failure":{"class":"agent_error","message":"\\ud800"}}',
        '{"src":"runner","exitCode":99999999999999999999,"failure":{"class":"agent_error","message":"x"}}',
        '{"src":"runner","exitCode":' + "9" * 4000 + "}",
        '{"src":"runner","exitCode":NaN,"failure":{"class":["timeout"],"message":{}}}',
        '{"src":"runner","failure":"timeout"}',
        '{"src":"runner","failure":{"class":{},"message":null}}',
        '{"src":"runner","threadId":{"a":1},"finalMessage":' + json.dumps("x" * 9000) + "}",
        '"src"',
        "src",
        "",
        "\x00\x1b[2J",
    ],
)
def test_hostile_words_stop_nobody(message: str) -> None:
    for judged in (
        outcome(raw(message, json.dumps(gate_report()), 1)),
        outcome(raw(message, message)),
    ):
        assert judged.failure is not None
        storable(judged)


numbers = st.sampled_from(
    [0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63, 10**30, True, False, 1.5, float("nan")]
)
junk = st.recursive(
    st.none()
    | numbers
    | st.text(max_size=8)
    | st.sampled_from(["timeout", "signal", "done", "budget", "auth", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["class", "message", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
AGENT_KEYS = [
    "turns",
    "commands",
    "state",
    "exitCode",
    "threadId",
    "turnCompleted",
    "turnFailed",
    "finalMessage",
    "finalMessageBytes",
    "stopped",
    "failure",
]
GATE_KEYS = [
    "requests",
    "completed",
    "usage",
    "priceTable",
    "complete",
    "stop",
    "lastError",
    "droppedKeys",
]
USAGE_KEYS = [
    "inputTokens",
    "cachedInputTokens",
    "outputTokens",
    "reasoningTokens",
    "totalTokens",
    "costMicroUSD",
]
gate_junk = st.dictionaries(
    st.sampled_from(GATE_KEYS),
    junk | st.dictionaries(st.sampled_from(USAGE_KEYS), numbers, max_size=6),
    max_size=7,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(AGENT_KEYS), junk, min_size=1), gate_junk, st.integers(0, 1))
def test_garbage_never_raises_and_can_be_stored(
    agent: dict[str, Any], gate: dict[str, Any], code: int
) -> None:
    storable(
        outcome(raw(json.dumps(agent_report() | agent), json.dumps(gate_report() | gate), code))
    )


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(AGENT_KEYS), junk))
def test_the_agent_alone_never_succeeds(agent: dict[str, Any]) -> None:
    for gate in ({}, gate_report(completed=0)):
        assert (
            outcome(raw(json.dumps(agent_report() | agent), json.dumps(gate))).failure is not None
        )


def test_a_long_final_message_is_cut() -> None:
    judged = outcome(after(agent_report(finalMessage="x" * 5000, finalMessageBytes=5000)))
    assert judged.result is not None
    assert (len(judged.result.message), judged.result.truncated) == (4096, True)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (3, 3),
        (0, 0),
        (None, None),
        (-1, None),
        (True, None),
        ("3", None),
        (2**40, None),
        (1e3, None),
    ],
)
def test_turns_and_commands_are_the_agent_s_word_where_it_is_a_number(
    said: object, kept: int | None
) -> None:
    judged = outcome(after(agent_report(turns=said, commands=said)))
    assert (judged.turns, judged.commands, judged.failure) == (kept, kept, None)


def test_a_restarted_gate_keeps_its_words() -> None:
    """In back-off at the end, its last life's message is what there is."""
    judged = outcome(
        pod(
            "Succeeded",
            gate=Container(state="waiting", reason="CrashLoopBackOff", report=gate_report()),
        )
    )
    assert judged.failure is None
    assert judged.usage is not None
    assert judged.usage.complete is False


# -- what the kubelet tells of containers, and Kubernetes of what it could not do -----------------


def test_what_others_put_into_the_pod_is_kept_apart() -> None:
    crashed = {"terminated": {"exitCode": 2, "message": json.dumps(no_gate())}}
    back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    read = pod_from(
        {
            "metadata": {"name": "p", "uid": "u"},
            "status": {
                "phase": "Pending",
                "conditions": [{"type": "PodReadyToStartContainers", "status": "True"}],
                "initContainerStatuses": [
                    {"name": "mesh-init", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "gate", "state": back_off, "lastState": crashed, "restartCount": 3},
                ],
                "containerStatuses": [
                    {"name": "agent", "state": {"waiting": {"reason": "PodInitializing"}}},
                    {"name": "mesh", "state": {"running": {"startedAt": "2026-11-24T12:00:00Z"}}},
                ],
                "ephemeralContainerStatuses": [{"name": "debugger", "state": {"running": {}}}],
            },
        }
    )
    assert read.prepared
    assert (read.gate.reason, read.gate.exit_code, read.gate.restarts) == ("CrashLoopBackOff", 2, 3)
    assert read.gate.report == no_gate()
    assert read.agent.reason == "PodInitializing"
    assert {name: c.state for name, c in read.foreign_init.items()} == {"mesh-init": "terminated"}
    assert {name: c.state for name, c in read.foreign.items()} == {"mesh": "running"}


@pytest.mark.parametrize(
    ("raw_event", "hour"),
    [
        ({"series": {"lastObservedTime": "2026-11-24T14:00:00.000000Z"}}, 14),
        ({"lastTimestamp": "2026-11-24T13:00:00Z"}, 13),
        ({"lastTimestamp": None, "eventTime": "2026-11-24T12:00:00.000000Z"}, 12),
        ({"lastTimestamp": "never"}, 11),
        ({"metadata": {}}, None),
    ],
    ids=["a series", "the old API", "the new API", "no sense", "nothing"],
)
def test_when_an_event_was_last_seen(raw_event: dict[str, Any], hour: int | None) -> None:
    made = {"metadata": {"creationTimestamp": "2026-11-24T11:00:00Z"}, "reason": None}
    event = event_from(made | raw_event)
    assert (event.reason, event.message) == ("", "")
    assert (event.last_seen.hour if event.last_seen else None) == hour
