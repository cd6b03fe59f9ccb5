"""The agent's log: one JSON object a line, written by one thread, to stdout and, the same bytes, to
the gate.

Nothing here may hold up the watchdogs: a node whose log pipe is stuck must still get the
termination message in time. So only the readers of Codex's output wait for room; the runner's own
lines never do. A log that reaches its limit is cut here, for both ways, with one line that says so.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from typing import Any

from codexrun_core.pod_contract import MAX_LOG_BYTES
from codexrun_pod import loglines
from codexrun_pod.masking import Mask
from codexrun_pod.runner.logs.upload_to_gate import LogUploader
from codexrun_pod.runner.settings import Settings

MAX_WAITING_LINES = 16  # of Codex; one may be megabytes
FLUSH_SECONDS = 5.0
OWN_LINES_SHARE = (
    64  # of the limit, one part is kept for the runner's own lines: how the run ended is never cut
)


class Log:
    """Masks, stamps and writes lines."""

    def __init__(self, descriptor: int = 1, limit: int = MAX_LOG_BYTES) -> None:
        """`descriptor`: where lines go; limit: bytes. `seed` and `mask` are set once they are
        known."""
        self.seed: dict[str, Any] = {}
        self.mask = Mask({})
        self.started = time.monotonic()
        self._descriptor = descriptor
        self._limit = limit
        self._written = 0
        self._cut = False
        self._broken = False
        self._uploader: LogUploader | None = None
        self._lines: queue.SimpleQueue[tuple[bytes, bool] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(MAX_WAITING_LINES)
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def set_run(self, settings: Settings, mask: Mask) -> None:
        """Set the run's fields, which the runner's own lines carry from now on, and the mask of its
        secrets."""
        self.mask = mask
        self.seed = {
            "run_id": settings.run_id,
            "name": settings.name,
            "job_type": settings.job_type,
            "attempt": settings.attempt,
            "prompt_version": settings.prompt_version,
        }

    def upload_to(self, uploader: LogUploader) -> None:
        """Send every line to the gate too, from now on."""
        self._uploader = uploader

    def write_own(self, text: str, *, status: str, phase: str, **fields: Any) -> None:
        """Write a line of the runner's own; `text` is what happened, as noun.verb."""
        duration_ms = int((time.monotonic() - self.started) * 1000)
        content = {
            "text": text,
            **self.seed,
            "status": status,
            "phase": phase,
            "duration_ms": duration_ms,
            **fields,
        }
        masked = {
            key: value if isinstance(value, (int, float)) else self.mask.value(value)
            for key, value in content.items()  # numbers here are the runner's own
        }
        self._lines.put((loglines.line("runner", **masked), False))

    def write_clone(self, content: bytes) -> None:
        """Write the lines of the clone step, as it has written them."""
        for line in self.mask.json_lines(content).splitlines(keepends=True):
            self._lines.put((line, False))

    def write_codex(self, raw: bytes) -> dict[str, Any] | None:
        """Write a line of Codex's stdout, as an event if it is one, after waiting for room; return
        the event, unmasked."""
        try:
            event = json.loads(raw)
            masked = self.mask.value(event)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            self.write_plain("codex", raw)
            return None
        if masked == event and not self.mask.names_in(raw.decode("utf-8", "replace")):
            # not written anew, so that it stands there byte for byte
            head = loglines.encode({"ts": loglines.timestamp(), "src": "codex", "event": 0})[:-3]
            self._wait_and_put(head + raw.strip() + b"}\n")
        else:
            self._wait_and_put(loglines.line("codex", event=masked))
        return event

    def write_plain(self, src: str, raw: bytes) -> str:
        """Write a line of plain text; invalid UTF-8 is replaced and marked. Return what was
        written."""
        line = raw.rstrip(b"\r\n")
        text = self.mask.text(line.decode("utf-8", "replace"))
        broken = line.decode("utf-8", "ignore").encode() != line
        self._wait_and_put(loglines.line(src, text=text, invalid_utf8=True if broken else None))
        return text

    def close(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Write and upload what waits; give up after `seconds`. Return whether the gate has all of
        it."""
        deadline = time.monotonic() + seconds
        self._lines.put(None)
        self._writer.join(seconds)
        if self._uploader is None or self._writer.is_alive():
            return False
        return self._uploader.finish(deadline - time.monotonic())

    def _wait_and_put(self, line: bytes) -> None:
        self._room.acquire()
        self._lines.put((line, True))

    def _write(self) -> None:
        while (item := self._lines.get()) is not None:
            line, foreign = item
            if self._fits(line, foreign):
                self._put_out(line)
            elif not self._cut:
                self._cut = True
                mark = {"text": "log.cut", **self.seed, "limit_bytes": self._limit}
                self._put_out(loglines.line("runner", **mark))
            if foreign:
                self._room.release()

    def _fits(self, line: bytes, foreign: bool) -> bool:
        """Return whether a line may be written: after the cut only the runner's own, so that the
        log has no holes."""
        limit = self._limit - self._limit // OWN_LINES_SHARE if foreign else self._limit
        return not (foreign and self._cut) and self._written + len(line) <= limit

    def _put_out(self, line: bytes) -> None:
        self._written += len(line)
        if self._uploader is not None:
            self._uploader.add(line)
        view = memoryview(line)
        while view and not self._broken:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:  # nobody reads any more: go on for the sake of those who wait for room
                self._broken = True
