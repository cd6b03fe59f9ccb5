"""One line of JSON per log record, for every process of codexrun and every library in it.

docs/logs.md says what the fields mean, docs/log-line.schema.json what a line looks like.
"""

import io
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")

# Fields of every line that the current task logs, such as its request's id.
CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))


def fields(**values: Any) -> dict[str, Any]:
    """Return what a log call passes as `extra`; unknown values (None) are absent. Libraries' own
    extras are never printed: some hold whole objects."""
    return {"fields": {key: value for key, value in values.items() if value is not None}}


def level_of(record: logging.LogRecord) -> str:
    """Return one of LEVELS: libraries bring levels of their own (uvicorn's TRACE), which count as
    the next lower one."""
    return LEVELS[min(max(record.levelno // 10, 1), len(LEVELS)) - 1]


class JsonFormatter(logging.Formatter):
    """`{ts, level, logger, event, ...}`: the event is the message, `extra=fields(...)` adds
    more."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": level_of(record),
            "logger": record.name,
            "event": _message(record),
        }
        line = {
            **line,
            **_kopf_object(record),
            **CONTEXT.get(),
            **getattr(record, "fields", {}),
            **line,
        }
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # a library's arguments do not fit its message: both are worth more than no line
        return f"{record.msg} {record.args!r}"


def _kopf_object(record: logging.LogRecord) -> dict[str, Any]:
    """Return the object that kopf logs about: the one extra of a library's that holds names
    only."""
    reference = getattr(record, "k8s_ref", None)
    names = reference if isinstance(reference, Mapping) else {}
    return {key: names[key] for key in ("namespace", "name") if names.get(key)}


def log_to_stderr(level: str, count: Callable[[str], object] = lambda _: None) -> None:
    """Send every logger of the process through the formatter, and with them warnings, stray prints
    and what nobody caught.

    `count(level)` is called once a line.
    """
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(JsonFormatter())

    def counted(record: logging.LogRecord) -> bool:
        count(level_of(record))
        return True

    handler.addFilter(counted)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A stream that is gone must not make logging print about it: to stderr, which leads back to
    # logging.
    logging.raiseExceptions = False
    # kopf reports every event it hands over, and at DEBUG prints whole objects, inputs included.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.stdout = Lines("stdout", logging.INFO)
    sys.stderr = Lines("stderr", logging.WARNING)
    sys.excepthook = _crashed
    threading.excepthook = lambda crash: _crashed(
        crash.exc_type, crash.exc_value, crash.exc_traceback
    )
    sys.unraisablehook = lambda lost: _crashed(lost.exc_type, lost.exc_value, lost.exc_traceback)


def _crashed(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("python").critical("exception.uncaught", exc_info=(kind, error, trace))


class Lines(io.TextIOBase):
    """A standard stream of which every line becomes a log record: `print` and C-like writers in
    libraries."""

    def __init__(self, name: str, level: int) -> None:
        self._log = logging.getLogger(name)
        self._level = level
        self._tail = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._tail = (self._tail + text).split("\n")
        for line in lines:
            if line.strip():
                self._log.log(self._level, "%s", line)
        return len(text)
