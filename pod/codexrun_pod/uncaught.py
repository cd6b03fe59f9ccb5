"""Print what libraries log and what nobody caught as lines like all others."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from codexrun_pod import loglines


class LogLineHandler(logging.Handler):
    """Writes records to stdout as lines of `src`, with the fields of `seed`."""

    def __init__(self, src: str, seed: dict[str, Any], mask: Callable[[str], str]) -> None:
        super().__init__(logging.WARNING)
        self._src = src
        self._seed = seed
        self._mask = mask

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self.write(level, record.getMessage(), error, logger=record.name)

    def write(self, level: str, text: str, error: BaseException | None, **fields: Any) -> None:
        """Write one line; the traceback is of places in the code, the error's own words are in
        it."""
        trace = (
            "".join(traceback.format_exception(type(error), error, error.__traceback__))
            if error
            else None
        )
        text = self._mask(text)
        trace = trace and self._mask(trace)
        sys.stdout.buffer.write(
            loglines.line(self._src, text=text, **self._seed, level=level, reason=trace, **fields)
        )
        sys.stdout.buffer.flush()

    def crashed(
        self, _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
    ) -> None:
        """Write an uncaught error, as sys.excepthook."""
        self.write("error", f"{self._src}.broken", error)


def install(src: str, mask: Callable[[str], str] = str, **seed: Any) -> None:
    """Install the handlers: from now on nothing of the process prints anything else. mask: takes
    secrets out of a text."""
    lines = LogLineHandler(src, seed, mask)
    logging.basicConfig(handlers=[lines], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    sys.excepthook = lines.crashed
