"""A run that works, by real Codex in a restricted pod, and what proves it."""

import hashlib
import json

import pytest
from lab import Json, Lab, condition


@pytest.fixture(scope="module")
def shell_run(lab: Lab) -> Json:
    prompt = lab.prompt("Do it.\nscenario: shell\ncommand: {{command}}\n")
    run = lab.run(
        lab.job_type(prompt=prompt),
        inputs={"command": "echo made by codex > made.txt && cat made.txt && id -u"},
    )
    return lab.ended(run)


def test_a_shell_command_writes_a_file(lab: Lab, shell_run: Json) -> None:
    status = shell_run["status"]
    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed"), status
    assert "made by codex" in status["result"]["message"]
    assert condition(shell_run, "Succeeded")["status"] == "True"
    assert [
        condition(shell_run, kind)["status"] for kind in ("Accepted", "Admitted", "Started")
    ] == ["True"] * 3


def test_the_log_shows_the_command_with_its_exit_code(lab: Lab, shell_run: Json) -> None:
    items = [
        line["event"]["item"]
        for line in lab.log(shell_run)
        if line.get("event", {}).get("type") == "item.completed"
    ]
    (command,) = [item for item in items if item["type"] == "command_execution"]
    assert command["exit_code"] == 0
    assert "made by codex" in command["aggregated_output"]


def test_what_is_known_at_the_end_is_on_the_status(shell_run: Json) -> None:
    status = shell_run["status"]
    usage = status["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0
    assert usage["requests"] == 2  # one that asks for the command, one that says the message
    assert usage["complete"] is True
    assert usage["costMicroUSD"] > 0
    assert usage["cost"].startswith("$")
    assert status["startedAt"] <= status["finishedAt"]
    assert status["duration"].endswith("s")
    assert status["threadId"]
    assert status["prompt"]["version"] == "v1"
    assert (status["attempt"], status["model"]) == (1, "gpt-5.5")


def test_the_pod_is_restricted(lab: Lab, shell_run: Json) -> None:
    spec = lab.pod(shell_run).spec
    for container in (*spec.init_containers, *spec.containers):
        security = container.security_context
        assert security.run_as_user >= 10000
        assert security.read_only_root_filesystem is True
        assert security.allow_privilege_escalation is False
        assert security.capabilities.drop == ["ALL"]
    assert spec.security_context.seccomp_profile.type == "RuntimeDefault"
    assert spec.automount_service_account_token is False
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    assert lab.core.read_namespace("codexrun").metadata.labels.items() >= labels.items()


def test_code_mode(lab: Lab) -> None:
    """Models such as gpt-6-sol call tools from a script only; Codex needs its code-mode host beside
    it."""
    run = lab.ended(lab.run(lab.job_type(model="gpt-6-sol"), "code-mode"))
    status = run["status"]
    assert status["phase"] == "Succeeded", status
    assert "written in code mode" in status["result"]["message"]
    assert status["usage"]["costMicroUSD"] > 0


AWKWARD = {
    "dollars": "$$ $(HOME) ${HOME} $HOME `id`",
    "quotes": "'single' \"double\" \\ back\\\\slash \\n",
    "newlines": "one\ntwo\r\nthree\n\n",
    "braces": "{{ {{name}} }} {{text}} {% if %}",
    "emoji": "π 🚀 e\u0301 \u202e rtl \u0000".replace("\u0000", "\u0001"),
    "64 KiB": "0123456789abcdef" * 4080,
}


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD)
def test_inputs_reach_the_prompt_byte_for_byte(lab: Lab, echo_type: str, text: str) -> None:
    run = lab.ended(lab.run(echo_type, inputs={"text": text}))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    expected = f"scenario: echo\n{text}|".encode()
    arrived = json.loads(run["status"]["result"]["message"])
    assert arrived == {"sha256": hashlib.sha256(expected).hexdigest(), "bytes": len(expected)}


@pytest.fixture(scope="module")
def echo_type(lab: Lab) -> str:
    return lab.job_type(prompt=lab.prompt("scenario: echo\n{{text}}|"))


def test_a_second_prompt_version_where_the_job_type_allows_it(lab: Lab) -> None:
    name = lab.prompt()
    lab.prompt_version(name, "v2", "Version two.\nscenario: {{scenario}}\n")
    job_type = lab.job_type(prompt=name)
    lab.kubectl(
        "patch", "cjt", job_type, "--type=merge", "-p", '{"spec":{"prompt":{"allowOverride":true}}}'
    )
    run = lab.ended(lab.run(job_type, "message", promptVersion="v2"))
    assert (run["status"]["phase"], run["status"]["prompt"]["version"]) == ("Succeeded", "v2")
