"""Each way to fail ends in its class. Which part says so: the runner's failure, the gate's stop, or
its last error.

Codex's own retries make some slow (401: 7 s, 5xx: 26 s): those classes are shown by the gate's unit
tests, and one of them here.
"""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

ENDS = [
    # scenario, runner's class, gate's class, HTTP status
    pytest.param("401", "agent_error", "auth", 401, id="401: auth"),
    pytest.param("429", "agent_error", "rate_limit", 429, id="429 beyond maxWaitSeconds"),
    pytest.param("quota", "agent_error", "quota", 429, id="429 insufficient_quota: quota"),
    pytest.param(
        "failed-quota", "agent_error", "quota", None, id="response.failed insufficient_quota: quota"
    ),
    pytest.param(
        "incomplete", "agent_error", "policy", None, id="response.incomplete content_filter: policy"
    ),
]


@pytest.mark.parametrize(("scenario", "runner_class", "gate_class", "status"), ENDS)
def test_an_error_of_the_model_ends_in_its_class(pod, scenario, runner_class, gate_class, status):
    pod.start_gate(maxWaitSeconds=2)
    result = pod.play(scenario)
    assert result.code == 1
    assert result.failure == runner_class
    error = result.gate["lastError"]
    assert (error["class"], error.get("status")) == (gate_class, status)
    assert error["message"]
    assert result.runner["turnFailed"]
    assert "stop" not in result.gate


def test_a_rate_limit_with_a_time_is_waited_for(pod):
    result = pod.play("429-recovers")
    assert result.code == 0
    assert result.gate["requests"] == 3
    assert all(line.get("event", {}).get("type") != "error" for line in result.lines)
    assert "lastError" not in result.gate, "cleared by the response that completed"


def test_a_stream_cut_each_time_is_a_model_error_and_charged(pod):
    result = pod.play("cut")
    assert (result.code, result.gate["lastError"]["class"]) == (1, "model_error")
    assert result.gate["requests"] == 6
    assert result.gate["completed"] == 0
    assert not result.gate["complete"]
    assert result.gate["usage"]["inputTokens"] > 0


def test_exit_0_without_a_message_is_silent_death(pod):
    result = pod.play("no-message")
    assert (result.code, result.failure, result.runner["exitCode"]) == (1, "silent_death", 0)
    assert "final message" in result.runner["failure"]["message"]


def test_a_response_without_usage_is_charged_at_an_estimate(pod):
    result = pod.play("no-usage")
    assert result.code == 0
    assert not result.gate["complete"]
    usage = result.gate["usage"]
    assert usage["atMostTokens"] > 25_000, "a token a byte"
    assert 25_000 // 3 < usage["inputTokens"] < usage["atMostTokens"] // 2
    assert result.gate["completed"] == 1


def test_a_loop_is_stopped_at_the_budget(pod):
    pod.start_gate(max_tokens=5000)
    result = pod.play("runaway")
    assert result.code == 1
    assert result.gate["stop"]["class"] == "budget"
    assert "of 5000 tokens" in result.gate["stop"]["message"]
    assert 5000 <= result.gate["usage"]["totalTokens"] <= 5000 + 1000, (
        "no more than one request's input beyond"
    )
    assert result.gate["complete"]
    assert "the budget is used up" in result.runner["failure"]["message"]


def test_a_model_that_the_run_may_not_use_is_refused(pod):
    pod.start_gate(models=["gpt-5.5"])
    result = pod.play("message", model="gpt-6-sol")
    assert (result.code, result.gate["stop"]["class"], result.gate["requests"]) == (
        1,
        "guardrail",
        0,
    )
    assert "gpt-6-sol" in result.gate["stop"]["message"]


def test_the_runner_ends_a_run_at_its_timeout(pod):
    result = pod.play("sleep-300", timeout=9, stall=5)
    assert (result.code, result.failure, result.runner["stopped"]) == (1, "timeout", "timeout")
    assert result.runner["commands"] == 1, "a command that runs is no stall"
    assert result.gate["usage"]["totalTokens"] > 0


@pytest.mark.parametrize("scenario", ["stall", "no-headers"])
def test_silence_is_a_stall(pod, scenario):
    result = pod.play(scenario, stall=2)
    assert (result.code, result.failure, result.runner["stopped"]) == (1, "stall", "stall")


def test_a_slow_stream_is_no_stall(pod):
    result = pod.play("slow-5", stall=2)
    assert result.code == 0
    assert result.runner["durationMs"] > 5000


def test_a_workspace_that_fills_up_ends_the_run_before_the_kubelet_does(pod):
    limit = 100_000_000
    result = pod.play("write-disk", workspaceBytes=limit)
    assert (result.code, result.failure, result.runner["stopped"]) == (1, "storage", "storage")
    assert sum(f.stat().st_size for f in pod.workspace.iterdir()) < 2 * limit


def test_a_model_that_cannot_be_reached_is_named(pod):
    pod.start_gate(upstream="http://127.0.0.1:9/v1")
    result = pod.play("message")
    assert result.code == 1
    error = result.gate["lastError"]
    assert (error["class"], "127.0.0.1:9" in error["message"]) == ("model_error", True)
    assert result.gate["usage"]["totalTokens"] == 0


class Compressing(BaseHTTPRequestHandler):
    """An endpoint that compresses, although the gate asks for nothing of that."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Encoding", "br")
        self.end_headers()
        self.wfile.write(b"\x8b\x01\x80no\x03")

    def log_message(self, *_):
        """Print nothing."""


def test_an_answer_that_the_gate_cannot_read_is_not_asked_for_again(pod):
    with HTTPServer(("127.0.0.1", 0), Compressing) as model:
        threading.Thread(target=model.serve_forever, daemon=True).start()
        pod.start_gate(upstream=f"http://127.0.0.1:{model.server_port}/v1")
        result = pod.play("message")
        model.shutdown()
    assert (result.code, result.gate["requests"]) == (1, 1)
    error = result.gate["lastError"]
    assert (error["class"], "Content-Encoding br" in error["message"]) == ("model_error", True)
    assert "turn compression off" in result.runner["failure"]["message"]
