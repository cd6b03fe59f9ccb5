"""Which tools pass the gate: in requests, and in what the model answers."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.codex import tools
from codexrun_pod.gate.policy.rules import admit
from codexrun_pod.gate.policy.tools import forbidden_call
from codexrun_pod.gate.policy.verdicts import Admitted, Denied, Limits
from codexrun_pod.gate.sse import EventStream

ALL = frozenset({"apply_patch", "mcp:t", "shell", "view_image", "web_search"})
PLAIN = {"model": "m", "stream": True, "store": False, "input": []}
NESTED = (
    "### `{0}`\nexec tool declaration:\n```ts\ndeclare const tools: {{ {0}(args: {{ a: string }}):"
    " Promise<unknown>; }};\n```\n"
)


def offer(*names):
    return [{"type": "function", "name": name} for name in names]


def code_mode(*names):
    described = {
        "type": "custom",
        "name": "exec",
        "description": "Run JavaScript\n" + "".join(map(NESTED.format, names)),
    }
    return [
        {
            "type": "additional_tools",
            "tools": [{"type": "namespace", "name": "functions", "tools": [described]}],
        }
    ]


def sent(body, allowed):
    verdict = admit(
        json.dumps({**PLAIN, **body}).encode(),
        Limits(models=frozenset({"m"}), tools=frozenset(allowed)),
    )
    assert isinstance(verdict, Admitted), verdict
    return json.loads(verdict.body), verdict.stripped


OFFERS = [
    (
        "a shell, where none is allowed",
        {"shell"},
        offer("exec_command", "write_stdin", "apply_patch"),
        ["apply_patch"],
    ),
    ("view_image", {"view_image"}, offer("view_image", "exec_command"), ["exec_command"]),
    (
        "a tool that Codex does not have",
        set(),
        offer("launch_rocket", "exec_command"),
        ["exec_command"],
    ),
    (
        "harmless ones",
        {"shell", "apply_patch"},
        offer("update_plan", "sleep"),
        ["update_plan", "sleep"],
    ),
]


@pytest.mark.parametrize(
    ("without", "offered", "left"), [o[1:] for o in OFFERS], ids=[o[0] for o in OFFERS]
)
def test_what_is_not_allowed_is_taken_out(without, offered, left):
    body, stripped = sent({"tools": offered}, ALL - without)
    assert [tool["name"] for tool in body["tools"]] == left
    assert stripped == {tool["name"] for tool in offered} - set(left)


def test_tools_of_an_mcp_server_are_taken_out_one_by_one():
    space = {"type": "namespace", "name": "mcp__t", "tools": offer("alpha", "be-ta")}
    body, stripped = sent({"tools": [space]}, {"mcp:t/be-ta"})
    assert [tool["name"] for tool in body["tools"][0]["tools"]] == ["be-ta"]
    assert stripped == {"mcp__t__alpha"}


def test_a_request_whose_tools_are_allowed_is_not_touched():
    given = {
        "tools": offer("exec_command", "apply_patch"),
        "input": code_mode("exec_command", "list_mcp_resources"),
    }
    body, stripped = sent(given, tools.DEFAULT_TOOLS)
    assert (body["tools"], body["input"], stripped) == (given["tools"], given["input"], frozenset())


@pytest.mark.parametrize(
    "name", ["exec_command", "apply_patch", "view_image", "mcp__t__alpha", "spawn_agent"]
)
def test_code_mode_must_not_offer_to_scripts_what_is_not_allowed(name):
    """It stands in a text, and its calls would hide in one: nothing could be taken out."""
    body = json.dumps({**PLAIN, "input": code_mode("list_mcp_resources", name)}).encode()
    refused = admit(body, Limits(models=frozenset({"m"}), tools=frozenset()))
    assert isinstance(refused, Denied)
    assert (refused.code, refused.final, name in refused.message) == ("guardrail", True, True)


def test_web_search_passes_where_it_is_allowed():
    body, _ = sent({"tools": [{"type": "web_search"}]}, {"web_search"})
    assert body["tools"] == [{"type": "web_search"}]


def function(name, **more):
    return {"type": "function_call", "name": name, "arguments": "{}", **more}


def script(source):
    return {"type": "custom_tool_call", "name": "exec", "input": source}


FORBIDDEN = [
    # item, the entry without which it is forbidden
    (function("exec_command"), "shell"),
    (function("write_stdin"), "shell"),
    (function("container.exec"), "shell"),
    ({"type": "local_shell_call", "action": {}}, "shell"),
    (
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch"},
        "apply_patch",
    ),
    ({"type": "apply_patch_call"}, "apply_patch"),
    (function("view_image"), "view_image"),
    (function("alpha", namespace="mcp__t"), "mcp:t"),
    (function("mcp__t__alpha"), "mcp:t"),
    (function("read_mcp_resource", arguments='{"server": "t", "uri": "x"}'), "mcp:t"),
    ({"type": "web_search_call"}, "web_search"),
    (script('await tools.exec_command({cmd: "ls"})'), "shell"),
    (script('const {exec_command: go} = tools; await go({cmd: "ls"})'), "shell"),
    (script('await tools["exec_command"]({cmd: "ls"})'), "shell"),
    (script('await tools.\\u0065xec_command({cmd: "ls"})'), "shell"),
    (script('await tools["\\x65xec_command"]({cmd: "ls"})'), "shell"),
    (script("await tools.apply_patch(`*** Begin Patch`)"), "apply_patch"),
    (script('await tools.view_image({path: "x"})'), "view_image"),
    (script("await tools.mcp__t__alpha({})"), "mcp:t"),
]


@pytest.mark.parametrize(
    ("item", "entry"),
    FORBIDDEN,
    ids=lambda value: json.dumps(value)[:90] if isinstance(value, dict) else "",
)
def test_a_call_needs_its_entry(item, entry):
    event = {"type": "response.output_item.done", "item": item}
    assert forbidden_call(event, ALL, ()) is None
    assert forbidden_call(event, ALL - {entry}, ()) is not None
    assert (
        forbidden_call(
            {"type": "response.completed", "response": {"output": [item]}}, ALL - {entry}, ()
        )
        is not None
    )


@pytest.mark.parametrize(
    "kind",
    [
        "mcp_call",
        "code_interpreter_call",
        "image_generation_call",
        "computer_call",
        "brand_new_call",
    ],
)
def test_what_the_provider_would_run_is_never_allowed(kind):
    assert forbidden_call({"item": {"type": kind}}, ALL, ()) == kind


HARMLESS = [
    {"type": "message", "content": [{"type": "output_text", "text": "exec_command"}]},
    {"type": "reasoning", "summary": []},
    function("update_plan"),
    function("python"),  # hallucinated: Codex says that there is no such tool
    function("list_mcp_resources"),
    script('text("shell and web_search are words")'),
    script("await tools.list_mcp_resources({})"),
    {"type": "tool_search_call"},
]


@pytest.mark.parametrize("item", HARMLESS, ids=lambda item: json.dumps(item)[:60])
def test_what_reaches_nothing_passes(item):
    assert forbidden_call({"item": item}, (), ()) is None


def test_a_tool_that_was_taken_out_is_not_called():
    assert (
        forbidden_call({"item": function("launch_rocket")}, ALL, {"launch_rocket"})
        == "launch_rocket"
    )


def test_a_hundred_calls_and_not_a_byte_of_one_passes():
    """13 rounds of 19 calls, cut into chunks at random: what comes before the call passes, and
    nothing from it on."""
    chance = random.Random(6)
    tries = 0
    for _ in range(13):
        for item, entry in FORBIDDEN:
            created = b'data: {"type":"response.created","response":{"id":"r"}}\n\n'
            done = json.dumps({"type": "response.output_item.done", "item": item})
            stream = (
                created
                + f"event: x\ndata: {done}\n\n".encode()
                + b'data: {"type":"response.completed","response":{}}\n\n'
            )
            allowed = ALL - {entry}
            watch = EventStream(lambda event, allowed=allowed: forbidden_call(event, allowed, ()))
            passed = b""
            position = 0
            while position < len(stream):
                size = chance.randint(1, 60)
                passed += watch.feed(stream[position : position + size])
                position += size
            assert passed == created
            assert watch.called
            assert watch.last is not None, "its usage is read all the same"
            tries += 1
    assert tries == 247


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["type", "name", "item", "input", "arguments"]), inner)
    ),
)


@given(ANY_JSON, ANY_JSON)
def test_no_answer_breaks_it(item, response):
    forbidden_call({"item": item, "response": response}, ALL, ())


@given(st.text())
def test_an_unknown_name_is_never_allowed(name):
    entry = tools.required_entry(name)
    if not tools.is_known(name):
        assert not tools.permits(ALL, entry)
