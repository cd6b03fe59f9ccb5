"""Canaries: values of Secrets that an agent prints, encodes and writes into files are in nothing
that leaves its container, and what they spoil is said."""

import base64
import json
import subprocess
from pathlib import Path
from urllib.parse import quote

from codex_stand import KEY
from providers import Provider, serve
from verdicts import status_of

CANARY = "c4n/ry+t0ken=71"
COMMAND = (
    "echo $TOKEN; echo $TOKEN > note.txt; printf x$TOKEN | base64; printf xy$TOKEN | base64;"
    ' python3 -c \'import os, json, urllib.parse as u; t = os.environ["TOKEN"];'
    ' print(u.quote(t, safe=""), json.dumps(json.dumps(t)))\''
)


def git(at: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    return subprocess.run(
        ["git", *who, *arguments], cwd=at, check=True, capture_output=True, text=True
    ).stdout


def repository(at: Path) -> None:
    git(at, "init", "-q")
    (at / "a.txt").write_text("before\n")
    git(at, "add", "a.txt")
    git(at, "commit", "-qm", "first")


def forms(secret: str) -> list[bytes]:
    """What a reader would search for, made otherwise than by the masks."""
    texts = [secret, quote(secret, safe="")]
    for before in ("", "x", "xy"):
        # its first and last characters depend on what stands around it
        texts.append(base64.b64encode((before + secret).encode()).decode()[4:-4])
    return [text.encode() for text in texts]


def everything(pod, artifacts: dict[str, bytes]) -> dict[str, bytes]:
    """All that leaves the agent's container or is stored of the run, by where it is."""
    files = [pod.root / f"{name}-message" for name in ("runner", "gate")]
    files += [pod.root / "agent.log", pod.root / "gate.log"]
    files += [path for path in (pod.root / "gate-state").rglob("*") if path.is_file()]
    return {**artifacts, **{str(path): path.read_bytes() for path in files if path.exists()}}


def assert_nowhere(secret: str, places: dict[str, bytes]) -> None:
    for form in forms(secret):
        for name, content in places.items():
            assert form not in content, (form, name)


def test_a_canary_is_nowhere(pod, artifacts):
    repository(pod.workspace)
    pod.start_gate()
    prompt = f"scenario: shell\ncommand: {COMMAND}"
    pod.start_runner(prompt, env={"TOKEN": CANARY}, maskEnv=["TOKEN"], git=True)
    result = pod.end()
    assert result.code == 0, result
    assert (pod.workspace / "note.txt").read_text().strip() == CANARY, "the agent has it"
    assert "***" in result.runner["finalMessage"]
    assert {"log", "final-message.md", "rollout.jsonl"} <= artifacts.keys()
    places = everything(pod, artifacts)
    assert_nowhere(CANARY, places)
    for name, content in places.items():
        assert KEY.encode() not in content, name
    for line in artifacts["rollout.jsonl"].splitlines():
        json.loads(line)
    # the patch has a line with it: withheld, and said
    assert "workspace.patch" not in artifacts
    (warning,) = result.runner["warnings"]
    assert "workspace.patch is withheld" in warning
    assert "TOKEN" in warning
    (line,) = [line for line in result.lines if line.get("text") == "artifact.left_out"]
    assert "TOKEN" in line["reason"]


class Quoting(Provider):
    """Refuses the second request, and quotes what the command has printed, as vLLM does
    (https://github.com/vllm-project/vllm/issues/45273)."""

    def items(self, body):
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1"}
        return [call | {"name": "exec_command", "arguments": '{"cmd": "echo $TOKEN"}'}]

    def refuse(self, body):
        printed = [item for item in body["input"] if item["type"] == "function_call_output"]
        if printed:
            assert CANARY in printed[0]["output"]
            words = f"1 validation error: {{'loc': ('body', 'input'), 'input': {printed}}}"
            self.error(400, message=words)
        return bool(printed)


def test_a_canary_that_the_provider_quotes_is_nowhere(pod, artifacts):
    with serve(Quoting) as server:
        pod.start_gate(**server.gate_settings)
        pod.start_runner("say it", env={"TOKEN": CANARY}, maskEnv=["TOKEN"])
        result = pod.end()
    assert len(server.requests) == 2
    failure = status_of(result.code, result.runner, result.gate).failure
    assert failure.class_ == "model_error"
    assert "1 validation error" in failure.message
    assert "***" in failure.message
    assert_nowhere(CANARY, everything(pod, artifacts))
    for half in (CANARY[:8], CANARY[-8:]):
        assert half not in failure.message


def test_a_canary_that_an_mcp_server_prints_as_it_fails_is_nowhere(pod, artifacts):
    pod.start_gate()
    command = ["sh", "-c", "echo $TOKEN >&2; echo $TOKEN; exit 3"]
    server = {"name": "tracker", "command": command, "env": ["TOKEN"]}
    pod.start_runner(
        "scenario: message",
        env={"TOKEN": CANARY},
        maskEnv=["TOKEN"],
        mcpServers=[server],
        allowedTools=["mcp:tracker"],
    )
    result = pod.end()
    assert result.code == 1
    assert "tracker" in result.runner["failure"]["message"]
    assert_nowhere(CANARY, everything(pod, artifacts))


def test_a_canary_in_a_binary_file_withholds_the_patch(pod, artifacts):
    repository(pod.workspace)
    pod.start_gate()
    prompt = 'scenario: shell\ncommand: printf "\\\\000$TOKEN" > data.bin'
    pod.start_runner(prompt, env={"TOKEN": CANARY}, maskEnv=["TOKEN"], git=True)
    result = pod.end()
    assert CANARY.encode() in (pod.workspace / "data.bin").read_bytes()
    assert "workspace.patch" not in artifacts
    assert "workspace.patch is withheld" in result.runner["warnings"][0]


def test_ordinary_values_spoil_nothing(pod, artifacts):
    """A flag of one character, and configuration that is no Secret: results stay as they are."""
    repository(pod.workspace)
    pod.start_gate()
    pod.start_runner(
        "scenario: shell\ncommand: echo eu 1 production > region.txt; cat region.txt",
        env={"FLAG": "1", "REGION": "production"},
        maskEnv=["FLAG"],
        git=True,
    )
    result = pod.end()
    assert result.code == 0, result
    assert "eu 1 production" in result.runner["finalMessage"]
    patch = pod.root / "patch"
    patch.write_bytes(artifacts["workspace.patch"])
    git(pod.workspace, "stash", "-qu")
    git(pod.workspace, "apply", str(patch))
    assert (pod.workspace / "region.txt").read_text() == "eu 1 production\n"
    (warning,) = result.runner["warnings"]
    assert warning.startswith("FLAG in the job type's env")
