"""How long does the command line take to start, cold, and how much memory? Every command is a
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


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        shown = (
            {"runs": [RUN] * 50}
            if self.path.startswith("/runs?")
            else DETAILS
            if "details" in self.path
            else RUN
        )
        body = json.dumps(shown).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def once(words: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Milliseconds until its end, and megabytes (peak resident), of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "codexrun_cli", *words],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words}: exit {os.waitstatus_to_exitcode(status)}")
    return (time.perf_counter() - began) * 1000, used.ru_maxrss / 1024


async def measure() -> list[Measured]:
    """A time for each command; of the memory the largest of each round."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        env = {
            **os.environ,
            "XDG_CONFIG_HOME": home,
            "CODEX_CONTROL_URL": f"http://127.0.0.1:{server.server_port}",
            "CODEX_CONTROL_TOKEN": "t",
        }
        rounds = [
            {name: once(words, env) for name, words in COMMANDS.items()} for _ in range(ROUNDS)
        ]
    server.shutdown()
    times = [Measured(f"cli_{name}_ms", [found[name][0] for found in rounds]) for name in COMMANDS]
    return [
        *times,
        Measured("cli_resident_mb", [max(size for _, size in found.values()) for found in rounds]),
    ]
