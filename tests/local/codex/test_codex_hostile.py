"""A hostile agent: commands of a real Codex that talk to the gate themselves spend nothing
uncounted and get nothing more."""

import shutil
import sys
from pathlib import Path

import pytest
from codex_stand import get

REFUSED = [
    "background",
    "stored",
    "earlier",
    "tier",
    "model",
    "search",
    "unstreamed",
    "image-url",
    "file-url",
    "file-id",
    "reference",
    "bare-reference",
    "other-search",
    "other-case",
    "effort",
]


def attack(pod, name, **limits):
    """Codex runs the attack as a command. Gives its result, and what the model counted for Codex
    and for the attack."""
    thread = f"hostile-{pod.root.name}"
    shutil.copy(Path(__file__).with_name("hostile.py"), pod.workspace)
    pod.start_gate(**limits)
    command = f"{sys.executable} hostile.py {pod.gate_port} {thread} {name}"
    pod.start_runner(f"scenario: shell\ncommand: {command}")
    result = pod.end()
    threads = get(f"{pod.demo}/stats")["threads"]
    return result, threads[result.runner["threadId"]], threads.get(thread, {})


def counted(result, *sides):
    """The gate's account is the sum of what the model counted."""
    for key in (
        "inputTokens",
        "cachedInputTokens",
        "outputTokens",
        "reasoningTokens",
        "totalTokens",
    ):
        assert result.gate["usage"][key] == sum(side.get(key, 0) for side in sides), key


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_be_asked_ends_the_run_unspent(pod, name):
    result, codex, hostile = attack(pod, name, allowedEfforts=["low", "medium"])
    assert hostile == {}, "it never came to the model"
    assert (result.code, result.gate["stop"]["class"]) == (1, "guardrail")
    assert (result.gate["requests"], result.gate["complete"]) == (1, True)
    counted(result, codex)


@pytest.mark.parametrize(("name", "keys"), [("folded", 4), ("router", 3)])
def test_keys_that_codex_does_not_send_are_taken_out(pod, name, keys):
    result, codex, hostile = attack(pod, name)
    assert (result.code, result.runner["finalMessage"]) == (0, "answered 200")
    assert result.gate["droppedKeys"] == keys
    counted(result, codex, hostile)


def test_unfinished_bodies_take_no_memory_and_no_turn(pod):
    result, codex, hostile = attack(pod, "unfinished")
    assert (result.code, result.runner["finalMessage"]) == (0, "answered 200")
    assert "droppedKeys" not in result.gate
    counted(result, codex, hostile)


@pytest.mark.parametrize(("name", "times"), [("leave", 1), ("leave-often", 5)])
def test_who_leaves_before_the_end_pays_for_the_whole(pod, name, times):
    result, codex, hostile = attack(pod, name)
    assert hostile["charged"] == times
    assert result.code == 0, result
    assert (result.gate["requests"], result.gate["completed"], result.gate["complete"]) == (
        2 + times,
        2 + times,
        True,
    )
    counted(result, codex, hostile)


def test_ten_requests_at_once_are_one_and_the_end(pod):
    result, codex, hostile = attack(pod, "at-once")
    assert hostile["requests"] == 1
    assert (result.code, result.gate["stop"]["class"]) == (1, "guardrail")
    counted(result, codex, hostile)


def test_other_paths_and_methods_lead_nowhere(pod):
    result, codex, hostile = attack(pod, "elsewhere")
    assert hostile == {}
    assert result.code == 0, result
    answers = result.runner["finalMessage"].removeprefix("answered ")
    assert set(answers.strip("[]").split(", ")) <= {"0", "400", "404", "405"}
    counted(result, codex)


def test_its_own_requests_are_within_the_budget_too(pod):
    cap = 60_000
    result, codex, hostile = attack(pod, "loop", max_tokens=cap)
    assert (result.code, result.gate["stop"]["class"]) == (1, "budget")
    counted(result, codex, hostile)
    assert hostile["charged"] > 3
    assert result.gate["usage"]["totalTokens"] <= cap + 15_000, (
        "a request of Codex is the largest input here"
    )
