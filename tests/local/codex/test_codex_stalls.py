"""Silence ends a run, whatever Codex does meanwhile; and its standard input is never left open."""

import json
import stat

import pytest

RETRY = json.dumps({"type": "error", "message": "Reconnecting... waiting for network"})
HANGS = {
    "it waits for a network for ever": f"while :; do echo '{RETRY}'; sleep 0.2; done",
    "it says nothing": "sleep 1000",
}


@pytest.fixture
def fake_codex(pod):
    """A program in Codex's place: a turn begins, and then something hangs."""

    def make(body):
        folder = pod.root / "fake"
        folder.mkdir()
        (folder / "codex-code-mode-host").touch()
        pod.codex = folder / "codex"
        pod.codex.write_text(
            f'#!/bin/sh\ncat > prompt-it-got\necho \'{{"type":"turn.started"}}\'\n{body}\n'
        )
        pod.codex.chmod(stat.S_IRWXU)

    return make


@pytest.mark.parametrize("body", HANGS.values(), ids=HANGS)
def test_a_codex_that_hangs_is_a_stall(pod, fake_codex, body):
    fake_codex(body)
    pod.start_gate()
    pod.start_runner("hi", stall=2, timeout=40)
    result = pod.end()
    assert (result.code, result.failure, result.runner["stopped"]) == (1, "stall", "stall")
    assert "Last activity: turn.started" in result.runner["failure"]["message"]
    assert (pod.workspace / "prompt-it-got").read_text() == "hi", "its input had an end"


def test_an_endpoint_that_never_answers_is_a_stall_that_names_what_came_before(pod):
    pod.start_gate()
    result = pod.play("no-headers", stall=2)
    assert result.failure == "stall"
    message = result.runner["failure"]["message"]
    assert "Last activity: turn.started" in message
    assert "the gate has received no event from the model" in message


def test_a_gate_that_is_gone_is_no_endless_wait(pod):
    """Codex would try to reach it for ever, were it not told otherwise; here it is the watchdog
    that is faster."""
    pod.start_gate()
    pod.start_runner("scenario: sleep-1", stall=6, timeout=50)
    pod.until_event("item.started", "sleep 1")
    pod.gate.kill()
    pod.gate.wait()
    pod.gate = None
    result = pod.end()
    assert result.failure in ("stall", "agent_error")
    assert json.dumps(result.events).count("waiting for network") == 0
