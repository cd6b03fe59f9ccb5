"""From what Codex printed, or from what runner and gate wrote, to the class that the operator gives
the run."""

import json
from typing import Any

from builders import NOON, ended, gate_report, given, job, pod, run

from codexrun_core.codex.events import Event
from codexrun_core.resources import RunStatus
from codexrun_operator.decide.plan import plan
from codexrun_pod.runner.codex import audit
from codexrun_pod.runner.codex.progress import (
    CodexExit,
    Progress,
    Stop,
    exit_code,
    find_failure,
    fold,
)

Json = dict[str, Any]
ALLOWED = ["apply_patch", "shell", "mcp:t"]


def of_messages(code: int, runner: Json, gate: Json) -> str:
    """`succeeded`, or the class, as the operator decides from exit code and the two termination
    messages."""
    status = status_of(code, runner, gate)
    return status.failure.class_.value if status.failure else status.phase.lower()


def status_of(code: int, runner: Json, gate: Json) -> RunStatus:
    """The run's status as the operator decides."""
    of = pod(
        "Succeeded" if code == 0 else "Failed",
        agent=ended(code, report=runner),
        gate=ended(0, report=gate),
    )
    status = plan(given(run("Running"), job(), of), NOON).status
    assert status is not None
    return status


def of_output(
    lines: list[str], stderr: list[str], code: int, stop: tuple[str, str] | None, gate: Json
) -> str:
    """The same from Codex's own output: the runner's part of it first."""
    progress = Progress()
    stopped = Stop(*stop) if stop else None
    for line in lines:
        event = Event(json.loads(line))
        stopped = stopped or audit.find_forbidden_tool(event, ALLOWED)
        progress = fold(progress, event)
    failure = find_failure(progress, CodexExit(code, stopped, tuple(stderr)))
    report = {
        "v": 1,
        "src": "runner",
        "state": "done",
        "exitCode": code,
        "threadId": progress.thread_id,
        "turnCompleted": progress.turn_completed,
        "turnFailed": progress.turn_failed,
        "finalMessage": progress.final_message,
        "finalMessageBytes": len(progress.final_message.encode()),
        "stopped": stopped.reason if stopped else None,
        "failure": failure.json if failure else None,
    }
    report = {key: value for key, value in report.items() if value is not None}
    return of_messages(
        exit_code(failure is not None, report.get("stopped")), report, gate_report(**gate)
    )
