"""A tool that the job type does not allow is not executed: each layer alone, for each tool, in
classic and in code mode.

The other layers are told that everything is allowed, which no job type can do: it has one list for
all of them.
"""

import json
import sys
from pathlib import Path

import pytest
from tool_calls import ALL, CALLS, CLASSIC, CODE, KINDS, SEARCH, executed, others, play, script

from codexrun_core.codex import policy as codex_policy

BY_TOOL = pytest.mark.parametrize(
    ("tool", "model"), KINDS, ids=[f"{tool} {model}" for tool, model in KINDS]
)


@BY_TOOL
def test_what_is_allowed_is_executed(pod, tool, model):
    """With all layers in force; without this the other tests would prove nothing."""
    policy = codex_policy.requirements(ALL, "pod", hooks=str(pod.hooks))
    result = play(pod, CALLS[tool, model], model=model, policy=policy)
    assert result.code == 0, result
    assert executed(pod), result


@BY_TOOL
def test_codex_s_configuration_alone(pod, tool, model):
    result = play(pod, CALLS[tool, model], model=model, config=others(tool))
    assert not executed(pod)
    assert result.code == 0, "Codex tells the model that there is no such tool, and the run goes on"
    assert "stop" not in result.gate


@pytest.mark.parametrize(("tool", "model"), [kind for kind in KINDS if kind[0] != "apply_patch"])
def test_the_managed_policy_alone(pod, tool, model):
    """What config.toml, flags and the agent cannot change. It has no word for apply_patch."""
    result = play(
        pod, CALLS[tool, model], model=model, policy=codex_policy.policy(others(tool), "pod")
    )
    assert not executed(pod), result
    assert result.code == 0


@BY_TOOL
def test_the_gate_alone(pod, tool, model):
    result = play(pod, CALLS[tool, model], model=model, gate=others(tool))
    assert not executed(pod)
    assert (result.code, result.gate["stop"]["class"]) == (1, "guardrail")
    assert "allowedTools" in result.gate["stop"]["message"]
    if model == CLASSIC:
        assert (result.gate["requests"], result.gate["complete"]) == (
            1,
            True,
        ), "what the model said is paid and counted"


@BY_TOOL
def test_the_hook_alone(pod, tool, model):
    policy = codex_policy.hook(others(tool), str(pod.hooks))
    result = play(pod, CALLS[tool, model], model=model, policy=policy)
    assert not executed(pod)
    assert (result.code, result.failure) == (1, "guardrail")
    assert "was about to use" in result.runner["failure"]["message"]


@pytest.mark.parametrize(("tool", "model"), [kind for kind in KINDS if kind[0] != "view_image"])
def test_the_event_stream_alone_ends_the_run(pod, tool, model):
    """It hears of a call when that has begun, and not of view_image: so it is the last layer, and
    not the only one."""
    audited = [
        entry for entry in ALL if entry not in (tool, "shell" if tool == "apply_patch" else tool)
    ]
    result = play(pod, CALLS[tool, model], model=model, audited=audited)
    assert (result.code, result.failure) == (1, "guardrail")
    assert "Codex used" in result.runner["failure"]["message"]


def test_web_search_is_not_offered_unless_allowed(pod):
    """The provider runs it: the gate would refuse a request that offers it."""
    result = play(
        pod, CALLS["shell", CLASSIC], config=others("web_search"), gate=others("web_search")
    )
    assert (result.code, "stop" in result.gate) == (0, False)


def test_the_gate_refuses_a_request_that_offers_web_search(pod):
    result = play(pod, CALLS["shell", CLASSIC], gate=others("web_search"))
    assert (result.code, result.gate["requests"], result.gate["stop"]["class"]) == (
        1,
        0,
        "guardrail",
    )
    assert "web_search" in result.gate["stop"]["message"]


def test_a_search_that_comes_all_the_same_ends_the_run(pod):
    result = play(pod, SEARCH, config=others("web_search"), gate=others("web_search"))
    assert result.gate["stop"]["class"] == "guardrail"


def test_one_tool_of_a_server_is_not_the_other(pod):
    """In code mode, with the name put together at run time: no source tells it, the hook sees
    it."""
    only_beta = [*others("mcp:t"), "mcp:t/beta"]
    item = script(
        'const r = await tools["mcp__t__" + "al" + "pha"]({a: "1"}); text(JSON.stringify(r));'
    )
    policy = codex_policy.hook(only_beta, str(pod.hooks))
    result = play(pod, item, model=CODE, gate=only_beta, policy=policy)
    assert not executed(pod)
    assert (result.code, result.failure) == (1, "guardrail")
    assert "mcp__t__alpha" in result.runner["failure"]["message"]


def test_a_server_that_cannot_be_reached_ends_the_run_and_is_named(pod):
    pod.start_gate(allowedTools=ALL)
    nowhere = {"name": "t", "url": "http://127.0.0.1:1/mcp", "bearerTokenEnv": "TOKEN"}
    pod.start_runner(
        "scenario: message", allowedTools=ALL, mcpServers=[nowhere], env={"TOKEN": "x"}
    )
    result = pod.end()
    assert (result.code, result.failure, result.gate["requests"]) == (1, "agent_error", 0)
    assert "http://127.0.0.1:1/mcp" in result.runner["failure"]["message"]


def test_a_server_gets_the_variables_that_it_names(pod):
    (pod.root / "env.py").write_text(
        "import os, sys; sys.argv = ['', sys.argv[1] + os.environ.get('TRACKER', '-') +"
        " os.environ.get('OTHER',"
        f" '-')]\nexec(open({str(Path(__file__).with_name('mcp_server.py'))!r}).read())\n"
    )
    command = [sys.executable, str(pod.root / "env.py"), str(pod.root / "mcp-")]
    pod.start_gate(allowedTools=ALL)
    pod.start_runner(
        f"scenario: call-1\ncall: {json.dumps(CALLS['mcp:t', CLASSIC])}",
        allowedTools=ALL,
        mcpServers=[{"name": "t", "command": command, "env": ["TRACKER"]}],
        env={"TRACKER": "given", "OTHER": "kept"},
    )
    assert pod.end().code == 0
    assert (pod.root / "mcp-given-").exists()


@pytest.mark.parametrize("model", [CLASSIC, CODE])
def test_no_tools_at_all(pod, model):
    result = play(
        pod,
        CALLS["shell", model],
        model=model,
        config=[],
        gate=[],
        audited=[],
        policy=codex_policy.requirements([], "pod", hooks=str(pod.hooks)),
    )
    assert not executed(pod)
    assert (result.code, result.gate["stop"]["class"]) == (1, "guardrail")


# A hundred tries: 13 of each of the eight calls (17 of the six that the policy knows). The gate
# ends a run at the first; its hundred are in tests/unit/pod/test_gate_tools.py.


@BY_TOOL
def test_thirteen_tries_against_codex_s_configuration(pod, tool, model):
    result = play(pod, CALLS[tool, model], model=model, times=13, config=others(tool))
    assert (executed(pod), result.gate["requests"]) == (False, 14)


@pytest.mark.parametrize(("tool", "model"), [kind for kind in KINDS if kind[0] != "apply_patch"])
def test_seventeen_tries_against_the_managed_policy(pod, tool, model):
    policy = codex_policy.policy(others(tool), "pod")
    result = play(pod, CALLS[tool, model], model=model, times=17, policy=policy)
    assert (executed(pod), result.gate["requests"]) == (False, 18)


@BY_TOOL
def test_thirteen_tries_against_the_hook(pod, tool, model):
    """It cannot leave its record here, so that nobody ends the run: it forbids all the same."""
    policy = codex_policy.hook(others(tool), str(pod.hooks))
    policy = policy.replace('command = "', f'command = "env CODEX_HOME={pod.root}/nowhere ')
    result = play(pod, CALLS[tool, model], model=model, times=13, policy=policy)
    assert (executed(pod), result.gate["requests"]) == (False, 14)
