"""A pod without Kubernetes: the real Codex with runner, gate and demo model as plain processes on
loopback."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from programs import NO_CAS, free_port

from codexrun_cluster.images.codex import codex_folder
from codexrun_cluster.paths import find_paths
from codexrun_pod.gate.policy import shape

Json = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[3]
PYTHONPATH = ":".join(str(REPOSITORY / part) for part in ("core", "pod", "demo-model"))
KEY = "sk-demo-5f9c1b7a2e"
SLOW_MACHINE = 60  # seconds that anything here may take at most


def find_codex() -> Path:
    """Return CODEX_BIN, else the agent image's own, else what `make codex` keeps in the user's
    cache folder, in the version of our images."""
    if path := os.environ.get("CODEX_BIN"):
        return Path(path)
    kept = codex_folder(find_paths()) / "bin/codex"
    for path in (Path("/opt/codex/bin/codex"), kept):
        if path.is_file():
            return path
    pytest.fail(f"there is no {kept}; run `make codex`, or set CODEX_BIN", pytrace=False)


def find_each_codex() -> list[Path]:
    """Return the binaries in the cache of all versions that the gate knows; with CODEX_BIN that one
    alone."""
    if "CODEX_BIN" in os.environ:
        return [find_codex()]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "codexrun"
    versions = shape.TABLE["codex"]
    return [path for each in versions for path in sorted(cache.glob(f"codex/{each}-*/bin/codex"))]


# A process tree whose first process is number 1, with a /proc of its own; without root by way of a
# user namespace.
NAMESPACE = (
    "unshare",
    *(() if os.geteuid() == 0 else ("-r",)),
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
)

MOUNTS = ("unshare", *(() if os.geteuid() == 0 else ("-r",)), "-m")


def start(
    module: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    namespace: bool = False,
    policy: Sequence[str] = (),
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a module of the pod as a process; `options` are those of Popen."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("CODEX", "PYTHON", "PIP", "HTTP"))
    }
    if module != "codexrun_pod.runner":  # Codex refuses a file without a certificate
        environment |= NO_CAS
    environment |= {"PYTHONPATH": PYTHONPATH, **(env or {})}
    python = (
        os.environ.get("RUNNER_PYTHON", sys.executable)
        if module == "codexrun_pod.runner"
        else sys.executable
    )
    command = [*policy, *(NAMESPACE if namespace else ()), python, "-m", module, *arguments]
    return subprocess.Popen(command, env=environment, **options)


@contextmanager
def demo_model(folder: Path) -> Iterator[str]:
    """Serve the demo model; yields its base URL, without /v1."""
    port = free_port()
    with (folder / "log").open("wb") as log:
        server = start(
            "codexrun_demo_model",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    until(lambda: get(f"{url}/healthz"), "the demo model answers")
    yield url
    server.terminate()
    server.wait(10)


def get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return json.load(answer)
    except OSError:
        return None


def until(condition: Callable[[], Any], what: str, seconds: float = SLOW_MACHINE) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return value


@dataclass
class Result:
    """How the agent's container ended: exit code, both messages, the log's lines."""

    code: int
    runner: Json
    gate: Json
    lines: list[Json]

    @property
    def events(self) -> list[Json]:
        return [line["event"] for line in self.lines if "event" in line]

    @property
    def failure(self) -> str | None:
        failure: Json = self.runner.get("failure", {})
        return failure.get("class")


@dataclass
class Pod:
    root: Path
    codex: Path
    demo: str
    run_id: str = "11111111-2222-3333-4444-555555555555"
    gate: subprocess.Popen[bytes] | None = None
    runner: subprocess.Popen[bytes] | None = None
    gate_port: int = field(default_factory=free_port)
    ingest: str | None = None  # URL of an ingest_stand, for tests that look at artifacts

    def __post_init__(self) -> None:
        for name in ("workspace", "home", "tmp", "gate-state"):
            (self.root / name).mkdir()
        (self.root / "api-key").write_text(KEY)

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    def start_gate(
        self,
        *,
        max_tokens: int | None = None,
        models: Sequence[str] = ("gpt-5.5", "gpt-6-sol"),
        upstream: str | None = None,
        prices: Json | None = None,
        ingest: str | None = None,
        environment: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        settings = {
            "runId": self.run_id,
            "jobType": "test",
            "attempt": 1,
            "upstreamURL": upstream or f"{self.demo}/v1",
            "port": self.gate_port,
            "models": list(models),
            "maxTokens": max_tokens,
            "prices": prices or {},
            "priceTable": "2026-11-24" if prices else None,
            "ingestURL": ingest or self.ingest,
            **more,
        }
        self.gate_environment = {
            "CODEXRUN_GATE": json.dumps(settings),
            "CODEXRUN_GATE_KEY": str(self.root / "api-key"),
            "CODEXRUN_GATE_STATE": str(self.root / "gate-state"),
            "CODEXRUN_GATE_INGEST_TOKEN": str(self.root / "ingest-token"),
            "CODEXRUN_TERMINATION_LOG": str(self.root / "gate-message"),
            **(environment or {}),
        }
        self.restart_gate()
        until(self._gate_listens, "the gate listens, or has ended")

    def _gate_listens(self) -> bool:
        """Beside other lanes its imports take a while, and a gate that is ended before has no
        orderly end."""
        assert self.gate is not None
        log = (self.root / "gate.log").read_bytes()
        return b"gate.listening" in log or self.gate.poll() is not None

    def restart_gate(self) -> None:
        self.gate = start(
            "codexrun_pod.gate",
            stdout=(self.root / "gate.log").open("ab"),
            env=self.gate_environment,
        )

    def start_runner(
        self,
        prompt: str = "scenario: {{scenario}}",
        inputs: Json | None = None,
        *,
        model: str = "gpt-5.5",
        timeout: float = 50,
        stall: float = 30,
        env: dict[str, str] | None = None,
        namespace: bool = False,
        policy: str | None = None,
        without_bwrap: bool = False,
        **more: Any,
    ) -> None:
        """For this process tree alone: policy, text of /etc/codex/requirements.toml; without_bwrap,
        no sandbox of Codex's."""
        (self.root / "prompt.md").write_bytes(prompt.encode())
        run = {
            "runId": self.run_id,
            "name": "test-1",
            "namespace": "codexrun",
            "jobType": "test",
            "attempt": 1,
            "prompt": {
                "name": "test",
                "version": "v1",
                "sha256": hashlib.sha256(prompt.encode()).hexdigest(),
            },
            "model": model,
            "effort": None,
            "timeoutSeconds": timeout,
            "stallSeconds": stall,
            "gatePort": self.gate_port,
            "workspaceBytes": 0,
            "homeBytes": 0,
            "maskEnv": [],
            "git": False,
            **more,
        }
        environment = {
            "CODEXRUN_RUN": json.dumps(run),
            "CODEXRUN_INPUTS": base64.b64encode(json.dumps(inputs or {}).encode()).decode(),
            "CODEXRUN_PROMPT": str(self.root / "prompt.md"),
            "CODEXRUN_CODEX": str(self.codex),
            "CODEXRUN_WORKSPACE": str(self.workspace),
            "CODEXRUN_TERMINATION_LOG": str(self.root / "runner-message"),
            "HOME": str(self.root / "home"),
            "CODEX_HOME": str(self.root / "home" / ".codex"),
            "TMPDIR": str(self.root / "tmp"),
            **(env or {}),
        }
        log = (self.root / "agent.log").open("wb")
        self.runner = start(
            "codexrun_pod.runner",
            stdout=log,
            cwd=self.workspace,
            env=environment,
            namespace=namespace,
            policy=self.no_bwrap() if without_bwrap else self.policy_mount(policy),
        )

    @property
    def hooks(self) -> Path:
        """/opt/codexrun/bin as the agent's image has it."""
        root = self.root / "opt"
        if not root.exists():
            shutil.copytree(REPOSITORY / "pod/bin", root / "bin")
            (root / "lib").mkdir()
            (root / "lib/codexrun_pod").symlink_to(REPOSITORY / "pod/codexrun_pod")
            (root / "lib/codexrun_core").symlink_to(REPOSITORY / "core/codexrun_core")
        return root / "bin"

    def no_bwrap(self) -> tuple[str, ...]:
        """The command words that make bubblewrap fail, as it does under a pod's seccomp profile."""
        bwrap = self.codex.parent.parent / "codex-resources/bwrap"
        return (*MOUNTS, "sh", "-c", f'mount --bind /bin/false {bwrap} && exec "$@"', "sh")

    def policy_mount(self, text: str | None) -> tuple[str, ...]:
        """The command words that put a policy over /etc, in a mount namespace of their own."""
        if text is None:
            return ()
        over = self.root / "etc"
        (over / "up/codex").mkdir(parents=True)
        (over / "work").mkdir()
        (over / "up/codex/requirements.toml").write_text(text)
        script = (
            f"mount -t overlay overlay -o lowerdir=/etc,upperdir={over}/up,workdir={over}/work /etc"
            ' && exec "$@"'
        )
        return (*MOUNTS, "sh", "-c", script, "sh")

    def play(self, scenario: str, **options: Any) -> Result:
        """One whole run of a scenario, gate included."""
        if self.gate is None:
            self.start_gate()
        self.start_runner(inputs={"scenario": scenario}, **options)
        return self.end()

    def end(self, patience: float = SLOW_MACHINE) -> Result:
        """Wait for the agent, then end the gate, as the kubelet does."""
        assert self.runner is not None
        code = self.runner.wait(patience)
        if self.gate is not None:
            self.gate.terminate()
            assert self.gate.wait(20) == 0, (self.root / "gate.log").read_text()
        return Result(code, self.message("runner"), self.message("gate"), self.lines())

    def message(self, who: str) -> Json:
        path = self.root / f"{who}-message"
        if not path.exists():
            return {}
        raw = path.read_bytes()
        assert len(raw) == 3000
        report: Json = json.loads(raw)
        return report

    def lines(self) -> list[Json]:
        return [json.loads(line) for line in (self.root / "agent.log").read_bytes().splitlines()]

    def until_event(self, kind: str, text: str = "") -> None:
        """Wait until a line of Codex's with this event type and text is there."""
        until(
            lambda: any(
                line.get("event", {}).get("type") == kind and text in json.dumps(line)
                for line in self.whole_lines()
            ),
            f"Codex says {kind} {text}",
        )

    def whole_lines(self) -> list[Json]:
        raw = (self.root / "agent.log").read_bytes()
        return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]

    def clear(self) -> None:
        for process in (self.runner, self.gate):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self.runner, self.gate):
            if process is not None:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(5)
