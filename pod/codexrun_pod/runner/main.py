"""PID 1 of the agent's container: prepare, wait for the gate, run Codex, report."""

from __future__ import annotations

import errno
import http.client
import json
import os
import threading
import time
import traceback
from typing import Mapping  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.pod_contract import PATCH
from codexrun_pod import termination
from codexrun_pod.masking import MIN_VALUE_CHARS, Mask
from codexrun_pod.runner import processes, resume, sandbox, watchdogs, workspace
from codexrun_pod.runner.codex import config
from codexrun_pod.runner.codex.progress import (
    CodexExit,
    Failure,
    Progress,
    Stop,
    exit_code,
    find_failure,
)
from codexrun_pod.runner.logs import artifacts
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.logs.upload_to_gate import LogUploader, put
from codexrun_pod.runner.settings import CannotStartError, Settings, from_env
from codexrun_pod.runner.supervise import Supervisor
from codexrun_pod.runner.termination_report import TerminationReport

GATE_SECONDS = 60.0  # the kubelet brings a crashed gate back after 1.3, then 16, then 30 s
GATE_POLL_SECONDS = 0.1
MASK_KEY_BYTES = 32
ARTIFACT_SECONDS = 20.0  # for a large repository's patch
# When the pod is being stopped: 15 s are the runner's, and the log comes after.
HURRIED_SECONDS = 3.0


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
        log.write_own(
            "thread.broken", status="running", phase="report", level="error", reason=trace
        )

    threading.excepthook = thread_broke
    report = TerminationReport(termination.log_path(environ), log)
    try:
        return attempt(dict(environ), log, report, started)
    except CannotStartError as error:
        return _end(log, report, None, CodexExit(None), Failure(error.class_, str(error)))
    except Exception as error:  # the last resort: whatever it is, the operator must read it
        trace = traceback.format_exc(limit=8)
        log.write_own("runner.broken", status="failed", phase="report", level="error", reason=trace)
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


def attempt(environ: dict[str, str], log: Log, report: TerminationReport, started: float) -> int:
    """Run one attempt from the environment to its outcome, and return the exit code.

    Raises:
        CannotStartError: Codex was never started; the message says why.
    """
    settings = from_env(environ)
    log.set_run(settings, Mask.of(settings.mask_env, environ))
    log.upload_to(LogUploader(settings.gate_port, settings.tmp))
    if log.mask.too_short:
        report.warn(
            f"{', '.join(log.mask.too_short)} in the job type's env: values of fewer than"
            f" {MIN_VALUE_CHARS} characters are not masked"
        )
    if settings.git:
        log.write_clone(workspace.take_clone_log(settings.workspace))
    supervisor = Supervisor(settings, log, report)
    report.write("starting", supervisor.progress)
    processes.adopt_orphans()
    log.write_own(
        "run.started",
        status="starting",
        phase="prompt",
        cost_tokens=0,
        cost_cents=0,
        model=settings.model,
    )
    prompt = config.rendered_prompt(settings)
    config.prepare(settings)
    sandbox.check(settings)
    if settings.git:
        try:
            supervisor.checkout = workspace.read_checkout(settings.workspace)
        except workspace.PatchError as error:
            artifacts.log_left_out(log, PATCH, f"{PATCH} cannot be created: {error}")
    time_limits = watchdogs.TimeLimits(settings.timeout, settings.stall, started)
    stop = wait_for_gate(supervisor, time_limits)
    if stop is not None:
        return _end(log, report, supervisor, CodexExit(None, stop), stop.failure)
    give_mask(settings, log)
    thread = None
    if settings.resume:
        resumed = resume.prepare(settings, supervisor.pause)
        if isinstance(resumed, Stop):
            return _end(log, report, supervisor, CodexExit(None, resumed), resumed.failure)
        thread = resumed
        prompt = resume.PROMPT
    fields = {"prompt_bytes": len(prompt), "resumed_thread": thread}
    log.write_own(
        "codex.starting", status="running", phase="codex", cost_tokens=0, cost_cents=0, **fields
    )
    try:
        ended = supervisor.run(prompt, environ, time_limits, thread)
    except OSError as error:
        message = f"Codex cannot be started: {error.filename or settings.codex}: {error.strerror}"
        if error.errno == errno.ENOEXEC:
            message += "; use an image that is built for the CPU architecture of the node"
        raise CannotStartError("config", message) from error
    return _end(log, report, supervisor, ended, find_failure(supervisor.progress, ended))


def wait_for_gate(supervisor: Supervisor, time_limits: watchdogs.TimeLimits) -> Stop | None:
    """Wait until this run's gate answers; return why the run has to stop before it began, if it
    has.

    Raises:
        CannotStartError: guardrail if something else answers, internal if nothing does.
    """
    settings = supervisor.settings
    deadline = time.monotonic() + GATE_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = watchdogs.gate_answer(settings.gate_port, "/healthz")
        except OSError:
            answer = None
        if answer is not None:
            if answer.get("service") == "codexrun-gate" and answer.get("runId") == settings.run_id:
                return None
            message = (
                f"something other than this run's gate is listening on port {settings.gate_port}"
            )
            raise CannotStartError("guardrail", message)
        stop = supervisor.pause(GATE_POLL_SECONDS) or time_limits.too_long(time.monotonic())
        if stop is not None:
            return stop
    silent = f"the gate did not respond on 127.0.0.1:{settings.gate_port} within {GATE_SECONDS:g} s"
    raise CannotStartError("internal", silent)


def give_mask(settings: Settings, log: Log) -> None:
    """Let the gate recognise the Secrets, which it does not hold: a provider may quote in an error
    what it was sent, and the gate tells of that."""
    if not log.mask.active:
        return
    digests = json.dumps(log.mask.digests(os.urandom(MASK_KEY_BYTES))).encode()
    try:
        put(settings.gate_port, "/mask", digests)
    except (OSError, http.client.HTTPException) as error:  # such as a gate of an earlier version
        reason = (
            f"the gate did not accept the list of values to mask: {error or type(error).__name__}"
        )
        log.write_own(
            "mask.not_taken", status="starting", phase="prompt", level="warning", reason=reason
        )


def _end(
    log: Log,
    report: TerminationReport,
    supervisor: Supervisor | None,
    ended: CodexExit,
    failure: Failure | None,
) -> int:
    """Write the termination message first, artifacts and log line after: the message must be there
    even when the gate or the log's reader is stuck."""
    progress = supervisor.progress if supervisor else Progress()
    if failure is not None:  # before anything is cut off it: half a secret would stay
        failure = Failure(failure.class_, log.mask.text(failure.message))
    proven = failure is None and ended.code == 0 and progress.proven
    stopped = ended.stop.reason if ended.stop and not proven else None
    status = "stopping" if stopped == "signal" else "failed"

    def write() -> None:
        report.write("done", progress, code=ended.code, stopped=stopped, failure=failure)

    write()
    if supervisor is not None and progress.thread_id:
        upload_artifacts(supervisor, ended.stop)
        write()  # with what artifacts warn of
    log.write_own(
        "run.ended",
        level=None if proven else "warning",
        status="succeeded" if proven else status,
        phase="report",
        **(_usage_fields(supervisor.settings) if supervisor else {}),
        exit_code=ended.code,
        turns=progress.turns,
        commands=progress.commands,
        failure=failure.json if failure else None,
        final_message=log.mask.document(progress.final_message) or None,
    )
    return exit_code(failure is not None, stopped)


def upload_artifacts(supervisor: Supervisor, stop: Stop | None) -> None:
    """Upload artifacts within their time; a full disk gets no patch, which would need more of
    it."""
    settings = supervisor.settings
    log = supervisor.log
    checkout = None if stop and stop.reason == "storage" else supervisor.checkout

    def send() -> None:
        artifacts.upload(settings, log, supervisor.progress, checkout, supervisor.report.warn)
        supervisor.inbox.put(None)

    work = threading.Thread(target=send, name="artifacts", daemon=True)
    work.start()
    deadline = time.monotonic() + (HURRIED_SECONDS if stop else ARTIFACT_SECONDS)
    while work.is_alive() and (remaining := deadline - time.monotonic()) > 0:
        if (new_stop := supervisor.pause(min(remaining, GATE_POLL_SECONDS))) is not None:
            deadline = min(
                deadline,
                time.monotonic() + (0.0 if new_stop.reason == "storage" else HURRIED_SECONDS),
            )
    if work.is_alive():
        processes.end_all()
        log.write_own(
            "artifact.left_out",
            status="running",
            phase="report",
            reason="there was not enough time to upload all artifacts",
        )


def _usage_fields(settings: Settings) -> dict[str, object]:
    """Return what the gate has counted; nothing if it does not answer."""
    try:
        answer = watchdogs.gate_answer(settings.gate_port, "/activity") or {}
    except OSError:
        return {}
    micro = answer.get("costMicroUSD")
    return {
        "cost_tokens": answer.get("totalTokens"),
        "cost_cents": -(-micro // 10_000) if isinstance(micro, int) else None,
        "cost_micro_usd": micro,
    }
