"""One line of JSON per log record, for every process that is ours and every library in it."""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

# Fields of every line that the current task logs, such as its request's id.
CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))


def fields(**values: Any) -> dict[str, Any]:
    """What a log call passes as `extra`; unknown values (None) are absent. Libraries' own extras are never printed: some hold
    whole objects."""
    return {"fields": {key: value for key, value in values.items() if value is not None}}


class JsonFormatter(logging.Formatter):
    """`{ts, level, logger, event, ...}`: the event is the message, `extra=fields(...)` adds more."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= CONTEXT.get()
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(level: str) -> None:
    """Send every logger of the process through the formatter."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # kopf reports every event it hands over, and at DEBUG prints whole objects, inputs included.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
