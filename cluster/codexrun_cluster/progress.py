"""What a person sees while steps run: never nothing for more than a few seconds."""

import sys
import threading
import time
from typing import TextIO

HEARTBEAT_SECONDS = 10.0  # between plain lines when nobody redraws a terminal
REDRAW_SECONDS = 0.5


class Progress:
    """Lines for starts and ends; on a terminal one redrawn line for what runs, else a plain one
    every ten seconds."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.terminal = self.out.isatty()
        self.started_at = time.monotonic()
        self._last = time.monotonic()
        self._drawn = False
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Print one line for good."""
        with self._lock:
            self._wipe()
            print(text, file=self.out, flush=True)
            self._last = time.monotonic()

    def running(self, steps: list[tuple[str, float, int]]) -> None:
        """Say what runs: name, seconds so far, seconds expected."""
        if not steps:
            return
        text = "; ".join(
            f"{name} {elapsed:.0f}s of ~{expected}s" for name, elapsed, expected in steps
        )
        with self._lock:
            if self.terminal:
                self._wipe()
                columns = _columns()
                self.out.write(f"  ... {text}"[: columns - 1])
                self.out.flush()
                self._drawn = True
            elif time.monotonic() - self._last >= HEARTBEAT_SECONDS:
                print(f"  ... {text}", file=self.out, flush=True)
                self._last = time.monotonic()

    def elapsed(self) -> float:
        """Return seconds since this command began."""
        return time.monotonic() - self.started_at

    def _wipe(self) -> None:
        if self._drawn:
            self.out.write("\r\033[K")
            self._drawn = False


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns
