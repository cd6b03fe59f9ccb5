"""Measure how long the command line takes to start, cold, and how much memory: every command is a
process of its own.

They talk to a small server here that answers at once, so that what is measured is the command.
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from measured import Measured

ROUNDS = 11
RUN = {
    "run_id": "3f0c5a52-6d0e-4f5e-9f1b-0d6c1c1c7a11",
    "name": "hello-1",
    "namespace": "codexrun",
    "job_type": "hello",
    "status": "succeeded",
    "created_at": "2026-01-31T12:00:00Z",
    "usage": {
        "input_tokens": 1,
        "cached_input_tokens": 0,
        "output_tokens": 1,
        "total_tokens": 2,
        "complete": True,
    },
}
CONDITION = {
    "type": "Admitted",
    "status": "True",
    "reason": "Admitted",
    "last_transition_time": RUN["created_at"],
}
DETAILS = {
    "limits": {"max_tokens": 1000},
    "conditions": [CONDITION] * 4,
    "transitions": [{"at": RUN["created_at"], "attempt": 1, "status": "running"}] * 4,
}
COMMANDS = {
    "help": ["--help"],
    "list": ["list"],
    "status": ["status", "hello-1"],
    "completion": ["completion", "bash"],
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer: object = DETAILS if "details" in self.path else RUN
        if self.path.startswith("/runs?"):
            answer = {"runs": [RUN] * 50}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def run_once(words: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Return milliseconds until its end, and megabytes (peak resident), of one process."""
    started_at = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "codexrun_cli", *words],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words}: exit {os.waitstatus_to_exitcode(status)}")
    return (time.perf_counter() - started_at) * 1000, usage.ru_maxrss / 1024


async def measure() -> list[Measured]:
    """Return a time for each command; of the memory the largest of each round."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        env = {
            **os.environ,
            "XDG_CONFIG_HOME": home,
            "CODEX_CONTROL_URL": f"http://127.0.0.1:{server.server_port}",
            "CODEX_CONTROL_TOKEN": "t",
        }
        rounds = [
            {name: run_once(words, env) for name, words in COMMANDS.items()} for _ in range(ROUNDS)
        ]
    server.shutdown()
    times = [
        Measured(f"cli_{name}_ms", [measured[name][0] for measured in rounds]) for name in COMMANDS
    ]
    return [
        *times,
        Measured(
            "cli_resident_mb", [max(size for _, size in measured.values()) for measured in rounds]
        ),
    ]
