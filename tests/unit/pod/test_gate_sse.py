"""A stream is understood however it is cut into chunks, and what the model says is counted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate import sse
from codexrun_pod.gate.sse import EventStream, LastEvent


def event(kind, end="\n", **fields):
    return f"event: {kind}{end}data: {json.dumps({'type': kind, **fields})}{end}{end}"


CREATED = event("response.created", response={"id": "r"})
DELTA = event("response.output_text.delta", delta='"response.completed" \r\n\n data: error')
COMPLETED = event("response.completed", response={"usage": {"input_tokens": 1}})

CHUNK = 'data: {"id": "c", "object": "chat.completion.chunk", "choices": []}\n\n'
KEEPALIVE = event("keepalive")


@pytest.mark.parametrize(
    ("stream", "is_foreign"),
    [
        (CHUNK + "data: [DONE]\n\n", True),
        (KEEPALIVE + CHUNK, True),
        (CREATED + CHUNK + DELTA, False),
        (CHUNK + CREATED, False),
        (KEEPALIVE, False),
        (": alive\n\n", False),
        ("data: [DONE]\n\n", False),
        ("", False),
    ],
)
def test_events_of_another_api_are_told_apart(stream, is_foreign):
    events = EventStream()
    events.feed(stream.encode())
    assert events.is_foreign == is_foreign


STREAMS = [
    ("completed", CREATED + DELTA + COMPLETED, LastEvent("completed", {"input_tokens": 1}), True),
    (
        "completed without output",
        CREATED + COMPLETED,
        LastEvent("completed", {"input_tokens": 1}),
        True,
    ),
    (
        "usage is absent",
        event("response.completed", response={"id": "r"}),
        LastEvent("completed"),
        True,
    ),
    (
        "incomplete",
        event(
            "response.incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}}
        ),
        LastEvent("incomplete", reason="max_output_tokens"),
        True,
    ),
    (
        "incomplete without a reason",
        event("response.incomplete", response={}),
        LastEvent("incomplete"),
        True,
    ),
    (
        "failed",
        event("response.failed", response={"error": {"code": "c"}}),
        LastEvent(
            "failed", error={"type": "response.failed", "response": {"error": {"code": "c"}}}
        ),
        False,
    ),
    (
        "an error event",
        event("error", error={"code": "c"}),
        LastEvent("failed", error={"type": "error", "error": {"code": "c"}}),
        False,
    ),
    (
        "an error that only its line names",
        'event: error\ndata: {"message": "m"}\n\n',
        LastEvent("failed", error={"message": "m"}),
        False,
    ),
    (
        "an error without a type",
        'data: {"error": {"code": 502}}\n\n',
        LastEvent("failed", error={"error": {"code": 502}}),
        False,
    ),
    (
        "vLLM's error without a type of ours",
        'data: {"object": "error", "type": "BadRequestError", "message": "m"}\n\n',
        LastEvent("failed", error={"object": "error", "type": "BadRequestError", "message": "m"}),
        False,
    ),
    ("an event with an empty error is none", CREATED + 'data: {"error": null}\n\n', None, True),
    ("cut", CREATED + DELTA, None, True),
    ("cut in the middle of the last event", (CREATED + COMPLETED)[:-1], None, True),
    (
        "carriage returns",
        event("response.completed", "\r\n", response={"usage": 1}),
        LastEvent("completed", 1),
        True,
    ),
    (
        "only carriage returns",
        event("response.completed", "\r", response={"usage": 1}) + "x",
        LastEvent("completed", 1),
        True,
    ),
    (
        "data over two lines",
        'data: {"type":\ndata: "response.completed"}\n\n',
        LastEvent("completed"),
        True,
    ),
    (
        "comments and other fields",
        ": ping\n\nid: 1\nretry: 5\n" + COMPLETED,
        LastEvent("completed", {"input_tokens": 1}),
        True,
    ),
    (
        "no blank after the colon",
        'data:{"type":"response.completed"}\n\n',
        LastEvent("completed"),
        True,
    ),
    (
        "only the first last event counts",
        COMPLETED + event("response.failed", response={}),
        LastEvent("completed", {"input_tokens": 1}),
        True,
    ),
    ("no JSON", "data: response.completed\n\ndata: [DONE]\n\n", None, True),
    (
        "a response that is a list",
        event("response.completed", response=[1]),
        LastEvent("completed"),
        True,
    ),
]


@pytest.mark.parametrize(
    ("stream", "last", "began"), [s[1:] for s in STREAMS], ids=[s[0] for s in STREAMS]
)
def test_a_stream(stream, last, began):
    watch = EventStream()
    watch.feed(stream.encode())
    assert watch.last == last
    assert watch.began is began


IN_PROGRESS = event("response.in_progress", response={"id": "r"})
# name, stream, events that are progress
SIGNS_OF_LIFE = [
    ("a comment", CREATED + ": OPENROUTER PROCESSING\n\n" * 3, 1),
    ("OpenAI's keepalive", CREATED + event("keepalive", sequence_number=3) * 3, 1),
    ("OpenRouter's", CREATED + event("response.keep_alive") * 3, 1),
    ("a ping", CREATED + "event: ping\ndata: {}\n\n" * 3, 1),
    ("a ping with a type", CREATED + event("ping") * 3, 1),
    ("an event that is no JSON", CREATED + "data: : ping\n\n" * 3, 1),
    ("an event without data", CREATED + "event: ping\n\n" * 3, 1),
    ("blank lines", CREATED + "\n" * 9, 1),
    ("the response's state again and again", (CREATED + IN_PROGRESS) * 4, 2),
    ("a delta of nothing", CREATED + event("response.output_text.delta", delta="") * 3, 1),
    ("half a line for ever", CREATED + "data: " + "x" * 99, 1),
    ("a delta", CREATED + DELTA * 3, 4),
    ("an event that nobody knows yet", CREATED + event("response.thought.added") * 3, 4),
    ("the last event", CREATED + COMPLETED, 2),
    ("an error", event("error", error={"code": "c"}), 1),
]


@pytest.mark.parametrize(
    ("stream", "progress"), [s[1:] for s in SIGNS_OF_LIFE], ids=[s[0] for s in SIGNS_OF_LIFE]
)
def test_a_sign_of_life_is_no_progress(stream, progress):
    watch = EventStream()
    watch.feed(stream.encode())
    assert watch.progress == progress


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
    assert (parts.last, parts.began) == (whole.last, whole.began)


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


TOO_LARGE = [
    ("a line without an end", ["data: ", "x" * 95], True),
    ("lines without an empty one", ["data: x\n"] * 13, True),
    ("a comment", [":" * 101], True),
    ("as much as may be", ["data: ", "x" * 94], False),
    ("that much, and its end", ["data: ", "x" * 92, "\n\n"], False),
    ("many events", [CREATED] * 100, False),
]


@pytest.mark.parametrize(
    ("chunks", "is_too_large"), [row[1:] for row in TOO_LARGE], ids=[row[0] for row in TOO_LARGE]
)
def test_an_event_has_a_bound(monkeypatch, chunks, is_too_large):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    events = EventStream()
    assert events.feed(CREATED.encode()) == CREATED.encode()
    for chunk in chunks:
        assert not events.is_too_large
        events.feed(chunk.encode())
    assert events.is_too_large == is_too_large


@given(st.binary())
def test_no_bytes_break_it(data):
    EventStream().feed(data)


def item(kind, **more):
    return event("response.output_item.done", item={"type": kind, **more})


def delta(text, kind="response.output_text.delta"):
    return event(kind, delta=text)


MESSAGE = item("message", content=[{"type": "output_text", "text": "naïve"}])
SEARCH = item("web_search_call", action={"type": "search", "query": "q"})
RECEIVED = [
    # name, stream, bytes of text, searches
    ("nothing yet", CREATED, 0, 0),
    ("deltas", delta("na") + delta("ïve"), 6, 0),
    ("deltas, and then the item that they made", delta("na") + delta("ïve") + MESSAGE, 6, 0),
    ("an item without deltas", MESSAGE, 6, 0),
    ("an item, and deltas of the next one", MESSAGE + delta("ab"), 8, 0),
    ("arguments of a call", delta("{}", "response.function_call_arguments.delta"), 2, 0),
    ("a call without deltas", item("function_call", name="f", arguments="{}"), 2, 0),
    ("a script", item("custom_tool_call", name="exec", input="abc"), 3, 0),
    ("a summary", item("reasoning", summary=[{"type": "summary_text", "text": "abc"}]), 3, 0),
    ("reasoning that is not shown", item("reasoning", encrypted_content="QUJD"), 3, 0),
    ("a delta that is no text", event("response.x.delta", delta={"a": 1}), 0, 0),
    ("the frame of events is no text", ": ping\n\n" * 100 + CREATED, 0, 0),
    ("searches", SEARCH + SEARCH + MESSAGE, 6, 2),
    (
        "searches that the last event alone has",
        event("response.completed", response={"output": [{"type": "web_search_call"}] * 3}),
        0,
        3,
    ),
    (
        "searches that the last event has again",
        SEARCH + event("response.completed", response={"output": [{"type": "web_search_call"}]}),
        0,
        1,
    ),
]


@pytest.mark.parametrize(
    ("stream", "text_bytes", "searches"), [r[1:] for r in RECEIVED], ids=[r[0] for r in RECEIVED]
)
def test_what_has_come(stream, text_bytes, searches):
    watch = EventStream()
    watch.feed(stream.encode())
    assert (watch.text_bytes, watch.searches) == (text_bytes, searches)


@pytest.mark.parametrize(
    ("named", "tier"), [("priority", "priority"), (None, None), ({"a": 1}, None)]
)
def test_the_tier_that_was_served(named, tier):
    watch = EventStream()
    watch.feed(event("response.completed", response={"service_tier": named}).encode())
    assert watch.last == LastEvent("completed", tier=tier)
