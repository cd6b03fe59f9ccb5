"""Signals and crashes in the middle of real Codex's work: nothing survives, nothing is
forgotten."""

import os
import signal
import time
import uuid
from pathlib import Path

import pytest
from codex_stand import until
from gate_process import account


@pytest.fixture
def seconds():
    """So long does nothing else on the machine sleep, the other tests of this file neither."""
    return f"7391.{uuid.uuid4().int % 10**12:012}"


def sleepers(seconds):
    """Return the processes that sleep so long, and the shells that were told to."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if seconds.encode() in b" ".join(words) and words[0].endswith(
                (b"sleep", b"bash", b"sh")
            ):
                found.append(int(entry.name))
    return found


def test_sigterm_ends_codex_and_every_process_below_it(pod, seconds):
    command = (
        f"trap '' TERM INT; setsid sleep {seconds} &"
        f" (setsid sh -c 'trap \"\" TERM; sleep {seconds}; echo' &) ; sleep {seconds}"
    )
    pod.start_gate()
    pod.start_runner(f"scenario: shell\ncommand: {command}")
    until(lambda: len(sleepers(seconds)) >= 4, "the command and its children run")
    began = time.monotonic()
    pod.runner.send_signal(signal.SIGTERM)
    result = pod.end()
    took = time.monotonic() - began
    assert (result.code, result.runner["stopped"]) == (143, "signal")
    assert "failure" not in result.runner
    assert sleepers(seconds) == []
    assert took < 5, took
    assert result.runner["state"] == "done"
    assert result.runner["threadId"]
    assert result.gate["usage"]["totalTokens"] > 0
    assert result.lines[-1]["status"] == "stopping"


def test_sigterm_after_the_end_changes_nothing(pod):
    result = pod.play("message")
    assert result.code == 0
    assert result.runner["state"] == "done"


def test_a_gate_that_was_told_of_a_stop_refuses_what_comes_then(pod):
    pod.start_gate()
    (pod.root / "gate-state" / "stopping").touch()
    pod.start_runner(inputs={"scenario": "message"})
    result = pod.end()
    assert result.code == 1
    assert result.gate["requests"] == 0
    assert "stop" not in result.gate
    assert "being stopped" in result.runner["failure"]["message"]


def test_a_gate_killed_while_a_command_runs_is_not_noticed(pod):
    pod.start_gate()
    pod.start_runner(inputs={"scenario": "sleep-3"})
    pod.until_event("item.started", "sleep 3")
    before = pod.message("gate")
    pod.gate.kill()
    pod.gate.wait()
    pod.restart_gate()
    result = pod.end()
    assert result.code == 0
    assert before["requests"] == 1
    assert (result.gate["requests"], result.gate["completed"], result.gate["complete"]) == (
        2,
        2,
        True,
    )


def in_flight(pod) -> bool:
    """Whether the gate has written a request down for its successor."""
    try:
        return account(pod)["in_flight"] is not None
    except FileNotFoundError:  # not yet, or it is just being replaced
        return False


def test_a_gate_killed_in_the_middle_of_a_stream_is_survived_and_charged(pod):
    pod.start_gate()
    pod.start_runner(inputs={"scenario": "slow-6"})
    until(lambda: in_flight(pod), "the model is asked")
    os.kill(pod.gate.pid, signal.SIGKILL)
    pod.gate.wait()
    pod.until_event("error")  # nobody listened when Codex tried again
    pod.restart_gate()
    result = pod.end()
    assert result.code == 0
    assert (result.gate["requests"], result.gate["completed"], result.gate["complete"]) == (
        2,
        1,
        False,
    )
    usage = result.gate["usage"]
    assert usage["inputTokens"] > 25_000, "the lost request is charged at its bytes"
    assert usage["outputTokens"] > 128_000, "and at all that the model can have said"
    assert usage["atMostTokens"] == usage["totalTokens"]


def test_a_taken_port_ends_the_run_as_guardrail(pod):
    pod.start_gate()
    first = pod.gate
    other_state = pod.root / "other-state"
    other_state.mkdir()
    pod.gate_environment |= {
        "CODEXRUN_GATE_STATE": str(other_state),
        "CODEXRUN_TERMINATION_LOG": str(pod.root / "second-message"),
    }
    pod.restart_gate()
    until(lambda: (pod.message("second") or {}).get("stop"), "the second gate finds its port taken")
    assert pod.message("second")["stop"]["class"] == "guardrail"
    first.terminate()
    first.wait(10)
    pod.start_runner(inputs={"scenario": "message"})
    result = pod.end()
    assert result.code == 1
    assert pod.message("second")["requests"] == 0


def test_a_port_answered_by_something_else_is_a_guardrail(pod, demo):
    pod.gate_port = int(demo.rsplit(":", 1)[1])  # the demo model has a /healthz of its own
    pod.start_runner(inputs={"scenario": "message"})
    assert pod.runner.wait(20) == 1
    assert pod.message("runner")["failure"]["class"] == "guardrail"


def test_as_process_1_of_a_container_it_reaps_and_leaves_nothing(pod, seconds):
    """In a PID namespace of its own, as in a pod: signals without a handler are ignored there, and
    orphans are its own."""
    pod.start_gate()
    orphans = (
        f"for i in 1 2 3 4 5; do (setsid sleep 0.2 &); done; sleep 1; (setsid sleep {seconds} &);"
        " ls -d /proc/[0-9]* | wc -l"
    )
    pod.start_runner(f"scenario: shell\ncommand: {orphans}", namespace=True)
    result = pod.end()
    assert result.code == 0, result
    processes = int(result.runner["finalMessage"])
    assert processes <= 8, (
        "runner, codex, shell and what they just started: the five orphans are reaped"
    )
    assert sleepers(seconds) == []


def test_as_process_1_it_ends_on_sigterm(pod, seconds):
    pod.start_gate()
    pod.start_runner(
        f"scenario: shell\ncommand: trap '' TERM; (setsid sleep {seconds} &);"
        f" sleep {seconds}; echo",
        namespace=True,
    )
    until(lambda: len(sleepers(seconds)) >= 3, "the command runs")
    inner = Path(f"/proc/{pod.runner.pid}/task/{pod.runner.pid}/children").read_text().split()[0]
    os.kill(int(inner), signal.SIGTERM)
    result = pod.end()
    assert (result.code, result.runner["stopped"]) == (143, "signal")
    assert sleepers(seconds) == []
