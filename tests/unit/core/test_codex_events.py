"""Codex's events: one reader of their shapes, and one module that names them. The shapes are those
of Codex 0.169 to 0.171."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.codex import events
from codexrun_core.codex.events import Event, FileChange, Item, PlanStep, TurnUsage, unwrap_shell

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
READER = ROOT / "core/codexrun_core/codex/events.py"
PARTS = ("core", "operator", "api", "pod", "cli", "demo-model")

COMMAND: Json = {
    "id": "item_2",
    "type": "command_execution",
    "command": "/bin/bash -lc 'ls -l'",
    "aggregated_output": "out.txt\n",
    "exit_code": 7,
    "status": "failed",
}
PATCH: Json = {
    "id": "item_3",
    "type": "file_change",
    "changes": [
        {"path": "a.py", "kind": "add", "diff": "+a"},
        {"path": "b.py", "kind": "update", "unified_diff": "-b"},
        {"path": 7},
        "c.py",
    ],
    "status": "completed",
}
PLAN: Json = {"type": "todo_list", "items": [{"text": "a", "completed": True}, {"text": "b"}, 1]}

ITEMS: list[tuple[str, Json, str, Any]] = [
    ("its type", COMMAND, "type", events.COMMAND_EXECUTION),
    ("its id", COMMAND, "id", "item_2"),
    ("an id that is a number", {"id": 7}, "id", "7"),
    ("a command without its shell", COMMAND, "command", "ls -l"),
    ("what it printed", COMMAND, "output", "out.txt\n"),
    ("how it ended", COMMAND, "exit_code", 7),
    ("it goes on", {**COMMAND, "exit_code": None}, "exit_code", None),
    ("an exit code that is none", {**COMMAND, "exit_code": "7"}, "exit_code", None),
    ("it failed", COMMAND, "failed", True),
    ("it was not allowed", {"status": "declined"}, "failed", True),
    ("a tool that failed", {"status": "completed", "error": {"message": "no"}}, "failed", True),
    ("it did not fail", {"status": "completed", "error": None}, "failed", False),
    (
        "files",
        PATCH,
        "changes",
        (
            FileChange("add", "a.py", "+a"),
            FileChange("update", "b.py", "-b"),
            FileChange("", "", ""),
        ),
    ),
    ("no files", {"changes": 7}, "changes", ()),
    ("a plan", PLAN, "steps", (PlanStep("a", True), PlanStep("b", False))),
    ("no plan", {"items": True}, "steps", ()),
    ("a message", {"text": "hi"}, "text", "hi"),
    ("a message that is no text proves nothing", {"text": {"a": 1}}, "text", ""),
    ("why a tool failed", {"error": {"message": "no"}}, "error_message", "no"),
    ("the same as a text", {"error": "no"}, "error_message", "no"),
    ("a warning", {"message": "careful"}, "error_message", "careful"),
]

EVENTS: list[tuple[str, Json, str, Any]] = [
    ("its type", {"type": "turn.started"}, "type", events.TURN_STARTED),
    ("a type that is no text", {"type": 7}, "type", ""),
    ("a thread", {"type": "thread.started", "thread_id": "t1"}, "thread_id", "t1"),
    ("a thread without an id", {"thread_id": None}, "thread_id", ""),
    ("an item", {"item": COMMAND}, "item", Item(COMMAND)),
    ("an item that is none", {"item": [COMMAND]}, "item", None),
    ("what happened to it", {"type": "item.updated"}, "step", "updated"),
    ("the same in a newer Codex", {"type": "item.paused"}, "step", "paused"),
    ("nothing happened to an item", {"type": "turn.started"}, "step", ""),
    (
        "tokens",
        {"usage": {"input_tokens": 9, "cached_input_tokens": 4, "output_tokens": 2}},
        "usage",
        TurnUsage(9, 4, 2),
    ),
    ("odd tokens", {"usage": {"input_tokens": "9", "output_tokens": 1e999}}, "usage", TurnUsage()),
    ("no tokens", {"usage": 9}, "usage", None),
    ("a failed turn", {"type": "turn.failed", "error": {"message": "m"}}, "message", "m"),
    ("a failed turn that says nothing", {"type": "turn.failed", "error": None}, "message", ""),
    (
        "an error",
        {"type": "error", "message": "Reconnecting... 1/5"},
        "message",
        "Reconnecting... 1/5",
    ),
    ("an error in another form", {"type": "error", "message": {"a": 1}}, "message", '{"a": 1}'),
]


@pytest.mark.parametrize(
    ("raw", "name", "value"), [row[1:] for row in ITEMS], ids=[row[0] for row in ITEMS]
)
def test_what_an_item_says(raw: Json, name: str, value: Any) -> None:
    assert getattr(Item(raw), name) == value


@pytest.mark.parametrize(
    ("raw", "name", "value"), [row[1:] for row in EVENTS], ids=[row[0] for row in EVENTS]
)
def test_what_an_event_says(raw: Json, name: str, value: Any) -> None:
    assert getattr(Event(raw), name) == value


@pytest.mark.parametrize(
    ("command", "unwrapped"),
    [
        ("/bin/bash -lc 'pytest -x'", "pytest -x"),
        ("bash -c ls", "ls"),
        ("/usr/bin/zsh -lc 'echo '\\''hi'\\'''", "echo 'hi'"),
        ("bash -lc 'a' 'b'", "bash -lc 'a' 'b'"),
        ("bash -lc 'a", "bash -lc 'a"),
        ("python -c 'a'", "python -c 'a'"),
        ("bash -lc " + "a" * 5_000, "bash -lc " + "a" * 5_000),
    ],
)
def test_the_shell_around_a_command_is_left_out(command: str, unwrapped: str) -> None:
    assert unwrap_shell(command) == unwrapped


NAMES = [
    *("type", "item", "id", "text", "changes", "items", "usage", "error", "status", "command"),
    *("kind", "path", "message", "input_tokens", "exit_code", "thread_id", "aggregated_output"),
]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(NAMES), values, max_size=4)
    ),
    max_leaves=12,
)


def read_all(event: Event) -> None:
    """Read whatever there is to read."""
    for name in (name for name in dir(Event) if not name.startswith("_")):
        getattr(event, name)
    if event.item:
        for name in (name for name in dir(Item) if not name.startswith("_") and name != "display"):
            getattr(event.item, name)
        for name in NAMES:
            assert isinstance(event.item.display(name), str)


@given(st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=5))
def test_no_event_however_odd_raises(raw: Json) -> None:
    read_all(Event(raw))
    read_all(Event({"type": events.ITEM_COMPLETED, "item": raw}))


def test_no_depth_raises() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    read_all(Event({"item": dict.fromkeys(NAMES, deep), "error": deep, "message": deep}))


# -- one module names them
# ------------------------------------------------------------------------------------------

NAMES_OF_CODEX = (
    events.ITEM_TYPES
    | events.ITEM_EVENTS
    | {
        events.THREAD_STARTED,
        events.TURN_STARTED,
        events.TURN_COMPLETED,
        events.TURN_FAILED,
    }
)
# These words mean other things too: in logs an error, in the Responses API reasoning, and among
# the tools that a job type may allow web_search.
NAMES_OF_OTHERS = {events.ERROR, events.REASONING, events.WEB_SEARCH}


def strings_of(path: Path) -> Iterator[str]:
    """The strings in a module's code, those in tables and patterns too; not its prose."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def test_codex_s_names_stand_in_one_module_of_the_product() -> None:
    names = NAMES_OF_CODEX - NAMES_OF_OTHERS
    assert names <= set(strings_of(READER))
    modules = {path for part in PARTS for path in (ROOT / part).rglob("*.py")} - {READER}
    assert len(modules) > 150
    copies = {
        str(path.relative_to(ROOT)): sorted(copied)
        for path in modules
        if (copied := names & set(strings_of(path)))
    }
    assert copies == {}, "import them from codexrun_core.codex.events"
