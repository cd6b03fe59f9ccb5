"""A stream is understood however it is cut into chunks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate.sse import EventStream, LastEvent


def event(kind, end="\n", **fields):
    return f"event: {kind}{end}data: {json.dumps({'type': kind, **fields})}{end}{end}"


CREATED = event("response.created", response={"id": "r"})
DELTA = event("response.output_text.delta", delta='"response.completed" \r\n\n data: error')
COMPLETED = event("response.completed", response={"usage": {"input_tokens": 1}})

STREAMS = [
    ("completed", CREATED + DELTA + COMPLETED, LastEvent("completed", {"input_tokens": 1}), True),
    (
        "completed without output",
        CREATED + COMPLETED,
        LastEvent("completed", {"input_tokens": 1}),
        False,
    ),
    (
        "usage is absent",
        event("response.completed", response={"id": "r"}),
        LastEvent("completed"),
        False,
    ),
    (
        "incomplete",
        event(
            "response.incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}}
        ),
        LastEvent("incomplete", reason="max_output_tokens"),
        False,
    ),
    (
        "incomplete without a reason",
        event("response.incomplete", response={}),
        LastEvent("incomplete"),
        False,
    ),
    (
        "failed",
        event("response.failed", response={"error": {"code": "c"}}),
        LastEvent("failed", error={"code": "c"}),
        False,
    ),
    (
        "an error event",
        event("error", error={"code": "c"}),
        LastEvent("failed", error={"code": "c"}),
        False,
    ),
    ("cut", CREATED + DELTA, None, True),
    ("cut in the middle of the last event", (CREATED + COMPLETED)[:-1], None, False),
    (
        "carriage returns",
        event("response.completed", "\r\n", response={"usage": 1}),
        LastEvent("completed", 1),
        False,
    ),
    (
        "only carriage returns",
        event("response.completed", "\r", response={"usage": 1}) + "x",
        LastEvent("completed", 1),
        False,
    ),
    (
        "data over two lines",
        'data: {"type":\ndata: "response.completed"}\n\n',
        LastEvent("completed"),
        False,
    ),
    (
        "comments and other fields",
        ": ping\n\nid: 1\nretry: 5\n" + COMPLETED,
        LastEvent("completed", {"input_tokens": 1}),
        False,
    ),
    (
        "no blank after the colon",
        'data:{"type":"response.completed"}\n\n',
        LastEvent("completed"),
        False,
    ),
    (
        "only the first last event counts",
        COMPLETED + event("response.failed", response={}),
        LastEvent("completed", {"input_tokens": 1}),
        False,
    ),
    ("no JSON", "data: response.completed\n\ndata: [DONE]\n\n", None, True),
    (
        "a response that is a list",
        event("response.completed", response=[1]),
        LastEvent("completed"),
        False,
    ),
]


@pytest.mark.parametrize(
    ("stream", "last", "output"), [s[1:] for s in STREAMS], ids=[s[0] for s in STREAMS]
)
def test_a_stream(stream, last, output):
    watch = EventStream()
    watch.feed(stream.encode())
    assert watch.last == last
    assert watch.output_seen is output


@given(st.sampled_from([s[1] for s in STREAMS]), st.lists(st.integers(1, 40), min_size=1))
def test_chunks_of_any_size_mean_the_same(stream, sizes):
    whole = EventStream()
    parts = EventStream()
    data = stream.encode()
    whole.feed(data)
    position = 0
    turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        parts.feed(data[position : position + size])
        position = position + size
        turn = turn + 1
    assert (parts.last, parts.output_seen) == (whole.last, whole.output_seen)


@given(st.sampled_from([s[1] for s in STREAMS]), st.lists(st.integers(1, 40), min_size=1))
def test_whole_events_are_given_back_to_the_byte(stream, sizes):
    watch = EventStream()
    data = stream.encode()
    passed = b""
    position = 0
    turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        passed += watch.feed(data[position : position + size])
        position = position + size
        turn = turn + 1
    assert data.startswith(passed)
    assert not data[len(passed) :].endswith((b"\n\n", b"\r\n\r\n"))


@given(st.binary())
def test_no_bytes_break_it(data):
    EventStream().feed(data)
