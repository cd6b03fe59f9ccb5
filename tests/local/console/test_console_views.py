"""What pages say of runs: pure view models, one row a case."""

# ruff: noqa: RUF015 - tables

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_api.archive.archive import Archive
from codexrun_api.archive.line_index import MAX_LINE_BYTES, LineIndex
from codexrun_api.console import sessions
from codexrun_api.console.pages import compare
from codexrun_api.console.templating import STATIC
from codexrun_api.console.view import (
    formats,
    health_strip,
    input_form,
    safe_html,
    status_text,
    timeline,
    transcript,
)
from codexrun_api.console.view import list_query as urls
from codexrun_api.console.view.keyboard import BINDINGS
from codexrun_api.console.view.log_search import search
from codexrun_api.console.view.run_rows import key_of, newer
from codexrun_api.console.view.status_text import STATES
from codexrun_api.schemas.responses import QueueView
from codexrun_core.registry import RunEvent
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import STATUSES, FailureClass
from codexrun_core.runs.record import RunRecord

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RUN = "3f0c5a52-6d0e-4f5e-9f1b-0d6c1c1c7a11"


def row(status: str, **more: object) -> RunRecord:
    given_ = {"created_at": NOON - timedelta(minutes=5), "updated_at": NOON, **more}
    return RunRecord(
        run_id=RUN,
        name="review-7x2kf",
        namespace="codexrun",
        job_type="code-review",
        status=status,
        **given_,
    )


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


SENTENCES = [
    (
        row("queued", reason="ConcurrencyLimit"),
        {"position": QueueView(position=3, eta_seconds=240), "busy": 2, "limit": 2},
        "Waiting for a slot: 2 of 2 code-review slots are taken; position 3 in the queue;"
        " starts in about 4 min.",
    ),
    (row("queued", reason="Suspended"), {}, "Waiting: its job type is suspended."),
    (row("pending"), {}, "Waiting for the operator."),
    (
        row("pending", reason="JobTypeNotFound"),
        {},
        "Waiting: its job type does not exist; unless it is created, the run will be rejected after"
        " one minute.",
    ),
    (row("queued", reason="JobTypeNotFound"), {}, "Waiting: its job type does not exist."),
    (row("starting", reason="ImagePull"), {}, "Starting: an image of its pod cannot be pulled."),
    (
        row("running", started_at=at(-134)),
        {"usual": timedelta(seconds=200), "doing": "pytest -x"},
        "Running for 2m14s, now pytest -x. Usually takes 3m20s.",
    ),
    (
        row("running", started_at=at(-134), waiting_until=at(20)),
        {"doing": "pytest -x"},
        f"Waiting for the provider until {at(20):%Y-%m-%d %H:%M:%S} UTC.",
    ),
    (
        row("running", started_at=at(-134), waiting_until=at(-1)),
        {"usual": timedelta(seconds=200), "doing": "pytest -x"},
        "Running for 2m14s, now pytest -x. Usually takes 3m20s.",
    ),
    (row("succeeded", started_at=at(-207), finished_at=NOON), {}, "Succeeded after 3m27s."),
    (
        row(
            "failed",
            started_at=at(-62),
            finished_at=NOON,
            failure_class="node_lost",
            error="its node is gone",
        ),
        {},
        "Failed after 1m2s (node lost): its node is gone.",
    ),
    (
        row("rejected", error="spec.inputs: 'name' is missing"),
        {},
        "Rejected before it started: spec.inputs: 'name' is missing.",
    ),
    (row("cancelled", error="Cancelled by ada: enough"), {}, "Cancelled by ada: enough."),
]


@pytest.mark.parametrize(
    ("record", "known", "wanted"), SENTENCES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_state_in_one_sentence(record: RunRecord, known: dict, wanted: str) -> None:
    assert status_text.sentence(record, NOON, **known) == wanted


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (row("starting", reason="ImagePull"), "An image of its pod cannot be pulled."),
        (row("stopping", reason="Cancelled"), "Cancelled; waiting for its pod to end."),
        (row("stopping"), "Waiting for its pod to end."),
        (row("rejected", error="no such prompt"), "No such prompt."),
        (row("queued", reason="Suspended"), "Waiting: its job type is suspended."),
        (row("cancelled", error="Cancelled by ada: enough"), "Cancelled by ada: enough."),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_row_does_not_repeat_its_badge(record: RunRecord, wanted: str) -> None:
    assert status_text.short(record, NOON) == wanted


def test_every_status_has_a_word_a_sign_and_a_sentence() -> None:
    assert set(STATES) == set(STATUSES)
    assert len({(s.icon, s.word) for s in STATES.values()}) == len(STATES)
    for status in STATUSES:
        assert status_text.sentence(row(status), NOON).endswith(".")


def test_every_failure_has_a_way_out_or_says_it_itself() -> None:
    assert set(status_text.WAYS_OUT) | {"agent_error"} >= {str(c) for c in FailureClass}


def test_no_two_actions_share_a_key() -> None:
    for place in ("list", "run", "log"):
        active = [
            b.keys
            for b in BINDINGS
            if b.where in ("everywhere", place) or (place == "log" and b.where == "run")
        ]
        assert len(active) == len(set(active)), place
        for one in active:
            assert not any(other != one and other.startswith(one + " ") for other in active), (
                f"{one} hides another"
            )


def test_the_timeline_adds_up_and_shows_what_is_short() -> None:
    events = [
        RunEvent(str(n), RUN, 1, status, None, at(t))
        for n, (status, t) in enumerate((("queued", -290), ("starting", -30), ("running", -24)))
    ]
    shown = timeline.stretches(row("running", started_at=at(-24)), events, NOON)
    assert [(s.state.word, s.seconds) for s in shown] == [
        ("Pending", 10),
        ("Queued", 260),
        ("Starting", 6),
        ("Running", 24),
    ]
    assert sum(s.width for s in shown) == pytest.approx(100, abs=0.1)
    assert all(s.width > 1 for s in shown)
    assert shown[-1].end is None


def test_phases_of_the_same_second_are_in_their_order() -> None:
    """The api sees a run only when it is being stopped, in the second in which it started."""
    events = [RunEvent("1", RUN, 1, "stopping", None, at(-24))]
    record = row("stopping", started_at=at(-24))
    shown = timeline.stretches(record, events, NOON)
    assert [(s.state.word, s.seconds) for s in shown] == [
        ("Pending", 276),
        ("Running", 0),
        ("Stopping", 24),
    ]


def test_a_run_that_nobody_saw_run_still_has_its_times() -> None:
    record = row("succeeded", started_at=at(-200), finished_at=NOON)
    events = [RunEvent("1", RUN, 1, "succeeded", None, NOON)]
    assert [(s.state.word, s.seconds) for s in timeline.stretches(record, events, NOON)] == [
        ("Pending", 100),
        ("Running", 200),
    ]


WORD = st.text("abc-@.1", min_size=1, max_size=8)


@given(
    st.dictionaries(
        st.sampled_from(urls.SEVERAL),
        st.lists(WORD, min_size=1, max_size=3, unique=True),
        max_size=4,
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20),
)
def test_a_url_says_all_that_was_asked(fields: dict, search: str) -> None:
    from urllib.parse import parse_qsl

    wanted = urls.ListQuery(
        fields={k: tuple(v) for k, v in fields.items()},
        search=search.strip(),
        size=100,
        label="team=a",
        sort="cost",
    )
    assert urls.read_list_query(parse_qsl(wanted.url().partition("?")[2])) == wanted


def test_another_filter_begins_at_its_first_page() -> None:
    second = urls.ListQuery(fields={"status": ("failed",)}, token="abc")
    assert second.toggled("status", "running").fields == {"status": ("failed", "running")}
    assert second.toggled("status", "failed").token == ""
    assert [chip.url for chip in urls.ListQuery(fields={"job_type": ("a", "b")}).chips] == [
        "/console/runs?job_type=b",
        "/console/runs?job_type=a",
    ]


def test_every_label_is_a_chip_of_its_own() -> None:
    wanted = urls.ListQuery(label="team=a,env notin (b,a)", sort="-cost", token="abc")
    assert [(chip.value, chip.url) for chip in wanted.chips] == [
        ("env notin (a,b)", "/console/runs?label=team%3Da&sort=-cost"),
        ("team=a", "/console/runs?label=env+notin+%28a%2Cb%29&sort=-cost"),
    ]


def test_a_head_sorts_by_its_column_and_then_the_other_way_round() -> None:
    newest = urls.ListQuery(token="abc")
    assert (newest.aria_sort("created"), newest.aria_sort("cost")) == ("descending", "")
    dear = newest.sorted_by("cost")
    assert (dear.url(), dear.aria_sort("cost"), dear.order) == (
        "/console/runs?sort=-cost",
        "descending",
        "most expensive first",
    )
    assert dear.sorted_by("cost").url() == "/console/runs?sort=cost"
    assert dear.sorted_by("cost").sorted_by("cost") == dear
    assert dear.sorted_by("created") == urls.ListQuery(), "the default is in no URL"
    assert newest.sorted_by("created").sort == "created"


def test_new_rows_are_those_above_the_first() -> None:
    first = row("running")
    assert not newer(first, key_of(first))
    assert newer(row("running", created_at=NOON), key_of(first))
    assert not newer(row("running", created_at=NOON - timedelta(days=1)), key_of(first))
    assert not newer(first, "nonsense")


SCHEMA = {
    "required": ["focus", "depth"],
    "properties": {
        "focus": {"type": "string", "maxLength": 80},
        "essay": {"type": "string"},
        "depth": {"enum": ["quick", 2, None]},
        "count": {"type": "integer", "minimum": 1},
        "share": {"type": "number"},
        "deep": {"type": "boolean", "default": True},
        "paths": {"type": "array"},
    },
}


def test_a_schema_is_a_form_and_the_form_is_inputs_again() -> None:
    inputs = {
        "focus": "locks",
        "depth": 2,
        "count": 3,
        "share": 0.5,
        "deep": False,
        "paths": ["a", "b"],
    }
    asked = input_form.fields(SCHEMA, (), inputs)
    assert [(f.name, f.kind) for f in asked] == [
        ("focus", "line"),
        ("essay", "area"),
        ("depth", "choice"),
        ("count", "whole"),
        ("share", "number"),
        ("deep", "switch"),
        ("paths", "json"),
    ]
    assert input_form.inputs_of(asked, {f.form_name: f.value for f in asked}) == (inputs, {})


def test_what_is_wrong_is_said_at_its_field() -> None:
    asked = input_form.fields(SCHEMA, ())
    typed = {
        "input.focus": "x",
        "input.depth": '"quick"',
        "input.count": "three",
        "input.paths": "[1,",
    }
    _, errors = input_form.inputs_of(asked, typed)
    assert errors["count"] == "count must be a whole number"
    assert errors["paths"].startswith("paths is not JSON")
    for levels in (32, 900, 50_000):  # and the object of all inputs around it
        _, errors = input_form.inputs_of(
            asked, typed | {"input.paths": "[" * levels + "]" * levels}
        )
        assert errors["paths"] == "paths is nested more than 32 levels deep; reduce the nesting"
    inputs, errors = input_form.inputs_of(asked, typed | {"input.paths": "[" * 31 + "]" * 31})
    assert ("paths" in inputs, "paths" in errors) == (True, False)


def test_without_a_schema_the_placeholders_are_the_form() -> None:
    assert [(f.name, f.required) for f in input_form.fields(None, ("name", "tone"))] == [
        ("name", True),
        ("tone", True),
    ]


def lines(*events: dict, ts: str = "2026-06-01T12:00:00.000Z") -> list[tuple[int, bytes]]:
    import json

    return [
        (n, json.dumps({"ts": ts, "src": "codex", "event": event}).encode())
        for n, event in enumerate(events)
    ]


def test_what_codex_did_in_turns() -> None:
    command = {
        "id": "item_1",
        "type": "command_execution",
        "command": "/bin/bash -lc 'echo boom;exit 7'",
    }
    read = transcript.read(
        lines(
            {"type": "thread.started", "thread_id": "t1"},
            {"type": "turn.started"},
            {
                "type": "item.started",
                "item": {
                    **command,
                    "aggregated_output": "",
                    "exit_code": None,
                    "status": "in_progress",
                },
            },
            {
                "type": "item.completed",
                "item": {
                    **command,
                    "aggregated_output": "boom\n",
                    "exit_code": 7,
                    "status": "failed",
                },
            },
            {
                "type": "item.completed",
                "item": {"id": "item_2", "type": "hologram", "shape": "cube"},
            },
            {"type": "turn.completed", "usage": {"input_tokens": 200, "output_tokens": 40}},
            {"type": "turn.started"},
            {
                "type": "item.completed",
                "item": {"id": "item_1", "type": "agent_message", "text": "another item_1"},
            },
            {"type": "turn.failed", "error": {"message": "no credit"}},
        )
    )
    first, second = read.turns
    assert [(e.kind, e.command, e.exit_code, e.bad) for e in first.entries][0] == (
        "command_execution",
        "echo boom;exit 7",
        7,
        True,
    )
    assert ('"shape": "cube"' in first.entries[1].text, first.tokens) == (True, (200, 40))
    assert ([e.word("text") for e in second.entries], second.failed) == (
        ["another item_1"],
        "no credit",
    )


def test_an_open_command_is_what_the_run_does() -> None:
    item = {
        "id": "item_1",
        "type": "command_execution",
        "command": "bash -lc 'sleep 9'",
        "status": "in_progress",
    }
    assert (
        transcript.read(
            lines({"type": "turn.started"}, {"type": "item.started", "item": item})
        ).doing
        == "sleep 9"
    )
    assert (
        transcript.read(
            lines(
                {"type": "turn.started"},
                {"type": "item.started", "item": item},
                {"type": "turn.completed"},
            )
        ).doing
        == ""
    )


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda c: (
        st.lists(c, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "item",
                    "id",
                    "text",
                    "changes",
                    "items",
                    "usage",
                    "error",
                    "event",
                    "ts",
                    "src",
                    "status",
                    "command",
                ]
            ),
            c,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JUNK, max_size=6))
def test_no_event_however_odd_stops_the_view(values: list) -> None:
    import json

    read = transcript.read((n, json.dumps(value).encode()) for n, value in enumerate(values))
    for turn in read.turns:
        assert turn.tokens is None or len(turn.tokens) == 2
        for e in turn.entries:
            assert isinstance(
                (e.command, e.exit_code, e.bad, e.changes, e.steps, e.pretty, e.seconds), tuple
            )


@given(
    st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=60),
    st.booleans(),
    st.integers(1, 40),
)
def test_lines_by_number_are_the_files_own(
    tmp_path_factory, content: list, ended: bool, block: int
) -> None:
    from unittest import mock

    archive = Archive(tmp_path_factory.mktemp("log"))
    archive.open()
    data = b"\n".join(content) + (b"\n" if ended and content else b"")
    archive.append("run", 0, data)
    size = archive.size("run")
    want = data.removesuffix(b"\n").split(b"\n") if data else []
    with (
        mock.patch("codexrun_api.archive.line_counts.BLOCK_BYTES", block),
        mock.patch("codexrun_api.console.view.log_search.READ_CHUNK_BYTES", block),
    ):
        index = LineIndex(archive, "run")
        assert index.lines(size) == len(want)
        for first in range(1, len(want) + 1):
            got = list(index.read(first, 7, size))
            assert [(n, raw) for n, _, raw, _ in got] == list(
                enumerate(want[first - 1 : first + 6], first)
            )
        for q, regexp in (("a", False), ("^a|a$|[a]", True)):
            found = search(archive, "run", q, regexp=regexp).lines
            assert found == [n for n, line in enumerate(want, 1) if b"a" in line.lower()]


def test_a_huge_line_is_cut_and_the_next_one_is_found(tmp_path) -> None:
    archive = Archive(tmp_path)
    archive.open()
    archive.append("run", 0, b"a\n" + b"x" * 3_000_000 + b"\nlast")
    got = list(LineIndex(archive, "run").read(1, 9, archive.size("run")))
    assert [(n, len(raw), whole) for n, _, raw, whole in got] == [
        (1, 1, 1),
        (2, MAX_LINE_BYTES, 3_000_000),
        (3, 4, 4),
    ]


def test_the_operators_silence_is_told() -> None:
    assert health_strip.registry_sign(0.01).good
    assert health_strip.registry_sign(9).text == "registry 9s behind"


@pytest.mark.parametrize(
    ("reason", "good"), [(None, False), ("JobTypeNotFound", True), ("PromptNotFound", True)]
)
def test_an_operator_that_has_said_what_a_run_waits_for_is_not_silent(
    reason: str | None, good: bool
) -> None:
    run = CodexRun.model_validate(
        {
            "metadata": {"name": "a", "creationTimestamp": "2026-01-31T12:00:00Z"},
            "spec": {"jobType": "hello"},
            "status": {"phase": "Pending", "reason": reason},
        }
    )
    now = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)
    assert health_strip.operator_sign([run], now).good is good


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\u202eb", "a⟪U+202E⟫b"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("bell\a", "bell⟪U+0007⟫"),
        ("ünï ☃", "ünï ☃"),
    ],
)
def test_what_hides_in_a_text_is_shown(text: str, wanted: str) -> None:
    assert formats.visible(text) == wanted


@pytest.mark.parametrize(
    ("detail", "wanted"),
    [
        ('there is no run "x"; GET /runs lists the runs', 'There is no run "x".'),
        ('no artifact "x"; GET /runs/1/artifacts lists its artifacts', 'No artifact "x".'),
        ("the request is not valid; `errors` says where", "The request is not valid."),
        ("the registry is unavailable; try again", "The registry is unavailable; try again."),
        ("Session expired.", "Session expired."),
        ("spec.inputs: 'focus' is missing", "spec.inputs: 'focus' is missing."),
        ("maxTokens is above 200000", "maxTokens is above 200000."),
    ],
)
def test_a_problem_is_a_sentence_without_what_only_rest_can_do(detail: str, wanted: str) -> None:
    assert formats.for_visitors(detail) == wanted


def test_who_started_two_runs_is_said_in_words() -> None:
    by_hand, by_program = (
        row("succeeded", requested_by="ada", origin=origin) for origin in ("cli", "api")
    )
    (starter,) = [p for p in compare.pairs(by_hand, by_program, NOON) if p.name == "Started by"]
    assert (starter.a, starter.b) == ("ada, command line", "ada, REST")


def test_markdown_has_no_images_no_html_and_no_other_links() -> None:
    html = safe_html.Budget().markdown(
        "# Hi\n<b onclick=x>y</b> ![p](https://evil.example/p.png) [a](javascript:alert(1))"
        " [b](https://ok.example)"
    )
    assert "<img" not in html
    assert "<b" not in html
    assert 'href="javascript' not in html
    assert 'href="https://ok.example" rel="noopener noreferrer nofollow"' in html


def test_amounts_as_people_write_them() -> None:
    assert [formats.duration(s) for s in (0, 59, 134, 3723, 100_000, None)] == [
        "0s",
        "59s",
        "2m14s",
        "1h2m",
        "1d3h",
        "–",
    ]
    assert [formats.money(m) for m in (0, 310_000, 4_200, 1, None)] == [
        "$0.00",
        "$0.3100",
        "$0.0042",
        "$0.0001",
        "–",
    ]
    assert [formats.percent(p) for p in (0.999, 1, None)] == ["99%", "100%", "–"]


def test_a_session_is_signed_ends_and_dies_with_its_token() -> None:
    mine = hashlib.sha256(b"mine").digest()
    other = hashlib.sha256(b"other").digest()
    cookie = sessions.open_session(mine, 1000.0)
    session = sessions.session_of(cookie, {other: "bob", mine: "ada"}, 1001.0)
    assert session is not None
    assert session.user == "ada"
    assert sessions.session_of(cookie, {other: "bob"}, 1001.0) is None
    assert (
        sessions.session_of(cookie, {mine: "ada"}, 1000.0 + sessions.SESSION_HOURS * 3600) is None
    )
    body, _, signature = cookie.rpartition(".")
    later = f"{int(body.partition('.')[0]) + 9}.{body.partition('.')[2]}.{signature}"
    for forged in (
        later,
        body + ".",
        cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
        "",
        "..",
        "é.é.é",
    ):
        assert sessions.session_of(forged, {mine: "ada"}, 1001.0) is None


@pytest.mark.parametrize(
    "folder", [STATIC / "vendor", Path(__file__).parent / "vendor"], ids=["console", "tests"]
)
def test_what_is_vendored_is_what_was_published(folder: Path) -> None:
    listed = dict(
        reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines()
    )
    files = {f.name for f in folder.iterdir() if f.suffix in (".js", ".css", ".woff2")}
    assert files == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
