"""Bodies that nobody finishes, and bodies made to take memory, take little of the gate's 256 MiB,
and an honest request is answered all the same."""

import contextlib
import gzip
import http.client
import json
import threading
from contextlib import ExitStack

import pytest
from codex_stand import get, until
from gate_process import BODY, COMPLETED, account, connect, event, gate, memory_mib, post

MIB = 2**20
UNFINISHED_MIB = 128
WHOLE_MIB = 208


def half_sent(pod, head, piece, pieces):
    """Open a connection, and send as much as the gate takes of a body that does not end."""
    line = connect(pod)
    line.setblocking(False)
    try:
        line.sendall(head)
        for _ in range(pieces):
            line.sendall(piece)
    except (BlockingIOError, ConnectionError):
        pass
    return line


def head(path, *lines, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gate", *lines, "", ""]).encode()


CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"100000\r\n" + b"x" * MIB + b"\r\n"


def bomb():
    """An unfinished body that is large once it is unpacked."""
    body = gzip.compress(b'{"input":"' + b"a" * (200 * MIB) + b'"}')
    length = f"Content-Length: {len(body) + 1}"
    return head("/v1/responses", "Content-Encoding: gzip", length), body, 1


UNFINISHED = {
    "in chunks": lambda: (head("/v1/responses", CHUNKED), CHUNK, 15),
    "with a length": lambda: (head("/v1/responses", f"Content-Length: {16 * MIB}"), b"x" * MIB, 15),
    "without a byte of body": lambda: (head("/v1/responses", f"Content-Length: {MIB}"), b"", 0),
    "half a chunk's length": lambda: (head("/v1/responses", CHUNKED), b"1000", 1),
    "compressed": bomb,
    "half a head": lambda: (b"POST /v1/responses HTTP/1.1\r\nX: " + b"x" * 4000, b"", 0),
    "a log in chunks": lambda: (head("/log?offset=0", CHUNKED), CHUNK[:-10], 1),
    "an artifact in chunks": lambda: (
        head("/artifacts/rollout.jsonl", CHUNKED, method="PUT"),
        CHUNK,
        15,
    ),
    "a final message": lambda: (
        head("/artifacts/final-message.md", CHUNKED, method="PUT"),
        CHUNK,
        15,
    ),
    "to no route": lambda: (head("/v1/embeddings", CHUNKED), CHUNK, 15),
}


@pytest.mark.parametrize("kind", UNFINISHED)
def test_fifty_unfinished_bodies(tmp_path, kind):
    schema = {"CODEXRUN_OUTPUT_SCHEMA": "eyJ0eXBlIjogIm9iamVjdCJ9"}
    request = UNFINISHED[kind]()
    with gate(tmp_path, environment=schema) as (pod, upstream), ExitStack() as lines:
        for _ in range(50):
            lines.enter_context(half_sent(pod, *request))
        # As Codex does, it tries again when it is told that others wait.
        until(lambda: post(pod)[0] == 200, "an honest request is answered", 30)
        assert memory_mib(pod) < UNFINISHED_MIB
        assert len(upstream.requests) == 1
        assert account(pod)["stop"] is None


def test_a_thousand_connections(tmp_path):
    with gate(tmp_path) as (pod, _):
        with ExitStack() as lines:
            for _ in range(1000):
                lines.enter_context(half_sent(pod, b"POST /v1/responses HT", b"", 0))
            assert memory_mib(pod) < UNFINISHED_MIB
        until(lambda: answered(pod), "an honest request is answered after they are gone", 30)


def answered(pod):
    try:
        return post(pod)[0] == 200
    except OSError:
        return False


def test_a_body_that_drips_is_given_up(tmp_path):
    with gate(tmp_path) as (pod, upstream), connect(pod) as line:
        line.sendall(head("/v1/responses", CHUNKED))
        line.settimeout(0.2)
        answer = b""
        while not answer:
            try:
                line.sendall(b"1\r\n[\r\n")
                answer = line.recv(4096)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"did not arrive within" in answer
        assert upstream.requests == []
        assert account(pod)["stop"] is None


def padded(start, piece, end):
    """A body that is just within the limit of bytes."""
    count = (16 * MIB - len(start) - len(end)) // len(piece)
    return start + piece * count + end


def tools(start, piece, end):
    return padded(b"{" + PLAIN + b',"tools":[' + start, piece, end + b"]}")


def schema(start, piece, end):
    return tools(b'{"type":"function","name":"shell","parameters":' + start, piece, end + b"}")


PLAIN = json.dumps(BODY)[1:-1].encode()
OPEN = b"{" + PLAIN + b',"x":['
BARE = json.dumps({key: value for key, value in BODY.items() if key != "input"})[:-1].encode()
WHOLE = {
    "lists": lambda: padded(OPEN, b"[],", b"1]}"),
    "objects": lambda: padded(OPEN, b'{"a":1},', b"1]}"),
    "numbers": lambda: padded(OPEN, b"1,", b"1]}"),
    "texts": lambda: padded(OPEN, b'"ab",', b"1]}"),
    "one text with a character of four bytes": lambda: padded(
        b"{" + PLAIN + b',"instructions":"\xf0\x9f\x98\x80', b"x", b'"}'
    ),
    "one text of escapes": lambda: padded(b"{" + PLAIN + b',"instructions":"', b"\\u00e9", b'"}'),
    "a list to include": lambda: padded(
        b"{" + PLAIN + b',"include":[["\xf0\x9f\x98\x80', b"x", b'"]]}'
    ),
    "a text to include": lambda: padded(
        b"{" + PLAIN + b',"include":["\xf0\x9f\x98\x80', b"x", b'"]}'
    ),
    "an object to include": lambda: padded(
        b"{" + PLAIN + b',"include":[{"a":"\xf0\x9f\x98\x80', b"x", b'"}]}'
    ),
    "many to include": lambda: (
        b"{"
        + PLAIN
        + b',"include":['
        + b",".join(b'"\xf0\x9f\x98\x80%s%06d"' % (b"x" * 26, n) for n in range(290_000))
        + b"]}"
    ),
    "one unknown key": lambda: padded(b"{" + PLAIN + b',"\xf0\x9f\x98\x80', b"x", b'":1}'),
    "many unknown keys": lambda: (
        b"{"
        + PLAIN
        + b"".join(b',"\xf0\x9f\x98\x80%s%06d":1' % (b"x" * 26, n) for n in range(290_000))
        + b"}"
    ),
    "keys": lambda: b"{" + PLAIN + b"".join(b',"k%d":1' % n for n in range(1_200_000)) + b"}",
    "depth": lambda: padded(OPEN[:-1], b"[", b""),
    "the text of a command": lambda: padded(
        BARE + b',"input":[{"type":"local_shell_call","status":"completed","call_id":"c",'
        b'"action":{"type":"exec","command":["\xf0\x9f\x98\x80',
        b"x",
        b'"]}}]}',
    ),
    "a tool's long name": lambda: tools(
        b'{"type":"function","name":"mcp__a__\xf0\x9f\x98\x80', b"x", b'"}'
    ),
    "a tool's name of signs": lambda: tools(b'{"type":"function","name":"mcp__a__', b"-", b'"}'),
    "a namespace of some tools": lambda: tools(
        b'{"type":"namespace","tools":['
        + b",".join(b'{"type":"function","name":"t%d"}' % n for n in range(8))
        + b'],"name":"mcp__a__\xf0\x9f\x98\x80',
        b"x",
        b'"}',
    ),
    "keys of a schema, and a text": lambda: schema(
        b"{" + b"".join(b'"k%d":1.5,' % n for n in range(295_000)) + b'"a":"\xf0\x9f\x98\x80',
        b"x",
        b'"}',
    ),
    "values of a schema, and a text": lambda: schema(
        b'{"enum":[' + b'{"a":1},' * 145_000 + b'"\xf0\x9f\x98\x80', b"x", b'"]}'
    ),
}


REFUSED = {
    "a description of scripts that is no text": lambda: padded(
        b"{" + PLAIN + b',"tools":[{"type":"custom","name":"exec","description":["\xf0\x9f\x98\x80',
        b"x",
        b'"]}]}',
    ),
    "an instruction that is no text": lambda: padded(
        b"{" + PLAIN + b',"instructions":["\xf0\x9f\x98\x80', b"x", b'"]}'
    ),
    "a model that is none": lambda: padded(
        b"{" + PLAIN + b',"model":"\xf0\x9f\x98\x80', b"x", b'"}'
    ),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_body_that_is_made_to_take_memory(tmp_path, kind):
    body = WHOLE[kind]()
    with gate(tmp_path) as (pod, _):
        for _ in range(2):
            assert post(pod, body)[0] in {200, 400}
        assert memory_mib(pod) < WHOLE_MIB
        assert account(pod)["stop"] is None
        assert post(pod)[0] == 200


@pytest.mark.parametrize("kind", REFUSED)
def test_a_whole_body_that_ends_the_run_takes_little_memory(tmp_path, kind):
    body = REFUSED[kind]()
    with gate(tmp_path) as (pod, _):
        for _ in range(2):
            assert post(pod, body)[0] == 400
        assert memory_mib(pod) < WHOLE_MIB
        assert account(pod)["stop"]["code"] == "guardrail"


def test_whole_bodies_that_wait_for_an_answer_wait_outside(tmp_path):
    """Behind a request whose client has left: nothing tells them yet that they are too many."""
    answered = threading.Event()
    body = padded(b"{" + PLAIN + b',"instructions":"', b"x", b'"}')
    request = head("/v1/responses", f"Content-Length: {len(body)}", "Connection: close") + body
    with gate(tmp_path) as (pod, upstream), ExitStack() as lines:
        upstream.answer = lambda handler: answered.wait(60) and handler.stream(COMPLETED)
        with half_sent(
            pod, head("/v1/responses", f"Content-Length: {len(PLAIN) + 2}"), b"", 0
        ) as one:
            one.sendall(b"{" + PLAIN + b"}")
            until(lambda: upstream.requests, "the first is with the model")
        senders = []
        for _ in range(12):
            line = lines.enter_context(connect(pod))
            senders.append(threading.Thread(target=line.sendall, args=[request], daemon=True))
            senders[-1].start()
        until(lambda: not all(sender.is_alive() for sender in senders), "one was read")
        for _ in range(300):  # time in which the others could be read
            assert get(f"http://127.0.0.1:{pod.gate_port}/healthz")
        assert memory_mib(pod) < UNFINISHED_MIB
        assert len(upstream.requests) == 1
        answered.set()
        until(lambda: not any(sender.is_alive() for sender in senders), "all were read")
        assert memory_mib(pod) < WHOLE_MIB


ENDLESS = {"a line": b"data: x" + b"x" * MIB, "lines of an event": b"data: x\n" * (MIB // 8)}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_event_of_the_provider_that_does_not_end(tmp_path, kind):
    def stream(handler):
        handler.stream(event("response.created", response={"id": "r"}))
        with contextlib.suppress(ConnectionError):
            for _ in range(256):
                handler.wfile.write(ENDLESS[kind])

    with gate(tmp_path) as (pod, upstream):
        upstream.answer = stream
        with pytest.raises((OSError, http.client.HTTPException)):
            post(pod)
        assert memory_mib(pod) < UNFINISHED_MIB
        status, answer, _ = post(pod)
        assert (status, b"is too large" in answer) == (400, True)
        assert len(upstream.requests) == 1, "Codex is told at once that another try is no use"
        pod.gate.terminate()
        pod.gate.wait(20)
        message = pod.message("gate")
        assert (message["lastError"]["class"], message["lastError"]["retryable"]) == (
            "model_error",
            False,
        )
        assert message["usage"]["totalTokens"] > 0, "it may have been paid"
        assert not message["complete"]


def test_a_refusal_is_short_wherever_it_is_told(tmp_path):
    with gate(tmp_path) as (pod, _):
        status, answer, _ = post(pod, {**BODY, "model": "m" * 10 * MIB})
        assert (status, len(answer) < 1000) == (400, True)
        assert len(json.dumps(account(pod))) < 5000
        assert len((pod.root / "gate.log").read_bytes()) < 5000
        assert len(pod.message("gate")["stop"]["message"]) <= 400
