"""What real models do beside messages and commands comes through the gate, with each Codex: nothing
of it is taken out or refused, and it comes back in the next request."""

import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from codex_stand import Pod
from ingest_stand import Ingest
from tool_calls import ALL

CLASSIC = "gpt-5.5"
CODE = "gpt-6-sol"


@pytest.fixture
def pod(tmp_path, each_codex, demo):
    one = Pod(tmp_path, each_codex, demo)
    yield one
    one.clear()


def play(pod, scenario, model=CLASSIC, tools=ALL, **more):
    pod.start_gate(allowedTools=tools, allowedEfforts=["high"])
    pod.start_runner(
        f"scenario: {scenario}", model=model, effort="high", allowedTools=tools, **more
    )
    result = pod.end()
    assert "droppedKeys" not in result.gate
    return result


SCENES = [
    ("reasoning", "The encrypted reasoning came back."),
    ("web-search", "1 search in the conversation."),
    ("view-image", "1 image in the conversation."),
    ("compaction", "Went on after the compaction."),
    ("resume", "The first half is done; 1 results and 0 answers came back."),
]


@pytest.mark.parametrize("model", [CLASSIC, CODE])
@pytest.mark.parametrize(("scenario", "message"), SCENES, ids=[scene[0] for scene in SCENES])
def test_it_comes_through_and_back(pod, scenario, message, model):
    result = play(pod, scenario, model)
    assert (result.code, result.runner["finalMessage"]) == (0, message), result
    assert result.gate["complete"]
    if scenario == "compaction":
        assert (pod.workspace / "steps.txt").read_text() == "0\n1\ncompacted\n"


@pytest.mark.parametrize("model", [CLASSIC, CODE])
def test_tools_that_codex_has_not_shown_are_found(pod, model):
    command = [
        sys.executable,
        str(Path(__file__).with_name("mcp_server.py")),
        str(pod.root / "mcp"),
    ]
    result = play(pod, "tool-search", model, mcpServers=[{"name": "t", "command": command}])
    assert result.code == 0, result
    assert result.runner["finalMessage"].startswith("1 answers with"), result


def test_an_image_that_the_provider_has_made_ends_the_run(pod):
    result = play(pod, "image-output")
    assert (result.code, result.gate["stop"]["class"]) == (1, "guardrail")
    assert "image_generation_call" in result.gate["stop"]["message"]


@pytest.fixture
def api():
    handler = type("ThisApi", (Ingest,), {"kept": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("model", [CLASSIC, CODE])
def test_a_conversation_that_is_resumed(tmp_path_factory, each_codex, demo, api, model):
    handler, url = api
    first = Pod(tmp_path_factory.mktemp("first"), each_codex, demo)
    second = Pod(tmp_path_factory.mktemp("second"), each_codex, demo)
    try:
        assert play(first, "resume", model).code == 0
        (rollout,) = (first.root / "home/.codex/sessions").rglob("*.jsonl")
        handler.rollout = rollout.read_bytes()
        (second.root / "ingest-token").write_text("token")
        second.start_gate(ingest=url, allowedTools=ALL)
        second.start_runner("another prompt", model=model, resume=True, allowedTools=ALL)
        result = second.end()
    finally:
        first.clear()
        second.clear()
    assert result.code == 0, result
    message = "The other half is done; 2 results and 1 answers came back."
    assert result.runner["finalMessage"] == message
    assert "droppedKeys" not in result.gate
