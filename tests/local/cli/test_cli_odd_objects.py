"""One odd object hurts only itself: commands straight on the cluster leave it out and say so; logs
show odd lines as they are; inputs that are nested too deep are refused in the words of
admission."""

import json
from pathlib import Path
from typing import Any

import pytest
from clistand import Stand
from hypothesis import given, settings
from manifests import job_type
from odd import JSON, nested

from codexrun_cli.follow.lines import Reader
from codexrun_core.schemas.nesting import TOO_DEEP

Json = dict[str, Any]


@pytest.fixture
def cluster(stand: Stand) -> Stand:
    stand.rest = False
    return stand


def put(stand: Stand, name: str, spec: Json | None = None, **status: Any) -> None:
    run = {
        "metadata": {"name": name},
        "spec": {"jobType": "hello", **(spec or {})},
        "status": status,
    }
    stand.at_once(stand.kube.put, stand.kube.runs, run)


def test_a_run_that_cannot_be_read_is_left_out_and_named(cluster: Stand) -> None:
    put(cluster, "odd", {"priority": {"a": "hunter2"}}, phase="Running")
    put(cluster, "plain", phase="Running")
    for command in (("list",), ("list", "--status", "running"), ("list", "-o", "json")):
        done = cluster.cli(*command)
        assert (done.code, "plain" in done.out, "odd" in done.out) == (0, True, False), done.err
        assert (
            "codexruns/odd cannot be read by this version of codexrun and is left out; `kubectl"
            " get codexruns odd -o yaml`" in done.err
        )
        assert "hunter2" not in done.err


def test_one_that_stands_beside_a_queued_run_does_not_hide_its_place(cluster: Stand) -> None:
    put(cluster, "odd", {"priority": "high"}, phase="Queued")
    put(cluster, "plain", phase="Queued")
    done = cluster.cli("status", "plain", "-o", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["queue"]["position"] == 1


def test_a_job_type_that_cannot_be_read_leaves_the_others(cluster: Stand) -> None:
    cluster.at_once(cluster.kube.put, cluster.kube.job_types, job_type("odd", model={"a": 1}))
    done = cluster.cli("jobtypes", "list")
    assert (done.code, "hello" in done.out) == (0, True), done.err
    assert "codexjobtypes/odd cannot be read" in done.err


@pytest.mark.parametrize("levels", [40, 260])
def test_a_deeply_nested_run_is_listed_and_shown(cluster: Stand, levels: int) -> None:
    put(cluster, "deep", {"inputs": {"a": nested(levels)}}, phase="Rejected")
    for command in (
        ("list",),
        ("list", "-o", "json"),
        ("list", "-o", "yaml"),
        ("status", "deep"),
        ("status", "deep", "-o", "json"),
    ):
        done = cluster.cli(*command)
        assert (done.code in (0, 1), "deep" in done.out) == (True, True), (command, done.err)


def test_values_that_a_newer_operator_writes_are_shown_as_they_are(both: Stand) -> None:
    failure = {"class": "preempted", "message": "Another run was more urgent"}
    put(
        both,
        "newer",
        {"whenFull": "Preempt"},
        phase="Paused",
        reason="Preempted",
        failure=failure,
        sandbox="vm",
    )
    both.until(lambda: "newer" in both.cli("list").out)
    assert "paused" in both.cli("list").out
    shown = json.loads(both.cli("status", "newer", "-o", "json").out)
    assert (shown["status"], shown["failure"]["class"]) == ("paused", "preempted")


def test_inputs_that_are_nested_too_deep_are_refused(both: Stand, tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    for levels in (33, 300, 5_000):
        deep = "[" * (levels - 1) + "]" * (levels - 1)
        file.write_text('{"a": ' + deep + "}")
        for given_ in (("-p", f"a:={deep}"), ("-f", str(file))):
            done = both.cli("start", "hello", *given_)
            words = " ".join(done.err.replace("│", " ").split())
            assert (done.code, f"spec.inputs: {TOO_DEEP}" in words) == (2, True), (
                levels,
                given_[0],
                done.err,
            )
    assert both.kube.run_names == []


def test_a_file_of_aliases_that_would_unfold_to_a_giant_is_judged_at_once(
    both: Stand, tmp_path: Path
) -> None:
    lines = ["l0: &l0 [x]"] + [
        f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 40)
    ]
    file = tmp_path / "inputs.yaml"
    file.write_text("\n".join(lines))
    done = both.cli("start", "hello", "-f", str(file))
    assert (done.code, "nested more than" in done.err) == (2, True), done.err


ODD_LINES = [
    b"[" * 100_000,
    b'{"event": {"type": "turn.completed", "usage": {"input_tokens": 1e999}}}',
    (
        b'{"event": {"type": "turn.completed", "usage": {"input_tokens": "many", "output_tokens":'
        b" [1]}}}"
    ),
    b'{"event": {"type": "item.completed", "item": {"type": "file_change", "changes": 7}}}',
    b'{"event": {"type": "item.completed", "item": {"type": "todo_list", "items": true}}}',
    b'{"event": {"type": "odd", "x": ' + b"[" * 900 + b"]" * 900 + b"}}",
]


@pytest.mark.parametrize("line", ODD_LINES, ids=range(len(ODD_LINES)))
def test_an_odd_line_of_a_log_is_shown_as_it_is(line: bytes) -> None:
    reader = Reader()
    assert reader.read(line)
    assert [said.kind for said in reader.read(b'{"event": {"type": "turn.started"}}')] == ["turn"]


@given(event=JSON, item=JSON)
@settings(deadline=None)
def test_no_line_of_a_log_ends_its_reading(event: Any, item: Any) -> None:
    for line in (
        event,
        {"event": event},
        {"event": {"type": "item.completed", "item": item}},
        {"src": "runner", "text": event},
    ):
        try:
            text = json.dumps(line)
        except RecursionError:
            text = "[" * 9_990 + "]" * 9_990
        Reader().read(text.encode(errors="replace"))
