"""The runner's termination message: rewritten at every step, so that a killed runner has reported
what it knew."""

from __future__ import annotations

import time
from typing import Any, Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.pod_contract import ReportKey
from codexrun_pod import loglines, termination
from codexrun_pod.runner.codex.progress import Failure, Progress
from codexrun_pod.runner.logs.log import Log

MAX_FINAL_MESSAGE_BYTES = 2048  # bytes of UTF-8; the whole one is in the log
MAX_WARNINGS = 4
MAX_WARNING_BYTES = 240
MAX_MASKED_BYTES = 600  # of the names of variables; a job type may have 64 of 128 characters
MAY_SHORTEN = (("", ReportKey.FINAL_MESSAGE), (ReportKey.FAILURE, ReportKey.MESSAGE))


class TerminationReport:
    """Writes the termination message."""

    def __init__(self, path: str, log: Log) -> None:
        """`path`: the termination message's file; `log` masks, and takes the complaint if it cannot
        be written."""
        self.path = path
        self.log = log
        self.started_at = loglines.timestamp()
        self.started = time.monotonic()
        self._warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Add what people should know of the run, from the next message on; the same text once."""
        text = termination.cut(self.log.mask.text(text), MAX_WARNING_BYTES)
        if text not in self._warnings and len(self._warnings) < MAX_WARNINGS:
            self._warnings.append(text)

    def write(
        self,
        state: str,
        progress: Progress,
        *,
        code: int | None = None,
        stopped: str | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Write the message. `state`: starting, running or done; code: Codex's exit code; stopped:
        why the runner ended Codex."""
        mask = self.log.mask
        final = mask.document(progress.final_message)
        content: dict[str, Any] = {
            ReportKey.VERSION: 1,
            ReportKey.SOURCE: "runner",
            ReportKey.STATE: state,
            ReportKey.STARTED_AT: self.started_at,
            ReportKey.DURATION_MS: int((time.monotonic() - self.started) * 1000),
            ReportKey.EXIT_CODE: code,
            ReportKey.THREAD_ID: progress.thread_id,
            ReportKey.TURNS: progress.turns,
            ReportKey.COMMANDS: progress.commands,
            ReportKey.TURN_COMPLETED: progress.turn_completed,
            ReportKey.TURN_FAILED: progress.turn_failed,
            ReportKey.FINAL_MESSAGE: termination.cut(final, MAX_FINAL_MESSAGE_BYTES),
            ReportKey.FINAL_MESSAGE_BYTES: len(final.encode("utf-8", "replace")),
            ReportKey.MASKED: _first(mask.names_in_document(progress.final_message)) or None,
            ReportKey.WARNINGS: self._warnings or None,
            ReportKey.STOPPED: stopped,
            ReportKey.FAILURE: Failure(failure.class_, mask.text(failure.message)).json
            if failure
            else None,
        }
        try:
            termination.write(self.path, termination.encode(content, MAY_SHORTEN))
        except OSError as error:
            self.log.write_own(
                "message.unwritten", status="running", phase="report", reason=str(error)
            )


def _first(names: Sequence[str]) -> list[str]:
    """Return the first names, as many as the message has room for."""
    shown = list(names)
    while sum(map(len, shown)) > MAX_MASKED_BYTES:
        shown.pop()
    return shown
