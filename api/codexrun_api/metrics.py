"""The api's metrics. docs/metrics.md explains each. No label is unbounded: routes are templates,
methods a closed list."""

import platform
from importlib.metadata import version

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from codexrun_core.logs import LEVELS

disable_created_metrics()  # type: ignore[no-untyped-call]

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter("codexrun_http_requests", "Requests answered.", ("method", "route", "code"))
REQUEST_SECONDS = Histogram(
    "codexrun_http_request_seconds",
    "Time from a request to the end of its response.",
    ("method", "route"),
    buckets=FAST,
)
IN_FLIGHT = Gauge("codexrun_http_in_flight", "Requests in progress, including streams.")
CUT = Counter(
    "codexrun_http_cut",
    "Connections closed because of a limit on the headers, the body, the response, or the number"
    " of connections.",
    ("bound",),
)
STREAMS = Gauge("codexrun_sse_streams", "Open streams of server-sent events.", ("kind",))
RECONNECTS = Counter(
    "codexrun_sse_reconnects", "Streams that resumed with Last-Event-ID.", ("kind",)
)
DROPPED = Counter(
    "codexrun_sse_dropped", "Streams closed because their reader was too slow.", ("kind",)
)
IDEMPOTENCY = Counter(
    "codexrun_idempotency", "Requests with an Idempotency-Key to start a run.", ("outcome",)
)
REGISTRY_RUNS = Gauge("codexrun_registry_runs", "Rows in the registry.", ("phase",))
WRITE_SECONDS = Histogram(
    "codexrun_registry_write_seconds", "Duration of one write to the registry.", buckets=FAST
)
LAG = Gauge(
    "codexrun_registry_lag_seconds",
    "Age of the oldest change that is not in the registry yet, or duration of the registry's"
    " outage; 0 if neither.",
)
ARCHIVED = Counter("codexrun_logs_archived_bytes", "Bytes of run logs stored in the archive.")
CUT_OFF = Counter("codexrun_logs_cut_off", "Logs whose end was never uploaded.")
LOG_MESSAGES = Counter("codexrun_api_log_messages", "Log lines written.", ("level",))
BUILD = Gauge(
    "codexrun_api_build_info", "Always 1; the labels say what is running.", ("version", "python")
)
BUILD.labels(version("codexrun"), platform.python_version()).set(1)

for kind in ("events", "logs"):
    STREAMS.labels(kind)
    RECONNECTS.labels(kind)
    DROPPED.labels(kind)
for outcome in ("new", "replay", "mismatch"):
    IDEMPOTENCY.labels(outcome)
for bound in ("head", "body", "answer", "connections"):
    CUT.labels(bound)
for level in LEVELS:
    LOG_MESSAGES.labels(level)


def log_line(level: str) -> None:
    """Count a line of log."""
    LOG_MESSAGES.labels(level).inc()
