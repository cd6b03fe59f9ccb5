"""Codex's process from start to end: its output, the watchdogs, the stop, and that nothing of it is
left."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import replace
from typing import IO, Any, Mapping, Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.codex import events
from codexrun_core.codex.events import Event
from codexrun_pod.runner import processes, watchdogs
from codexrun_pod.runner.codex import audit, config
from codexrun_pod.runner.codex.progress import (
    BACKTRACE,
    MAX_STDERR_LINES,
    CodexExit,
    Progress,
    Stop,
    describe_event,
    fold,
    is_instructions_cut,
)
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.settings import Settings
from codexrun_pod.runner.termination_report import TerminationReport
from codexrun_pod.runner.watchdogs import DiskLimit
from codexrun_pod.runner.workspace import Checkout

TICK_SECONDS = 0.5
INTERRUPT_SECONDS = 2.0  # Codex needs less than a tenth of one to end on SIGINT
READERS_SECONDS = 3.0

MCP_START_SECONDS = 30  # Codex's own for a server that starts, if the job type gives none
MCP_MARGIN_SECONDS = 15  # by which Codex's limit, whose message names the server, comes first

SIGNAL = Stop("signal", "the pod is being stopped")


class Supervisor:
    """One run of Codex. All state is the main thread's; readers and signals only put into the
    inbox."""

    def __init__(self, settings: Settings, log: Log, report: TerminationReport) -> None:
        """Install the signal handlers; `pause` and `run` act on signals."""
        self.settings = settings
        self.log = log
        self.report = report
        self.progress = Progress()
        self.checkout: Checkout | None = None  # what the workspace held before Codex began
        self.stop: Stop | None = None
        # SimpleQueue: `put` is safe inside of a signal handler.
        self.inbox: queue.SimpleQueue[dict[str, Any] | Stop | None] = queue.SimpleQueue()
        self.last_event = time.monotonic()
        self.last_activity = "none"
        self.starting = True  # Codex has not said anything yet
        self.stderr: deque[str] = deque(maxlen=MAX_STDERR_LINES)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.inbox.put(SIGNAL))
        signal.signal(signal.SIGCHLD, lambda *_: self.inbox.put(None))

    def pause(self, seconds: float) -> Stop | None:
        """Wait before Codex runs; return the reason to end the run, if one comes."""
        with contextlib.suppress(queue.Empty):
            message = self.inbox.get(timeout=seconds)
            return message if isinstance(message, Stop) else None
        return None

    def run(
        self,
        prompt: bytes,
        environ: dict[str, str],
        time_limits: watchdogs.TimeLimits,
        thread: str | None = None,
    ) -> CodexExit:
        """Start Codex with the prompt, follow it to its end, and end whatever it left running.

        thread: an earlier run's, to go on with.

        Raises:
            OSError: Codex cannot be started.
        """
        oom_before = processes.out_of_memory_kills()
        self.last_event = time.monotonic()
        self.last_activity = "Codex's start"
        codex = subprocess.Popen(
            config.command(self.settings, thread),
            cwd=self.settings.workspace,
            env=config.environment(environ, self.settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.report.write("running", self.progress)
        readers = self._start_readers(codex, prompt)
        code = self._wait_for_exit(codex.pid, time_limits)
        stop = self.stop  # a signal that comes from here on did not end Codex
        code = processes.end_all().get(codex.pid, code)
        # reaped here, not by subprocess
        codex.returncode = code if code is not None else -signal.SIGKILL
        deadline = time.monotonic() + READERS_SECONDS
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        self._read_inbox()
        # What the job type forbids is no success, also where Codex was faster than the watch.
        if stop is None or stop.reason != "guardrail":
            forbidden = self.stop if self.stop and self.stop.reason == "guardrail" else None
            stop = forbidden or audit.find_refused_call(self.settings.codex_home) or stop
        killed = processes.out_of_memory_kills() > oom_before
        return CodexExit(code, stop, tuple(self.stderr), killed)

    def _start_readers(
        self, codex: subprocess.Popen[bytes], prompt: bytes
    ) -> list[threading.Thread]:
        work = (
            (self._write_prompt, codex.stdin, prompt),
            (self._read_events, codex.stdout),
            (self._read_stderr, codex.stderr),
        )
        threads = [
            threading.Thread(target=do, args=arguments, daemon=True) for do, *arguments in work
        ]
        for thread in threads:
            thread.start()
        limits = self.settings
        watchdogs.watch_disks(
            (
                DiskLimit(limits.workspace, limits.workspace_bytes, "sizes.workspace"),
                DiskLimit(limits.home, limits.home_bytes, "sizes.home"),
                DiskLimit(limits.tmp, limits.tmp_bytes, "sizes.tmp"),
            ),
            limits.disk_bytes,
            self.inbox.put,
        )
        return threads

    def _write_prompt(self, pipe: IO[bytes], prompt: bytes) -> None:
        with contextlib.suppress(OSError), pipe:
            pipe.write(prompt)

    def _read_events(self, pipe: IO[bytes]) -> None:
        for raw in iter(pipe.readline, b""):
            event = self.log.write_codex(raw)
            if event is not None:
                self.inbox.put(event)

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        for raw in iter(pipe.readline, b""):
            line = self.log.write_plain("stderr", raw)
            if not BACKTRACE.fullmatch(line.strip()):
                self.stderr.append(line)

    def _wait_for_exit(self, pid: int, time_limits: watchdogs.TimeLimits) -> int | None:
        """Wait until Codex is gone; return its exit code, None if it outlived its kill."""
        interrupted = False
        kill_at = float("inf")
        while True:
            self._read_inbox(wait=TICK_SECONDS)
            ended = processes.reap()
            if pid in ended:
                return ended[pid]
            now = time.monotonic()
            if self.stop is None and (stop := self._reason_to_stop(time_limits, now)):
                self._begin_stop(stop)
            if self.stop is not None and not interrupted:
                processes.interrupt(pid)
                interrupted = True
                kill_at = now + INTERRUPT_SECONDS
            if now >= kill_at:
                return processes.end_all().get(pid)

    def _reason_to_stop(self, time_limits: watchdogs.TimeLimits, now: float) -> Stop | None:
        port = self.settings.gate_port
        cause = watchdogs.SLOW_MODEL
        if self.starting and (servers := config.mcp_servers(self.settings)):
            time_limits, cause = mcp_start(time_limits, [server for server, _ in servers])
        return (
            audit.find_refused_call(self.settings.codex_home)
            or time_limits.too_long(now)
            or time_limits.silent(
                now,
                self.last_event,
                len(self.progress.open_items),
                lambda: watchdogs.gate_idle(port),
                self.last_activity,
                cause=cause,
            )
        )

    def _begin_stop(self, stop: Stop) -> None:
        if self.stop is None:
            self.stop = stop
            self.log.write_own(
                "codex.stopping", status="stopping", phase="stop", reason=stop.message
            )

    def _read_inbox(self, wait: float = 0.0) -> None:
        with contextlib.suppress(queue.Empty):
            message = self.inbox.get(timeout=wait) if wait else self.inbox.get_nowait()
            while True:
                if isinstance(message, Stop):
                    self._begin_stop(message)
                elif message is not None:
                    self._event(Event(message))
                message = self.inbox.get_nowait()

    def _event(self, event: Event) -> None:
        self.starting = False
        if is_instructions_cut(event):
            self.report.warn(
                f"The AGENTS.md files have more than {self.settings.max_agents_md_bytes} bytes in"
                " total (maxAgentsMdBytes in the job type); Codex did not read beyond that limit"
            )
        # A try to reconnect is no progress, and some would go on for ever.
        if event.type != events.ERROR:
            self.last_event = time.monotonic()
            self.last_activity = describe_event(event)
        if (stop := audit.find_forbidden_tool(event, self.settings.audited_tools)) is not None:
            self._begin_stop(stop)
        self.progress = fold(self.progress, event)
        if event.type in (events.TURN_COMPLETED, events.TURN_FAILED):
            self.report.write("running", self.progress)


def mcp_start(
    time_limits: watchdogs.TimeLimits, servers: Sequence[Mapping[str, Any]]
) -> tuple[watchdogs.TimeLimits, str]:
    """Return the limits while Codex starts MCP servers, within which it is silent, and what a
    longer silence may come from. Pure."""
    longest = max(server.get("startTimeoutSeconds") or MCP_START_SECONDS for server in servers)
    names = ", ".join(str(server["name"]) for server in servers)
    stall = max(time_limits.stall, float(longest + MCP_MARGIN_SECONDS))
    cause = (
        f"Codex was starting MCP servers ({names}); at least one did not respond, or took longer"
        " than its startTimeoutSeconds"
    )
    return replace(time_limits, stall=stall), cause
