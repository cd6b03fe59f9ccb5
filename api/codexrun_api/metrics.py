"""The api's metrics. No label is unbounded: routes are templates, methods a closed list."""

from prometheus_client import Counter, Gauge, Histogram

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter("codexrun_http_requests", "Requests answered.", ("method", "route", "code"))
REQUEST_SECONDS = Histogram("codexrun_http_request_seconds", "Request to the answer's end.", ("method", "route"), buckets=FAST)
IN_FLIGHT = Gauge("codexrun_http_in_flight", "Requests being answered, streams included.")
STREAMS = Gauge("codexrun_sse_streams", "Open streams of server-sent events.", ("kind",))
RECONNECTS = Counter("codexrun_sse_reconnects", "Streams that resumed with Last-Event-ID.", ("kind",))
DROPPED = Counter("codexrun_sse_dropped", "Streams cut because their reader was too slow.", ("kind",))
IDEMPOTENCY = Counter("codexrun_idempotency", "Starts with an Idempotency-Key.", ("outcome",))
REGISTRY_RUNS = Gauge("codexrun_registry_runs", "Rows in the registry.", ("phase",))
WRITE_SECONDS = Histogram("codexrun_registry_write_seconds", "One write of the mirror.", buckets=FAST)
LAG = Gauge("codexrun_registry_lag_seconds", "Age of the oldest change that has no row yet; 0 if there is none.")

for kind in ("events", "logs"):
    STREAMS.labels(kind)
    RECONNECTS.labels(kind)
    DROPPED.labels(kind)
for outcome in ("new", "replay", "mismatch"):
    IDEMPOTENCY.labels(outcome)
