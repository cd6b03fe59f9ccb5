"""How long does the command line take to start, cold, and how much memory? Prints medians, and fails above the limits.

    python bench/cli.py [--rounds 11]

`list` and `status` talk to a small server here that answers at once, so that what is measured is the command.
"""

# ruff: noqa: T201 - numbers on stdout are what this is for

import argparse
import http.server
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

LIMIT_MS, LIMIT_MB = 300.0, 60.0
RUN = {
    "run_id": "3f0c5a52-6d0e-4f5e-9f1b-0d6c1c1c7a11",
    "name": "hello-1",
    "namespace": "codexrun",
    "job_type": "hello",
    "status": "succeeded",
    "created_at": "2026-01-31T12:00:00Z",
    "usage": {"input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 1, "total_tokens": 2, "complete": True},
}
COMMANDS = (["--help"], ["list"], ["status", "hello-1"], ["completion", "bash"])


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"runs": [RUN] * 50} if self.path.startswith("/runs?") else RUN).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def measure(words: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """Milliseconds, of these spent on a processor, and megabytes (peak resident) of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "codexrun_cli", *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words}: exit {os.waitstatus_to_exitcode(status)}")
    return (time.perf_counter() - began) * 1000, (used.ru_utime + used.ru_stime) * 1000, used.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    within = True
    with tempfile.TemporaryDirectory() as home:
        env = {
            **os.environ,
            "XDG_CONFIG_HOME": home,
            "CODEX_CONTROL_URL": f"http://127.0.0.1:{server.server_port}",
            "CODEX_CONTROL_TOKEN": "t",
        }
        for words in COMMANDS:
            found = [measure(words, env) for _ in range(rounds)]
            took, worked, size = (statistics.median(values) for values in zip(*found, strict=True))
            good = took < LIMIT_MS and size < LIMIT_MB
            within = within and good
            shown = f"{took:6.0f} ms ({worked:4.0f} ms CPU)  {size:5.1f} MB"
            print(f"codexrun {' '.join(words):18} {shown}  {'ok' if good else 'TOO MUCH'}")
    print(f"limits: {LIMIT_MS:.0f} ms, {LIMIT_MB:.0f} MB")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
