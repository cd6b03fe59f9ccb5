"""Each Codex that is tested takes what the runner writes for it: every key is known to it, and the
limit on a silent stream holds."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from codexrun_cluster.images.codex import codex_folder, pins
from codexrun_cluster.paths import find_paths
from codexrun_pod.runner import settings
from codexrun_pod.runner.codex import config, model_catalogue

Json = dict[str, Any]
PROGRAMS = (
    [Path(os.environ["CODEX_BIN"])]
    if "CODEX_BIN" in os.environ
    else [codex_folder(find_paths(), pin.version) / "bin/codex" for pin in pins()]
)
CREATED: Json = {"type": "response.created", "response": {"id": "r"}}
MESSAGE: Json = {
    "type": "response.output_item.done",
    "item": {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "hi"}],
    },
}
COMPLETED: Json = {"type": "response.completed", "response": {"id": "r"}}
POLICY: Json = {
    "type": "response.failed",
    "response": {
        "id": "r",
        "error": {"code": "bio_policy", "message": "This content was flagged."},
    },
}
ALL_TOOLS = ["shell", "apply_patch", "view_image", "web_search", "mcp:t/alpha"]
SERVER = Path(__file__).with_name("mcp_server.py")
RUNS: dict[str, Json] = {
    "as few settings as there can be": {},
    "each setting": {"effort": "high", "sandbox": "codex", "allowedTools": ALL_TOOLS},
    "no tool": {"allowedTools": []},
}


class Model(ThreadingHTTPServer):
    """Answers each request with the next of `answers`: events, and then silence if the last is
    None."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[list[Json | None]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.closing = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), body))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in self.server.answers.pop(0):
            if event is None:
                self.server.closing.wait()
            else:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def model() -> Iterator[Model]:
    server = Model()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(params=PROGRAMS, ids=lambda path: path.parts[-3])
def program(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    assert path.exists(), "run `make codex`"
    return path


def run(
    program: Path, folder: Path, model: Model, *, idle_milliseconds: int = 0, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run Codex on the runner's own configuration, in which every key has to be known."""
    given = {
        "runId": "1",
        "name": "n",
        "jobType": "t",
        "attempt": 1,
        "prompt": {"version": "v1", "sha256": "0"},
        "model": "gpt-5.5",
        "timeoutSeconds": 60,
        "stallSeconds": 600,
        "gatePort": model.server_port,
        "mcpServers": [
            {"name": "t", "command": [sys.executable, str(SERVER), str(folder)], "env": ["LANG"]}
        ],
        **more,
    }
    environ = {"HOME": str(folder), "CODEXRUN_CODEX": str(program), "PATH": "/usr/bin:/bin"}
    ours = settings.from_env({**environ, "CODEXRUN_RUN": json.dumps(given)})
    ours.codex_home.mkdir()
    text = config.config_toml(ours)
    if "apply_patch" not in ours.allowed_tools:
        model_catalogue.without_apply_patch(ours)
    if idle_milliseconds:
        limit = f"stream_idle_timeout_ms = {idle_milliseconds}"
        text, count = re.subn(r"stream_idle_timeout_ms = \d+", limit, text)
        assert count == 1
    (ours.codex_home / "config.toml").write_text(text)
    first, *words = config.command(ours)
    return subprocess.run(
        [first, words[0], "--strict-config", *words[1:]],
        input="hi",
        env=config.environment(environ, ours),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("more", RUNS.values(), ids=RUNS)
def test_every_key_is_known(
    program: Path, tmp_path: Path, model: Model, more: dict[str, Any]
) -> None:
    model.answers = [[MESSAGE, COMPLETED]]
    result = run(program, tmp_path, model, **more)
    assert (result.returncode, "unknown" in result.stderr) == (0, False), result
    headers, body = model.requests[0]
    assert "Content-Encoding" not in headers
    assert json.loads(body)["model"] == "gpt-5.5"


def test_its_limit_on_a_silent_stream_is_the_one_that_is_written(
    program: Path, tmp_path: Path, model: Model
) -> None:
    """Made small, so that the test need not wait; the runner writes one above stallSeconds."""
    model.answers = [[CREATED, None], [MESSAGE, COMPLETED]]
    result = run(program, tmp_path, model, idle_milliseconds=500)
    assert result.returncode == 0, result
    assert len(model.requests) == 2
    assert "idle timeout" in result.stdout


def test_a_refusal_by_the_provider_s_policy_is_not_tried_again(
    program: Path, tmp_path: Path, model: Model
) -> None:
    model.answers = [[CREATED, POLICY]]
    result = run(program, tmp_path, model)
    assert (result.returncode, len(model.requests)) == (1, 1), result
    assert "turn.failed" in result.stdout
