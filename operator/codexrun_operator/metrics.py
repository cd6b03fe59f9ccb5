"""The operator's metrics. docs/metrics.md explains each. No label is unbounded: job types, classes,
phases, never runs."""

import platform
from importlib.metadata import version

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from codexrun_core.logs import LEVELS

disable_created_metrics()  # type: ignore[no-untyped-call]

DURATION_BUCKETS = (1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Of runs: they change with a transition whose status write has worked, and with nothing else.
CREATED = Counter("codexrun_runs_created", "Runs created.", ("namespace", "job_type", "origin"))
FINISHED = Counter(
    "codexrun_runs_finished",
    "Runs that ended.",
    ("namespace", "job_type", "phase", "failure_class"),
)
DURATION = Histogram(
    "codexrun_run_duration_seconds",
    "Time from the agent's start to its end.",
    ("job_type", "phase"),
    buckets=DURATION_BUCKETS,
)
QUEUE = Histogram(
    "codexrun_run_queue_seconds",
    "Time from a run's creation to its agent's start.",
    ("job_type",),
    buckets=DURATION_BUCKETS,
)
STARTUP = Histogram(
    "codexrun_run_startup_seconds",
    "Time from a Job's creation to its agent's start.",
    ("job_type",),
    buckets=DURATION_BUCKETS,
)
TOKENS = Counter(
    "codexrun_tokens",
    "Tokens of ended runs; cached_input is part of input, reasoning_output part of output.",
    ("namespace", "job_type", "model", "token_type"),
)
COST = Counter(
    "codexrun_cost_usd",
    "Cost of ended runs in US dollars, based on the price table.",
    ("namespace", "job_type", "model"),
)
TURNS = Counter(
    "codexrun_turns",
    "Turns that Codex started in ended runs, as reported by the runner.",
    ("job_type",),
)
COMMANDS = Counter(
    "codexrun_commands",
    "Commands that Codex ran in ended runs, as reported by the runner.",
    ("job_type",),
)
PROMPT_FINISHED = Counter(
    "codexrun_prompt_runs_finished", "Runs that ended, by prompt.", ("prompt", "version", "phase")
)
CHECKSUM_MISMATCH = Counter(
    "codexrun_prompt_checksum_mismatch",
    "Runs rejected because their prompt is not the reviewed one.",
    ("prompt",),
)

SLOTS = Gauge(
    "codexrun_slots_held",
    "Slots held by runs; a slot is held until the pod is known to be gone.",
    ("job_type",),
)
HELD = Gauge(
    "codexrun_job_type_held",
    "1 while the API server rejects the Jobs of a job type.",
    ("job_type",),
)
REFUSALS = Counter(
    "codexrun_job_refusals", "Jobs that the API server rejected.", ("job_type", "reason")
)
STRAYS = Counter(
    "codexrun_operator_strays_ended", "Jobs and pods deleted because their run had ended."
)
RECONCILES = Counter(
    "codexrun_operator_reconcile", "Reconciliations of an object.", ("handler", "result")
)
RECONCILE_SECONDS = Histogram(
    "codexrun_operator_reconcile_seconds",
    "Duration of one reconciliation, including writes.",
    ("handler",),
    buckets=CALL_BUCKETS,
)
WATCH_RESTARTS = Counter(
    "codexrun_operator_watch_restarts", "Watches reopened, for any reason.", ("resource",)
)
DEPTH = Gauge("codexrun_operator_queue_depth", "Objects waiting for a worker.")
LEADER = Gauge("codexrun_operator_leader", "1 while this process is the leader.")
REQUESTS = Counter(
    "codexrun_k8s_requests",
    "Requests to the API server; code none means that there was no response.",
    ("verb", "resource", "code"),
)
REQUEST_SECONDS = Histogram(
    "codexrun_k8s_request_seconds",
    "Time from a request to the headers of the API server's response.",
    ("verb", "resource"),
    buckets=CALL_BUCKETS,
)
LOG_MESSAGES = Counter("codexrun_operator_log_messages", "Log lines written.", ("level",))
BUILD = Gauge(
    "codexrun_operator_build_info",
    "Always 1; the labels say what is running.",
    ("version", "python"),
)
BUILD.labels(version("codexrun"), platform.python_version()).set(1)


for level in LEVELS:
    LOG_MESSAGES.labels(level)


def request_answered(verb: str, resource: str, code: str, seconds: float) -> None:
    """Count a request to the apiserver."""
    REQUESTS.labels(verb, resource, code).inc()
    REQUEST_SECONDS.labels(verb, resource).observe(seconds)


def log_line(level: str) -> None:
    """Count a line of log."""
    LOG_MESSAGES.labels(level).inc()
