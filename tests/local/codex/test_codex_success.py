"""Real Codex does its work, and the two messages prove it."""

import hashlib
import json
import socket

import pytest
from codex_stand import KEY, get


def test_hello_writes_a_file_and_greets(pod, demo):
    prices = {
        "gpt-5.5": {
            "inputMicroUSDPerMTok": 1_250_000,
            "cachedInputMicroUSDPerMTok": 125_000,
            "outputMicroUSDPerMTok": 10_000_000,
        }
    }
    pod.start_gate(prices=prices)
    pod.start_runner("Say hello to {{name}} in one short, friendly sentence.\n", {"name": "world"})
    result = pod.end()

    assert result.code == 0, result
    assert (pod.workspace / "hello.txt").read_text() == "Hello, world!\n"
    message = result.runner
    assert message["state"] == "done"
    assert message["finalMessage"] == "Hello, world!"
    assert message["finalMessageBytes"] == 13
    assert (message["turns"], message["commands"], message["exitCode"]) == (1, 1, 0)
    assert message["turnCompleted"]
    assert not message["turnFailed"]
    assert "failure" not in message
    assert "stopped" not in message

    sent = get(f"{demo}/stats")["threads"][message["threadId"]]
    account = result.gate
    assert (account["requests"], account["completed"], account["complete"]) == (2, 2, True)
    for key in (
        "inputTokens",
        "cachedInputTokens",
        "outputTokens",
        "reasoningTokens",
        "totalTokens",
    ):
        assert account["usage"][key] == sent[key], key
    fresh = sent["inputTokens"] - sent["cachedInputTokens"]
    pico = (
        fresh * 1_250_000 + sent["cachedInputTokens"] * 125_000 + sent["outputTokens"] * 10_000_000
    )
    assert account["usage"]["costMicroUSD"] == -(-pico // 1_000_000)
    assert account["priceTable"] == "2026-11-24"
    assert "stop" not in account
    assert "lastError" not in account

    ended = result.lines[-1]
    assert (ended["src"], ended["text"], ended["status"]) == ("runner", "run.ended", "succeeded")
    assert ended["cost_tokens"] == account["usage"]["totalTokens"]
    assert ended["cost_cents"] == -(-account["usage"]["costMicroUSD"] // 10_000)
    assert {"run_id", "job_type", "prompt_version", "phase", "duration_ms"} <= ended.keys()
    assert {line["src"] for line in result.lines} <= {"runner", "codex", "stderr"}


def test_code_mode(pod):
    result = pod.play("code-mode", model="gpt-6-sol")
    assert result.code == 0, result
    assert (pod.workspace / "code-mode.txt").read_text() == "written in code mode\n"
    assert result.runner["commands"] == 1
    assert result.runner["finalMessage"] == "written in code mode"


def test_several_steps(pod):
    result = pod.play("several-turns")
    assert result.code == 0
    assert result.runner["commands"] == 3
    assert result.runner["finalMessage"] == "Did 3 steps; steps.txt has 2 lines."
    assert result.gate["requests"] == result.gate["completed"] == 4


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "$$ $(HOME) ${HOME} `id` %s \\ \\n \\u0041", id="what shells and kubelets expand"
        ),
        pytest.param('"double" \'single\' """ {{name}} {{ {% }} ${{ x }}', id="quotes and braces"),
        pytest.param("\n\nlines\r\n\ttabs\n  trailing  \n\n\n", id="newlines and blanks"),
        pytest.param("👩‍👩‍👧‍👦 naïve Ωμέγα 日本語 \u202e \x7f \ufeff", id="emoji and scripts"),
        pytest.param("0123456789abcde\n" * 4096, id="64 KiB"),
    ],
)
def test_inputs_reach_the_model_byte_for_byte(pod, text):
    pod.start_gate()
    pod.start_runner("scenario: echo\n{{text}}", {"text": text})
    result = pod.end()
    assert result.code == 0, result
    prompt = f"scenario: echo\n{text}".encode()
    expected = {"sha256": hashlib.sha256(prompt).hexdigest(), "bytes": len(prompt)}
    assert json.loads(result.runner["finalMessage"]) == expected


def test_the_environment_of_a_job_type_reaches_commands_and_nothing_else_does(pod):
    pod.start_gate()
    pod.start_runner(
        "scenario: shell\ncommand: env; echo $REGISTRY_TOKEN",
        env={"REGISTRY_TOKEN": 'tok"en-öß-17', "PLAIN": "shown"},
        maskEnv=["REGISTRY_TOKEN"],
    )
    result = pod.end()
    assert result.code == 0
    log = (pod.root / "agent.log").read_text()
    assert "PLAIN=shown" in log
    assert "REGISTRY_TOKEN=***" in log
    assert "en-öß-17" not in log
    assert "CODEXRUN_" not in "".join(json.dumps(e) for e in result.events)
    assert "en-öß-17" not in json.dumps(result.runner, ensure_ascii=False)


def test_git_asks_nobody_also_in_a_terminal(pod):
    """https://github.com/openai/codex/issues/3520"""
    command = "printf 'protocol=https\\nhost=h.example\\n\\n' | git credential fill"
    arguments = json.dumps({"cmd": command, "tty": True, "yield_time_ms": 20_000})
    call = {"type": "function_call", "name": "exec_command", "arguments": arguments}
    pod.start_gate()
    pod.start_runner(f"scenario: call-1\ncall: {json.dumps(call)}")
    result = pod.end()
    assert result.code == 0, result
    assert "terminal prompts disabled" in result.runner["finalMessage"]


def test_the_agent_cannot_find_the_key(pod):
    result = pod.play("env-probe")
    assert result.code == 0
    assert "probe done" in result.runner["finalMessage"]
    assert KEY not in (pod.root / "agent.log").read_text()
    assert KEY not in (pod.root / "gate.log").read_text()


@pytest.mark.parametrize("hosts", ["", "*", "a.example"])
def test_no_proxy_is_between_codex_and_the_gate(pod, hosts):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        variables = dict.fromkeys(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"], url)
        variables["NO_PROXY"] = hosts
        pod.start_gate(environment=variables)
        pod.start_runner("Say hello to the world.\n", env=variables)
        assert pod.end().code == 0
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
