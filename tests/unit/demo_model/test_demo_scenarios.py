"""What the demo model plays, step by step, and what it counts."""

import json
import re

import pytest

from codexrun_demo_model.conversation import ModelRequest, Turns, read
from codexrun_demo_model.real_models import ENCRYPTED
from codexrun_demo_model.replies import Reply, Usage, say
from codexrun_demo_model.scenarios import SCENARIOS, reply
from codexrun_demo_model.stream import capped, count, events

CONTEXT = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "<environment_context>x</environment_context>"}],
}
TOOLS = [{"type": "function", "name": "exec_command"}]


def user(text):
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def output(text, kind="function_call_output"):
    return {"type": kind, "call_id": "c", "output": text}


def headers(turn="t", thread="th", kind="turn"):
    return {
        "thread-id": thread,
        "x-codex-turn-metadata": json.dumps({"turn_id": turn, "request_kind": kind}),
    }


CHOICES = [
    ("none: hello", [CONTEXT, user("Say hello to Ada.")], "hello"),
    ("named", [CONTEXT, user("scenario: stall")], "stall"),
    ("with a number", [user("do it\nscenario:  slow-60 please")], "slow-60"),
    (
        "the last line of the first message that names one",
        [user("scenario: a\nscenario: b"), user("scenario: c")],
        "b",
    ),
    ("what tools print does not choose", [user("hi"), output("scenario: stall")], "hello"),
    ("a plain string as input", "scenario: echo", "echo"),
]


@pytest.mark.parametrize(("items", "name"), [c[1:] for c in CHOICES], ids=[c[0] for c in CHOICES])
def test_the_scenario_is_chosen_by_the_prompt(items, name):
    assert read({"input": items}, {}, 0).scenario == name


def test_code_mode_is_seen_by_the_tools():
    assert not read({"input": [], "tools": TOOLS}, {}, 0).code_mode
    assert read({"input": [{"type": "additional_tools", "tools": []}]}, {}, 0).code_mode


@pytest.mark.parametrize("metadata", ["", "{", "[]", "7"])
def test_broken_metadata_is_none(metadata):
    assert read({"input": []}, {"x-codex-turn-metadata": metadata}, 0).compaction is False


def test_steps_count_distinct_requests_of_a_turn():
    turns = Turns()

    def place(items, **head):
        asked = read({"input": items, "tools": TOOLS}, headers(**head), 0)
        placed = turns.place(asked, {"input": items}, headers(**head))
        return placed.step, placed.attempt

    first = [user("scenario: runaway")]
    second = [user("scenario: runaway"), output("x")]
    assert place(first) == (0, 0)
    assert place(first) == (0, 1), "a retry is the same step"
    assert place(second) == (1, 0)
    assert place([user("Summary: ...")], kind="compaction") == (0, 0), "a compaction is no step"
    assert place([user("after a compaction, without the scenario's text")]) == (2, 0)
    assert place(first, turn="u") == (0, 0), "another turn"
    assert place(first, thread="other") == (0, 0), "another thread"


def test_a_compaction_does_not_lose_the_scenario():
    turns = Turns()
    body = {"input": [user("scenario: runaway")]}
    turns.place(read(body, headers(), 0), body, headers())
    later = {"input": [user("a summary")]}
    assert turns.place(read(later, headers(), 0), later, headers()).scenario == "runaway"
    assert (
        reply(ModelRequest(scenario="runaway", compaction=True))
        .items[0]["content"][0]["text"]
        .startswith("Summary")
    )


def test_every_scenario_answers_and_is_described():
    for scenario in SCENARIOS:
        name = scenario.name.replace("<n>", "3")
        for step in range(3):
            answer = reply(ModelRequest(scenario=name, step=step, output="Output:\nx"))
            assert isinstance(answer, Reply), name
            assert answer.status != 400, name
        assert re.fullmatch(r"[a-z0-9-]+(<n>)?", scenario.name)
        assert scenario.description


def test_an_unknown_scenario_is_a_400_that_lists_the_known_ones():
    answer = reply(ModelRequest(scenario="nope"))
    assert answer.status == 400
    assert "runaway" in answer.body["error"]["message"]


def said(answer):
    return answer.items[0]["content"][0]["text"]


@pytest.mark.parametrize(
    ("prompt", "greeting"),
    [
        ("Say hello to world in one short, friendly sentence.\n\nDo not run", "Hello, world!"),
        (
            "Say hello to Ada O'Neil & sons in one short, friendly sentence.",
            "Hello, Ada O'Neil & sons!",
        ),
        ("Greet Bob.", "Hello, Bob!"),
        ("name: Zoë\n", "Hello, Zoë!"),
        ("Write something.", "Hello, there!"),
    ],
)
def test_hello_greets_whom_the_prompt_names(prompt, greeting):
    assert said(reply(ModelRequest(prompt=prompt, step=1))) == greeting


def test_shell_runs_the_prompts_command_and_says_what_it_printed():
    asked = ModelRequest(scenario="shell", prompt="scenario: shell\ncommand: ls | wc -l\nmore")
    arguments = json.loads(reply(asked).items[0]["arguments"])
    assert arguments["cmd"] == "ls | wc -l"
    done = ModelRequest(
        scenario="shell", step=1, output="Chunk ID: 1\nWall time: 0 s\nOutput:\n42\n"
    )
    assert said(reply(done)) == "42"
    code_mode = ModelRequest(
        scenario="shell",
        step=1,
        output='Script completed\nOutput:\n\n{"exit_code":0,"output":"42\\n"}',
    )
    assert said(reply(code_mode)) == "42"


def test_a_command_that_still_runs_is_waited_for():
    running = ModelRequest(
        scenario="sleep-60", step=1, output="Process running with session ID 26659\nOutput:\n"
    )
    item = reply(running).items[0]
    assert item["name"] == "write_stdin"
    assert json.loads(item["arguments"])["session_id"] == 26659
    assert (
        "write_stdin"
        in reply(
            ModelRequest(scenario="sleep-60", step=1, code_mode=True, output='{"session_id":7}')
        ).items[0]["input"]
    )


def test_code_mode_calls_from_a_script():
    item = reply(ModelRequest(scenario="hello", code_mode=True)).items[0]
    assert (item["type"], item["name"]) == ("custom_tool_call", "exec")
    assert "tools.exec_command(" in item["input"]


THOUGHT = {"type": "reasoning", "encrypted_content": ENCRYPTED}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
CAME_BACK = [
    ("reasoning", 1, [THOUGHT], "The encrypted reasoning came back."),
    ("reasoning", 1, [{"type": "reasoning"}], "The encrypted reasoning was lost."),
    ("web-search", 1, [{"type": "web_search_call"}], "1 search in the conversation."),
    ("web-search", 1, [], "0 search in the conversation."),
    ("tool-search", 1, [{"type": "tool_search_output", "tools": [{}]}], "1 answers with 1 tools."),
    ("view-image", 2, [output([IMAGE])], "1 image in the conversation."),
    ("view-image", 2, [], "0 image in the conversation."),
    ("resume", 1, [output("x")], "The first half is done; 1 results and 0 answers came back."),
    (
        "resume",
        1,
        [{"type": "message", "role": "assistant"}],
        "The other half is done; 0 results and 1 answers came back.",
    ),
]


@pytest.mark.parametrize(("scenario", "step", "items", "message"), CAME_BACK)
def test_scenarios_of_real_models_say_what_came_back(scenario, step, items, message):
    asked = ModelRequest(scenario=scenario, step=step, items=tuple(items))
    assert said(reply(asked)) == message


# usage and streams


def test_tokens_are_counted_from_bytes_unless_the_scenario_fixes_them():
    asked = ModelRequest(body_bytes=4000)
    usage = count(asked, say("x" * 100), cached_before=700)
    assert (usage.input, usage.cached) == (1000, 640)
    assert 25 < usage.output < 80
    assert count(asked, say("x", usage=Usage(1, 2)), 0) == Usage(1, 2)
    assert count(asked, say("x", usage="none"), 0) is None


def test_a_cap_on_output_makes_the_response_incomplete():
    answer, usage = capped(
        ModelRequest(max_output_tokens=16), say("long"), Usage(100, 50, reasoning=40)
    )
    assert (answer.ending, answer.error) == ("incomplete", {"reason": "max_output_tokens"})
    assert usage == Usage(100, 16, 0, 16)
    unchanged = say("short")
    assert capped(ModelRequest(max_output_tokens=50), unchanged, Usage(100, 50)) == (
        unchanged,
        Usage(100, 50),
    )


def kinds(answer, usage=None):
    return [
        json.loads(chunk.data.split(b"data: ")[1])["type"]
        for chunk in events("r", "m", answer, usage)
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (say("x"), ["response.created", "response.output_item.done", "response.completed"]),
        (
            say("x", seconds=2),
            [
                "response.created",
                *["response.output_text.delta"] * 2,
                "response.output_item.done",
                "response.completed",
            ],
        ),
        (Reply(), ["response.created", "response.completed"]),
        (Reply(ending="silence"), ["response.created"]),
        (Reply(ending="cut"), ["response.created"]),
        (Reply(ending="failed", error={"code": "c"}), ["response.created", "response.failed"]),
        (
            Reply(ending="incomplete", error={"reason": "r"}),
            ["response.created", "response.incomplete"],
        ),
    ],
)
def test_the_events_of_a_stream(answer, expected):
    assert kinds(answer, Usage(1, 2)) == expected


def test_usage_is_on_the_wire_as_codex_wants_it():
    last = json.loads(
        list(events("r1", "m", say("x"), Usage(100, 20, 40, 5)))[-1].data.split(b"data: ")[1]
    )
    assert last["response"]["id"] == "r1"
    assert last["response"]["usage"] == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120,
    }
