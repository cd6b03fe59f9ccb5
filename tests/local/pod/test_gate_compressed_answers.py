"""A gate's process before an endpoint that compresses, although it was asked not to: each answer is
counted to the token, or refused once."""

import asyncio
import contextlib
import gzip
import json
import zlib
from pathlib import Path

import aiohttp
import pytest
from codex_stand import Pod

BODY = {"model": "gpt-5.5", "stream": True, "store": False, "input": "hello"}
DELTA = b'data: {"type": "response.output_text.delta", "delta": "x"}\n\n'
COMPLETED = (
    b'data: {"type": "response.completed", "response":'
    b' {"id": "r", "usage": {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}}}\n\n'
)
STREAM = DELTA + COMPLETED
ERROR = json.dumps({"error": {"message": "Quota exceeded", "code": "insufficient_quota"}}).encode()
READABLE = {"gzip": gzip.compress, "deflate": zlib.compress}
REFUSED = ["br", "zstd", "aes128gcm", "gzip, gzip", "gzip\r\nContent-Encoding: gzip"]


@contextlib.asynccontextmanager
async def upstream(status: str, head: str, body: bytes):
    """An endpoint that answers each request so; yields its URL and the list of what it got."""
    requests = []

    async def serve(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        requests.append(request)
        size = request.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(size))
        length = "" if "Transfer-Encoding" in head else f"Content-Length: {len(body)}\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n{length}Connection: close\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests


async def ask(tmp_path, status: str, head: str, body: bytes):
    """Ask once through a gate; return status, body, the gate's message, and upstream's requests."""
    pod = Pod(tmp_path, Path("no-codex"), "")
    async with upstream(status, head, body) as (url, requests):
        try:
            pod.start_gate(upstream=url)
            async with aiohttp.ClientSession() as client:
                gate = f"http://127.0.0.1:{pod.gate_port}/v1/responses"
                async with client.post(gate, json=BODY) as answer:
                    text = await answer.read()
            pod.gate.terminate()
            pod.gate.wait(20)
        finally:
            pod.clear()
    return answer.status, text, pod.message("gate"), requests


@pytest.mark.parametrize("coding", READABLE)
async def test_what_can_be_read_is_counted(tmp_path, coding):
    body = READABLE[coding](STREAM)
    status, text, message, requests = await ask(
        tmp_path, "200 OK", f"Content-Encoding: {coding}", body
    )
    assert (status, text) == (200, STREAM)
    assert (message["usage"]["totalTokens"], message["complete"]) == (120, True)
    assert b"accept-encoding: identity\r\n" in requests[0].lower()


@pytest.mark.parametrize("coding", REFUSED)
async def test_what_cannot_be_read_is_refused_once_and_charged(tmp_path, coding):
    status, text, message, requests = await ask(
        tmp_path, "200 OK", f"Content-Encoding: {coding}", STREAM
    )
    assert status == 400, "which Codex does not try again"
    error = json.loads(text)["error"]
    assert (error["type"], error["code"]) == ("codexrun_gate", "unreadable")
    names = coding.replace("\r\nContent-Encoding:", ",")
    assert f"has the Content-Encoding {names}, which" in error["message"]
    last = message["lastError"]
    assert (last["class"], last["retryable"]) == ("model_error", False)
    assert error["message"] == f"{last['message']} ({last['advice']})"
    assert len(requests) == 1
    assert message["usage"]["totalTokens"] > 0, "it may have been paid"
    assert not message["complete"]


async def test_a_transfer_coding_is_a_coding_too(tmp_path):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(STREAM), STREAM)
    head = "Transfer-Encoding: br, chunked"
    status, text, message, _ = await ask(tmp_path, "200 OK", head, chunked)
    assert (status, message["lastError"]["class"]) == (400, "model_error")
    assert b"has the Content-Encoding br, which" in text


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_error_is_read_for_its_class(tmp_path, coding):
    status, text, message, _ = await ask(
        tmp_path,
        "429 Too Many Requests",
        f"Content-Encoding: {coding}",
        READABLE[coding](ERROR),
    )
    assert (status, text) == (400, ERROR), "an account that is used up stays so"
    assert message["lastError"]["class"] == "quota"
    assert message["usage"]["totalTokens"] == 0


async def test_an_error_that_cannot_be_read_keeps_its_class_and_is_free(tmp_path):
    status, text, message, _ = await ask(
        tmp_path, "401 Unauthorized", "Content-Encoding: br", b"\x8b\x01\x80no\x03"
    )
    expected = b"the error message cannot be read, because the response has the Content-Encoding br"
    assert (status, text) == (400, expected)
    error = {"class": "auth", "status": 401, "message": f"HTTP 401: {text.decode()}"}
    assert error.items() <= message["lastError"].items()
    assert (message["usage"]["totalTokens"], message["complete"]) == (0, True)


async def test_an_answer_that_is_not_what_it_says_is_cut_and_charged(tmp_path):
    with pytest.raises(aiohttp.ClientError):
        await ask(tmp_path, "200 OK", "Content-Encoding: gzip", STREAM)
    message = json.loads((tmp_path / "gate-message").read_bytes())
    assert message["lastError"]["class"] == "model_error"
    assert message["usage"]["totalTokens"] > 0
    assert not message["complete"]
