"""Lines of a log as people read them: long ones from their beginning, never as raw JSON."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from codexrun_api.console.view import status_text, transcript
from codexrun_api.console.view.log_lines import _closed, read_line
from codexrun_core.runs.record import RunRecord


def command(output: str) -> bytes:
    item = {
        "id": "i",
        "type": "command_execution",
        "command": "seq 9",
        "aggregated_output": output,
        "exit_code": 0,
        "status": "completed",
    }
    return json.dumps({"ts": "x", "event": {"type": "item.completed", "item": item}}).encode()


def test_the_beginning_of_a_long_output_has_its_real_lines() -> None:
    whole = command("\n".join(f"line {n}" for n in range(5000)))
    line = read_line(7, whole[:1000], len(whole))
    assert (line.label, line.bad) == ("command_execution completed", False)
    assert str(line.text).startswith("$ seq 9\nline 0\nline 1\n")
    assert "\\n" not in line.text
    assert line.cut == len(whole) - 1000


@given(st.text(max_size=60), st.integers(0, 400))
def test_wherever_a_line_is_cut_what_is_shown_is_its_beginning(text: str, cut: int) -> None:
    whole = command(text)
    cut = min(cut, len(whole) - 1)
    closed = _closed(whole[:cut])
    if not closed:
        return
    try:
        read = json.loads(closed)
    except ValueError:
        return  # cut in a key
    item = read.get("event", {}).get("item", {})
    shown = item.get("aggregated_output", "")
    assert text.startswith(shown)
    shown.encode()


def test_a_line_that_is_no_json_stays_as_it_is() -> None:
    assert read_line(1, b"x" * 10, 20).text == Markup("x" * 10)


def test_tries_to_connect_again_are_one_entry() -> None:
    events = [
        {"type": "turn.started"},
        *({"type": "error", "message": f"Reconnecting... {n}/5 (cut)"} for n in range(1, 6)),
        {"type": "error", "message": "gave up"},
        {"type": "error", "message": "Reconnecting... 1/5 (cut)"},
    ]
    lines = ((n, json.dumps({"event": event}).encode()) for n, event in enumerate(events))
    (turn,) = transcript.read(lines).turns
    assert [entry.word("message") for entry in turn.entries] == [
        "Reconnecting... 5/5 (cut)",
        "gave up",
        "Reconnecting... 1/5 (cut)",
    ]


def test_advice_is_given_once() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def failed(error: str) -> RunRecord:
        return RunRecord(
            "i", "n", "ns", "j", "failed", noon, noon, failure_class="auth", error=error
        )

    assert status_text.way_out(failed("the model refused the key")) != ""
    assert status_text.way_out(failed("the model refused the key; check the Secret")) == ""
