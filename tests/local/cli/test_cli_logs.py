"""`codexrun logs`: which part of a log, in which form, and where it comes from when the pod is
gone."""

import json

import pytest
from clistand import Stand

from codexrun_cli.exit_codes import Code
from codexrun_pod import loglines


def said(second: int, text: str, **about: object) -> bytes:
    item = {"id": f"i{second}", "type": "agent_message", "text": text}
    ts = f"2026-01-31T12:00:{second:02}.000Z"
    return loglines.encode(
        {"ts": ts, "src": "codex", "event": {"type": "item.completed", "item": item}, **about}
    )


FOUR = tuple(said(number, f"word {number}") for number in range(1, 5))


@pytest.fixture
def name(stand: Stand) -> str:
    """A run whose agent said four things, a second each."""
    made = stand.start()
    stand.log(made, *FOUR)
    stand.end(made)
    stand.until(lambda: '"succeeded"' in stand.cli("status", made, "-o", "json").out)
    return made


def test_the_last_lines(stand: Stand, name: str) -> None:
    assert stand.cli("logs", name, "--plain", "--tail", "2").out == "word 3\nword 4\n"
    assert stand.cli("logs", name, "--raw", "--tail", "1").out.encode() == FOUR[-1]
    assert stand.cli("logs", name, "--tail", "0").out == ""


def test_since_a_time(stand: Stand, name: str) -> None:
    assert (
        stand.cli("logs", name, "--plain", "--since-time", "2026-01-31T12:00:03Z").out
        == "word 3\nword 4\n"
    )
    assert stand.cli("logs", name, "--plain", "--since", "1h").out == "", "it is older than that"
    wrong = stand.cli("logs", name, "--since", "noon")
    assert (wrong.code, '"noon" is not a valid time' in wrong.err) == (2, True)


def test_each_line_with_its_time(stand: Stand, name: str) -> None:
    lines = stand.cli("logs", name, "--plain", "--timestamps", "--tail", "2").out.splitlines()
    assert lines == ["2026-01-31T12:00:03.000Z word 3", "2026-01-31T12:00:04.000Z word 4"]


def test_the_log_stays_when_the_object_and_its_pod_are_gone_and_says_where_it_is_from(
    stand: Stand, name: str
) -> None:
    run_id = stand.run_id(name)
    stand.at_once(stand.kube.remove, f"{stand.kube.runs}/{name}")
    stand.at_once(stand.kube.remove, f"{stand.kube.pods}/{name}-pod")
    stand.until(lambda: "deleted_at" in stand.cli("status", run_id, "-o", "json").out)
    done = stand.cli("logs", run_id, "--raw")
    assert (done.code, done.out.encode()) == (0, b"".join(FOUR))
    assert done.err == "note: the run's object is gone; this log is from the REST API's archive\n"


def test_straight_on_the_cluster_a_log_whose_pod_is_gone_needs_the_api(
    stand: Stand, name: str
) -> None:
    stand.at_once(stand.kube.remove, f"{stand.kube.pods}/{name}-pod")
    stand.rest = False
    done = stand.cli("logs", name)
    assert (done.code, done.out) == (Code.UNREACHABLE, "")
    assert "the log of a run whose pod is gone needs the REST API" in done.err


@pytest.mark.parametrize(
    ("phase", "code"), [("Succeeded", 0), ("Failed", 1), ("Cancelled", 3)], ids=str
)
def test_following_with_exit_status_ends_as_the_run_did(both: Stand, phase: str, code: int) -> None:
    name = both.start()
    both.log(name, *FOUR)
    both.end(name, phase)
    for command in (("logs", "-f", "--exit-status"), ("tail", "--exit-status")):
        done = both.cli(*command, name, "--plain")
        assert (done.code, done.out.splitlines()[-1]) == (code, "word 4"), command
    assert both.cli("logs", "-f", name).code == 0, "without it, reading a log went well"


def test_an_event_that_nobody_knows_is_shown_and_not_dropped(both: Stand) -> None:
    name = both.start()
    odd = {"type": "something.new", "detail": {"a": 1}}
    both.log(
        name, loglines.encode({"ts": "2026-01-31T12:00:01.000Z", "src": "codex", "event": odd})
    )
    both.end(name)
    assert "something.new" in both.cli("logs", name, "--plain").out
    (line,) = both.cli("logs", name, "--format", "jsonl").out.splitlines()
    assert json.loads(line)["event"] == odd
