"""What a job type allows, on a real cluster: tools, money, sandbox, a team's own key."""

import json
from typing import Any

import pytest
from lab import NAMESPACE, Json, Lab

CALL = {
    "type": "function_call",
    "id": "fc_1",
    "name": "exec_command",
    "arguments": '{"cmd": "touch ran; ls /etc/codex"}',
}
SCRIPT = {
    "type": "custom_tool_call",
    "name": "exec",
    "input": 'const r = await tools.exec_command({cmd: "touch ran"}); text("x");',
}


@pytest.fixture(scope="module")
def prompt(lab: Lab) -> str:
    return lab.prompt("scenario: call-1\ncall: {{call}}\n")


def play(lab: Lab, prompt: str, call: Json, **job_type: Any) -> Json:
    return lab.ended(
        lab.run(lab.job_type(prompt=prompt, **job_type), inputs={"call": json.dumps(call)})
    )


def test_an_allowed_tool_is_used_under_the_managed_policy(lab: Lab, prompt: str) -> None:
    run = play(lab, prompt, CALL)
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert "requirements.toml" in run["status"]["result"]["message"]
    assert run["status"]["sandbox"] == "pod"


@pytest.mark.parametrize(
    ("model", "call"), [("gpt-5.5", CALL), ("gpt-6-sol", SCRIPT)], ids=["classic", "code mode"]
)
def test_a_tool_that_is_not_allowed_ends_the_run(
    lab: Lab, prompt: str, model: str, call: Json
) -> None:
    run = play(lab, prompt, call, allowedTools=["apply_patch"], model=model)
    assert (run["status"]["phase"], run["status"]["failure"]["class"]) == (
        "Failed",
        "guardrail",
    ), run["status"]
    assert "allowedTools" in run["status"]["failure"]["message"]
    assert not any("command_execution" in str(line) for line in lab.log(run))


def test_the_agent_cannot_change_its_policy(lab: Lab) -> None:
    prompt = lab.prompt("scenario: shell\ncommand: {{command}}\n")
    command = (
        "echo > /etc/codex/requirements.toml; touch /etc/codex/x; rm /opt/codexrun/bin/audit-tool;"
        " true"
    )
    run = lab.ended(lab.run(lab.job_type(prompt=prompt), inputs={"command": command}))
    said = run["status"]["result"]["message"]
    assert said.count("Read-only file system") == 3, said


def test_the_hook_answers_in_the_image(lab: Lab) -> None:
    prompt = lab.prompt("scenario: shell\ncommand: {{command}}\n")
    ask = (
        'echo \'{"tool_name": "view_image"}\' | CODEX_HOME=/tmp /opt/codexrun/bin/audit-tool shell;'
        " echo code $?"
    )
    run = lab.ended(lab.run(lab.job_type(prompt=prompt), inputs={"command": ask}))
    assert "code 2" in run["status"]["result"]["message"], run["status"]


def test_a_sandbox_that_cannot_work_is_said_before_codex_starts(lab: Lab) -> None:
    job_type = lab.job_type(sandbox="codex")
    run = lab.ended(lab.run(job_type, "hello"))
    lab.kubectl("delete", "cjt", job_type)  # `codexrun doctor` would find it
    assert (run["status"]["phase"], run["status"]["failure"]["class"]) == ("Failed", "config"), run[
        "status"
    ]
    assert "sandbox: codex does not work in this pod" in run["status"]["failure"]["message"]
    assert run["status"]["sandbox"] == "codex"
    assert run["status"]["usage"]["requests"] == 0


def test_a_budget_in_cents_ends_a_loop(lab: Lab) -> None:
    run = lab.ended(lab.run(lab.job_type(), "runaway", limits={"maxCostCents": 2}))
    assert run["status"]["failure"]["class"] == "budget", run["status"]
    assert "limits.maxCostCents" in run["status"]["failure"]["message"]
    one_input = 1000 * 5  # micro-dollars
    assert run["status"]["usage"]["costMicroUSD"] <= 20_000 + one_input


def test_a_budget_in_cents_for_a_model_without_a_price_is_rejected(lab: Lab) -> None:
    run = lab.ended(lab.run(lab.job_type(model="demo-model"), "hello", limits={"maxCostCents": 2}))
    assert (run["status"]["phase"], run["status"]["reason"]) == ("Rejected", "UnknownPrice")


def test_a_team_s_own_key_is_the_gate_s(lab: Lab) -> None:
    name = lab.name("team-key")
    body = {"metadata": {"name": name, "labels": lab.mark}, "stringData": {"api-key": "sk-team-1"}}
    lab.core.create_namespaced_secret(NAMESPACE, body)
    job_type = lab.job_type(modelSecretRef={"name": name})
    run = lab.ended(lab.run(job_type, "hello"))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    volumes = {volume.name: volume for volume in lab.pod(run).spec.volumes}
    secrets = [source.secret for source in volumes["gate-files"].projected.sources]
    assert name in {secret.name for secret in secrets if secret}
    lab.kubectl("delete", "cjt", job_type)  # `codexrun doctor` would miss its Secret
    lab.core.delete_namespaced_secret(name, NAMESPACE)
