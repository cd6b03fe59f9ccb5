"""The operator's metrics. No label is unbounded: job types and classes, never runs."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

MINUTES = (1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)

FINISHED = Counter("codexrun_runs_finished", "Runs that ended.", ("job_type", "phase", "failure_class"))
DURATION = Histogram("codexrun_run_duration_seconds", "Agent's start to end.", ("job_type", "phase"), buckets=MINUTES)
QUEUE = Histogram("codexrun_run_queue_seconds", "Creation of a run to its agent's start.", ("job_type",), buckets=MINUTES)
SLOTS = Gauge("codexrun_slots_held", "Slots that runs hold, until their pods are proven gone.", ("job_type",))
WAITING = Gauge("codexrun_runs_waiting", "Runs that wait for a slot.", ("job_type",))
RECONCILES = Counter("codexrun_operator_reconcile", "Looks at one object.", ("result",))
RECONCILE_SECONDS = Histogram("codexrun_operator_reconcile_seconds", "One look at one object, its writes included.")
DEPTH = Gauge("codexrun_operator_queue_depth", "Objects that wait for a worker.")
LEADER = Gauge("codexrun_operator_leader", "1 while this process leads.")
