"""What Codex's events add up to, and the verdict. The lines are Codex 0.169.0's own, cut to what
matters."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.codex.events import Event
from codexrun_pod.runner.codex.progress import (
    CodexExit,
    Failure,
    Progress,
    Stop,
    exit_code,
    find_failure,
    fold,
    unwrap_error,
)

THREAD = '{"type":"thread.started","thread_id":"01a20abe-ad05-73e0-88d5-a643e7fe6c6c"}'
WARNING = (
    '{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata not'
    ' found."}}'
)
TURN = '{"type":"turn.started"}'
SAID = (
    '{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":"hi from the'
    ' model"}}'
)
DONE = (
    '{"type":"turn.completed",'
    '"usage":{"input_tokens":100,"cached_input_tokens":40,"output_tokens":20}}'
)
STARTED = (
    '{"type":"item.started","item":{"id":"item_2","type":"command_execution","command":"/bin/bash'
    ' -c ls","aggregated_output":"","exit_code":null,"status":"in_progress"}}'
)
ENDED = (
    '{"type":"item.completed","item":{"id":"item_2","type":"command_execution","command":"/bin/bash'
    ' -c ls","aggregated_output":"out.txt\\n","exit_code":7,"status":"failed"}}'
)
REASONING = (
    '{"type":"item.completed","item":{"id":"item_1","type":"reasoning","text":"**Thinking** hard"}}'
)
RETRY = '{"type":"error","message":"Reconnecting... 1/5 (stream disconnected before completion)"}'
ERROR = (
    '{"type":"error","message":"unexpected status 401 Unauthorized: Incorrect API key provided"}'
)
FAILED = (
    '{"type":"turn.failed","error":{"message":"unexpected status 401 Unauthorized: Incorrect API'
    ' key provided"}}'
)
EMPTY = '{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":" \\n"}}'
MCP = (
    '{"type":"item.started","item":{"id":"item_3","type":"mcp_tool_call",'
    '"server":"t","tool":"alpha","status":"in_progress"}}'
)
REFUSED = {
    "error": {"type": "codexrun_refused", "code": "budget", "message": "the budget is used up"}
}
BUDGET = json.dumps({"type": "turn.failed", "error": {"message": json.dumps(REFUSED)}})


def progress_after(*lines):
    progress = Progress()
    for line in lines:
        progress = fold(progress, Event(json.loads(line)))
    return progress


FOLDS = [
    (
        "success",
        [THREAD, WARNING, TURN, SAID, DONE],
        {
            "thread_id": "01a20abe-ad05-73e0-88d5-a643e7fe6c6c",
            "turns": 1,
            "final_message": "hi from the model",
            "proven": True,
        },
    ),
    (
        "a warning before the thread",
        [WARNING, THREAD, TURN, SAID, DONE],
        {"proven": True, "turns": 1},
    ),
    (
        "a command that failed is no failure",
        [TURN, STARTED, ENDED, SAID, DONE],
        {"commands": 1, "proven": True},
    ),
    ("a command that runs", [TURN, STARTED], {"commands": 1, "open_items": frozenset({"item_2"})}),
    ("a command that ended", [TURN, STARTED, ENDED], {"commands": 1, "open_items": frozenset()}),
    (
        "a command told of only at its end",
        [TURN, ENDED],
        {"commands": 1, "open_items": frozenset()},
    ),
    (
        "a command left running when the turn ends",
        [TURN, STARTED, SAID, DONE],
        {"open_items": frozenset(), "proven": True},
    ),
    (
        "a tool of an MCP server may be silent too",
        [TURN, MCP],
        {"commands": 0, "open_items": frozenset({"item_3"})},
    ),
    (
        "the last message is the final one",
        [TURN, SAID, REASONING, SAID.replace("hi from", "bye from"), DONE],
        {"final_message": "bye from the model"},
    ),
    (
        "an empty message proves nothing",
        [TURN, EMPTY, DONE],
        {"proven": False, "turn_completed": True},
    ),
    ("no message proves nothing", [TURN, DONE], {"proven": False}),
    ("a message without the turn's end proves nothing", [TURN, SAID], {"proven": False}),
    ("a retry is no failure", [TURN, RETRY, SAID, DONE], {"proven": True}),
    (
        "a failed turn",
        [TURN, RETRY, ERROR, FAILED],
        {
            "turn_failed": True,
            "failure_text": "unexpected status 401 Unauthorized: Incorrect API key provided",
        },
    ),
    (
        "a failure without a text has the error's",
        [TURN, ERROR, '{"type":"turn.failed","error":null}'],
        {"failure_text": "unexpected status 401 Unauthorized: Incorrect API key provided"},
    ),
    (
        "a later turn that fails undoes the proof",
        [TURN, SAID, DONE, TURN, FAILED],
        {"proven": False, "turns": 2},
    ),
    (
        "a later turn that completes makes up for it",
        [TURN, FAILED, TURN, SAID, DONE],
        {"proven": True},
    ),
    ("a new turn needs a message of its own", [TURN, SAID, DONE, TURN, DONE], {"proven": False}),
    (
        "events of tomorrow",
        ['{"type":"turn.paused"}', '{"type":7}', "{}", '{"type":"item.completed"}'],
        {"turns": 0},
    ),
]


@pytest.mark.parametrize(("lines", "facts"), [f[1:] for f in FOLDS], ids=[f[0] for f in FOLDS])
def test_fold(lines, facts):
    progress = progress_after(*lines)
    assert {name: getattr(progress, name) for name in facts} == facts


PROVEN = [THREAD, TURN, SAID, DONE]
VERDICTS = [
    ("proven", PROVEN, CodexExit(0), None, ""),
    ("proven, and told to stop too late", PROVEN, CodexExit(0, Stop("signal", "")), None, ""),
    (
        "proven at the last moment before the timeout's kill",
        PROVEN,
        CodexExit(0, Stop("timeout", "")),
        None,
        "",
    ),
    ("told to stop", [TURN], CodexExit(1, Stop("signal", "stop")), None, ""),
    ("too long", [TURN], CodexExit(1, Stop("timeout", "ran for 5 s")), "timeout", "ran for 5 s"),
    ("silent", [TURN], CodexExit(-9, Stop("stall", "no byte")), "stall", "no byte"),
    ("full", [TURN], CodexExit(None, Stop("storage", "full")), "storage", "full"),
    ("Codex's own words", [TURN, FAILED], CodexExit(1), "agent_error", "401 Unauthorized"),
    (
        "the gate's refusal, read out of its JSON",
        [TURN, BUDGET],
        CodexExit(1),
        "agent_error",
        "the budget is used up",
    ),
    ("a failed turn with exit code 0", [TURN, SAID, FAILED], CodexExit(0), "agent_error", "401"),
    (
        "a config that Codex refuses",
        [],
        CodexExit(1, stderr=("Error: bad value", "x")),
        "agent_error",
        "Error: bad value; x",
    ),
    ("killed", [TURN], CodexExit(-11), "agent_error", "signal 11"),
    ("killed for memory", [TURN], CodexExit(-9, out_of_memory=True), "oom", "memory"),
    (
        "a command killed for memory, Codex fails on",
        [TURN, FAILED],
        CodexExit(1, out_of_memory=True),
        "agent_error",
        "401",
    ),
    ("0 without the turn's end", [TURN, SAID], CodexExit(0), "silent_death", "turn.completed"),
    ("0 without a message", [TURN, DONE], CodexExit(0), "silent_death", "final message"),
    ("0 without anything", [], CodexExit(0), "silent_death", "turn.completed"),
    ("proof, but another exit code", PROVEN, CodexExit(1), "agent_error", "exited with code 1"),
]


@pytest.mark.parametrize(
    ("lines", "codex_exit", "class_", "text"),
    [v[1:] for v in VERDICTS],
    ids=[v[0] for v in VERDICTS],
)
def test_verdict(lines, codex_exit, class_, text):
    failure = find_failure(progress_after(*lines), codex_exit)
    assert (failure.class_ if failure else None) == class_
    assert text in (failure.message if failure else "")


@pytest.mark.parametrize(
    ("failed", "stopped", "code"),
    [
        (False, None, 0),
        (True, None, 1),
        (True, "timeout", 1),
        (False, "signal", 143),
        (True, "signal", 143),
    ],
)
def test_exit_code(failed, stopped, code):
    assert exit_code(failed, stopped) == code


def test_a_message_for_people_is_cut():
    assert len(Failure("internal", "x" * 999).json["message"]) == 400


@given(st.text())
def test_text_that_is_no_error_body_stays(text):
    assert unwrap_error(text) == text


event = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "turn.started",
                "turn.completed",
                "turn.failed",
                "item.started",
                "item.completed",
                "error",
            ]
        )
    },
    optional={
        "item": st.fixed_dictionaries(
            {
                "id": st.sampled_from("ab"),
                "type": st.sampled_from(["command_execution", "agent_message"]),
            },
            optional={"text": st.text() | st.none()},
        ),
        "error": st.none() | st.dictionaries(st.just("message"), st.text()),
        "message": st.text(),
    },
)


@given(st.lists(event), st.integers(-15, 5))
def test_success_is_never_assumed(events, code):
    progress = Progress()
    for raw in events:
        progress = fold(progress, Event(raw))
    if find_failure(progress, CodexExit(code)) is None:
        kinds = [raw["type"] for raw in events if raw["type"] in ("turn.completed", "turn.failed")]
        assert code == 0
        assert kinds[-1] == "turn.completed"
        assert any((raw.get("item", {}).get("text") or "").strip() for raw in events)
