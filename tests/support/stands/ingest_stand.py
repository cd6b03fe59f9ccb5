"""The api's ingest port as a gate sees it: takes the log and what else gates ship."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Ingest(BaseHTTPRequestHandler):
    """Takes what gates ship. `rollout`: of the run that theirs resumes."""

    kept: dict[str, bytes]
    rollout = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.rollout)))
        self.end_headers()
        self.wfile.write(self.rollout)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self.path.partition("?")[0].rpartition("/")[2]
        self.kept[name] = self.kept.get(name, b"") + body
        size = int(self.path.partition("offset=")[2].partition("&")[0] or 0) + len(body)
        self.answer({"size": size, "ended": "end=" in self.path})

    def do_PUT(self) -> None:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = b""
        while chunked and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.kept[self.path.rpartition("/")[2]] = body or self.rfile.read(
            int(self.headers.get("Content-Length", 0))
        )
        if chunked:
            self.rfile.readline()
        self.answer({})

    def answer(self, what: Any) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def ingest_server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve; yields the URL and what came: `log`, `usage`, and artifacts by their names."""
    kept: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Kept", (Ingest,), {"kept": kept}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", kept
    server.shutdown()
