"""A gate as a process, with an upstream that a test scripts, and clients of its port."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from codex_stand import Pod

Json = dict[str, Any]
BODY: Json = {"model": "gpt-5.5", "stream": True, "store": False, "input": "hello"}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


USAGE = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
COMPLETED = event("response.completed", response={"id": "r", "usage": USAGE})


class Upstream(ThreadingHTTPServer):
    """Keeps what comes, and answers as `answer` does, which a request's handler is given to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[dict[str, str], Json]] = []
        self.answer: Callable[[_Handler], None] = lambda handler: handler.stream(COMPLETED)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), json.loads(body)))
        self.server.answer(self)

    def stream(self, *chunks: bytes, **headers: str) -> None:
        """Write a stream, each chunk by itself; a name of a header has _ for -."""
        self.reply(200, b"", Content_Type="text/event-stream", **headers)
        for chunk in chunks:
            self.wfile.write(chunk)
            self.wfile.flush()

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def gate(folder: Path, **settings: Any) -> Iterator[tuple[Pod, Upstream]]:
    """Run a gate; its pod has no Codex."""
    upstream = Upstream()
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    pod = Pod(folder, Path("/nowhere/codex"), upstream.url.removesuffix("/v1"))
    pod.start_gate(**settings)
    try:
        yield pod, upstream
    finally:
        pod.clear()
        upstream.shutdown()
        upstream.server_close()


def post(pod: Pod, body: Json | bytes = BODY, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers of the gate's answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{pod.gate_port}/v1/responses",
        data,
        {"Content-Type": "application/json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def connect(pod: Pod) -> socket.socket:
    return socket.create_connection(("127.0.0.1", pod.gate_port), timeout=60)


def account(pod: Pod) -> Json:
    """Return the gate's state file."""
    stored: Json = json.loads((pod.root / "gate-state/account.json").read_bytes())
    return stored


def memory_mib(pod: Pod) -> float:
    """Return the most memory that the gate has had resident (VmHWM of proc(5))."""
    assert pod.gate is not None
    lines = Path(f"/proc/{pod.gate.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
