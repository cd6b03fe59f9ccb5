"""PID 1 of the agent's container: prepare, wait for the gate, run Codex, report."""

from __future__ import annotations

import os
import threading
import time
import traceback
from typing import Mapping  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_pod.runner import processes, resume, sandbox, settings, watchdogs
from codexrun_pod.runner.codex import config, progress
from codexrun_pod.runner.codex.progress import CodexExit, Failure, Stop
from codexrun_pod.runner.logs import artifacts
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.logs.masking import Mask
from codexrun_pod.runner.logs.upload import Shipping
from codexrun_pod.runner.settings import CannotStartError, Settings
from codexrun_pod.runner.supervise import Supervisor
from codexrun_pod.runner.termination_report import Report

GATE_SECONDS = 60.0  # the kubelet brings a crashed gate back after 1.3, then 16, then 30 s
GATE_LOOK_SECONDS = 0.1
ARTIFACT_SECONDS = 20.0  # for a large repository's patch
HURRIED_SECONDS = (
    3.0  # when the pod is being stopped: 15 s are the runner's, and the log comes after
)


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run one attempt. Returns 0 for proven success, 143 after SIGTERM, else 1."""
    started = time.monotonic()
    log = Log()

    def thread_broke(crash: threading.ExceptHookArgs) -> None:
        trace = "".join(
            traceback.format_exception(
                crash.exc_type, crash.exc_value, crash.exc_traceback, limit=8
            )
        )
        log.own("thread.broken", status="running", phase="report", level="error", reason=trace)

    threading.excepthook = thread_broke
    report = Report(settings.termination_log(environ), log)
    try:
        return attempt(dict(environ), log, report, started)
    except CannotStartError as error:
        return _end(log, report, None, CodexExit(None), Failure(error.class_, str(error)))
    except Exception as error:  # the last resort: whatever it is, the operator must read it
        trace = traceback.format_exc(limit=8)
        log.own("runner.broken", status="failed", phase="report", level="error", reason=trace)
        processes.end_all()
        return _end(
            log,
            report,
            None,
            CodexExit(None),
            Failure("internal", f"{type(error).__name__}: {error}"),
        )
    finally:
        log.close()


def attempt(environ: dict[str, str], log: Log, report: Report, started: float) -> int:
    """From the environment to the verdict.

    Raises:
        CannotStartError: and why.
    """
    mine = settings.from_env(environ)
    log.know(mine, Mask.of(mine.mask_env, environ))
    log.ship(Shipping(mine.gate_port, mine.tmp))
    supervisor = Supervisor(mine, log, report)
    report.write("starting", supervisor.progress)
    processes.adopt_orphans()
    log.own(
        "run.started",
        status="starting",
        phase="prompt",
        cost_tokens=0,
        cost_cents=0,
        model=mine.model,
    )
    prompt = config.rendered_prompt(mine)
    config.prepare(mine)
    sandbox.check(mine)
    supervisor.commit = artifacts.checked_out(mine)
    watch = watchdogs.Watch(mine.timeout, mine.stall, started)
    stop = wait_for_gate(supervisor, watch)
    if stop is not None:
        return _end(log, report, supervisor, CodexExit(None, stop), stop.failure)
    thread = None
    if mine.resume:
        found = resume.prepare(mine, supervisor.pause)
        if isinstance(found, Stop):
            return _end(log, report, supervisor, CodexExit(None, found), found.failure)
        thread, prompt = found, resume.PROMPT
    about = {"prompt_bytes": len(prompt), "resumed_thread": thread}
    log.own("codex.starting", status="running", phase="codex", cost_tokens=0, cost_cents=0, **about)
    try:
        ended = supervisor.run(prompt, environ, watch, thread)
    except OSError as error:
        why = (
            f"{error.filename or mine.codex}: {error.strerror}; Codex cannot be started there, is"
            " the image for this CPU?"
        )
        raise CannotStartError("config", why) from error
    return _end(log, report, supervisor, ended, progress.find_failure(supervisor.progress, ended))


def wait_for_gate(supervisor: Supervisor, watch: watchdogs.Watch) -> Stop | None:
    """None once this run's gate answers; else why the run has to stop before it began.

    Raises:
        CannotStartError: guardrail if something else answers, internal if nothing does.
    """
    mine = supervisor.settings
    deadline = time.monotonic() + GATE_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = watchdogs.gate_answer(mine.gate_port, "/healthz")
        except OSError:
            answer = None
        if answer is not None:
            if answer.get("service") == "codexrun-gate" and answer.get("runId") == mine.run_id:
                return None
            other = f"port {mine.gate_port} is answered by something that is not this run's gate"
            raise CannotStartError("guardrail", other)
        stop = supervisor.pause(GATE_LOOK_SECONDS) or watch.too_long(time.monotonic())
        if stop is not None:
            return stop
    silent = f"the gate did not answer on 127.0.0.1:{mine.gate_port} within {GATE_SECONDS:g} s"
    raise CannotStartError("internal", silent)


def _end(
    log: Log,
    report: Report,
    supervisor: Supervisor | None,
    ended: CodexExit,
    failure: Failure | None,
) -> int:
    """Message first, artifacts and line after: the message must be there even when the gate or the
    log's reader is stuck."""
    seen = supervisor.progress if supervisor else progress.Progress()
    proven = failure is None and ended.code == 0 and seen.proven
    stopped = ended.stop.reason if ended.stop and not proven else None
    report.write("done", seen, code=ended.code, stopped=stopped, failure=failure)
    if supervisor is not None and seen.thread_id:
        hand_over(supervisor, ended.stop)
    log.own(
        "run.ended",
        level=None if proven else "warning",
        status="succeeded" if proven else "stopping" if stopped == "signal" else "failed",
        phase="report",
        **(_account(supervisor.settings) if supervisor else {}),
        exit_code=ended.code,
        turns=seen.turns,
        commands=seen.commands,
        failure=failure.json if failure else None,
        final_message=seen.final_message or None,
    )
    return progress.exit_code(failure is not None, stopped)


def hand_over(supervisor: Supervisor, stop: Stop | None) -> None:
    """Artifacts, within their time; a full disk gets no patch, which would need more of it."""
    mine, log = supervisor.settings, supervisor.log
    commit = None if stop and stop.reason == "storage" else supervisor.commit

    def send() -> None:
        artifacts.send(mine, log, supervisor.progress, commit)
        supervisor.inbox.put(None)

    work = threading.Thread(target=send, name="artifacts", daemon=True)
    work.start()
    deadline = time.monotonic() + (HURRIED_SECONDS if stop else ARTIFACT_SECONDS)
    while work.is_alive() and (left := deadline - time.monotonic()) > 0:
        if (told := supervisor.pause(min(left, GATE_LOOK_SECONDS))) is not None:
            deadline = min(
                deadline, time.monotonic() + (0.0 if told.reason == "storage" else HURRIED_SECONDS)
            )
    if work.is_alive():
        processes.end_all()
        log.own(
            "artifact.left_out",
            status="running",
            phase="report",
            reason="there was no time for all of them",
        )


def _account(mine: Settings) -> dict[str, object]:
    """What the gate has counted; nothing if it does not say."""
    try:
        answer = watchdogs.gate_answer(mine.gate_port, "/activity") or {}
    except OSError:
        return {}
    micro = answer.get("costMicroUSD")
    return {
        "cost_tokens": answer.get("totalTokens"),
        "cost_cents": -(-micro // 10_000) if isinstance(micro, int) else None,
        "cost_micro_usd": micro,
    }
