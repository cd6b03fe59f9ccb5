"""A network that cuts answers: the real Codex tries again, and its budget is not spent on that."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gate_process import event

PROMPT = "Answer with one word. " + "The quick brown fox jumps over the lazy dog. " * 545  # 24 KB
USAGE = {"input_tokens": 15_000, "output_tokens": 20, "total_tokens": 15_020}
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "id": "msg_1",
    "content": [{"type": "output_text", "text": "fox"}],
}


CREATED = event("response.created", response={"id": "resp_1"})
ANSWER = (
    CREATED
    + event("response.output_item.done", item=MESSAGE)
    + event("response.completed", response={"id": "resp_1", "usage": USAGE})
)


@contextmanager
def cutting_model(cuts: int) -> Iterator[tuple[str, list[int]]]:
    """Serve a model that cuts so many answers after their first event; yields its URL, and the
    bytes of the requests."""
    sizes: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            sizes.append(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(CREATED if len(sizes) <= cuts else ANSWER)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", sizes
        server.shutdown()


def test_three_cuts_and_then_an_answer_is_a_success(pod):
    with cutting_model(3) as (url, sizes):
        pod.start_gate(upstream=url, max_tokens=120_000)
        pod.start_runner(prompt=PROMPT)
        result = pod.end()
    assert result.code == 0, result.runner
    assert result.runner["finalMessage"] == "fox"
    assert len(sizes) == 4
    assert min(sizes) > 24_000
    usage = result.gate["usage"]
    assert (result.gate["requests"], result.gate["completed"], result.gate["complete"]) == (
        4,
        1,
        False,
    )
    assert "stop" not in result.gate
    assert usage["totalTokens"] < 120_000
    assert 15_020 + 3 * 24_000 // 3 < usage["totalTokens"] < usage["atMostTokens"]


def test_cuts_at_every_try_are_the_model_s_error_and_no_budget(pod):
    """The estimates of some tries are all of the budget; what is to be done is to try again."""
    with cutting_model(100) as (url, sizes):
        pod.start_gate(upstream=url, max_tokens=30_000)
        pod.start_runner(prompt=PROMPT)
        result = pod.end()
    assert result.code == 1
    assert 1 < len(sizes) < 6, "the last tries are refused"
    assert result.gate["stop"]["class"] == result.gate["lastError"]["class"] == "model_error"
    assert "ended before response.completed" in result.gate["stop"]["message"]
    assert "limits.maxTokens" in result.gate["stop"]["message"]
