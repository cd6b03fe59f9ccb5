"""The runner's termination message: rewritten at every step, so that a killed runner has reported
what it knew."""

from __future__ import annotations

import time
from typing import Any

from codexrun_pod import loglines, termination
from codexrun_pod.runner.codex.progress import Failure, Seen
from codexrun_pod.runner.logs.log import Log

MAX_FINAL_MESSAGE_BYTES = 2048  # bytes of UTF-8; the whole one is in the log
MAY_SHORTEN = (("", "finalMessage"), ("failure", "message"))


class TerminationReport:
    """Writes the termination message."""

    def __init__(self, path: str, log: Log) -> None:
        """`path`: the termination message's file; `log` masks, and takes the complaint if it cannot
        be written."""
        self.path = path
        self.log = log
        self.started_at = loglines.timestamp()
        self.started = time.monotonic()

    def write(
        self,
        state: str,
        progress: Seen,
        *,
        code: int | None = None,
        stopped: str | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Write the message. `state`: starting, running or done; code: Codex's exit code; stopped:
        why the runner ended Codex."""
        mask = self.log.mask
        final = mask.text(progress.final_message)
        content: dict[str, Any] = {
            "v": 1,
            "src": "runner",
            "state": state,
            "startedAt": self.started_at,
            "durationMs": int((time.monotonic() - self.started) * 1000),
            "exitCode": code,
            "threadId": progress.thread_id,
            "turns": progress.turns,
            "commands": progress.commands,
            "turnCompleted": progress.turn_completed,
            "turnFailed": progress.turn_failed,
            "finalMessage": termination.cut(final, MAX_FINAL_MESSAGE_BYTES),
            "finalMessageBytes": len(final.encode("utf-8", "replace")),
            "stopped": stopped,
            "failure": Failure(failure.class_, mask.text(failure.message)).json
            if failure
            else None,
        }
        try:
            termination.write(self.path, termination.encode(content, MAY_SHORTEN))
        except OSError as error:
            self.log.write_own(
                "message.unwritten", status="running", phase="report", reason=str(error)
            )
