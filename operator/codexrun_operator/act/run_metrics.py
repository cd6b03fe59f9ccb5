"""Move the metrics with a run's transition, and count the live runs at each scrape."""

from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from codexrun_core import reasons
from codexrun_core.refusals import Cause
from codexrun_core.resources import CodexJobType, CodexRun, Usage
from codexrun_core.resources.phases import LIVE_PHASES, FailureClass, Phase
from codexrun_core.runs.lifecycle_hooks import Transition
from codexrun_core.runs.record import ORIGINS
from codexrun_operator import metrics
from codexrun_operator.watch.cache import Cache

UNKNOWN = "unknown"  # the label for a job type that does not exist: anybody can type anything there
TOKEN_TYPES = ("input", "cached_input", "output", "reasoning_output")


class RunMetrics(Collector):
    """Counters that move with transitions, and at each scrape the gauges over the cache."""

    def __init__(self, cache: Cache, namespace: str) -> None:
        self._cache = cache
        self._namespace = namespace
        self._job_types: set[str] = set()  # that there ever were, as far as this process knows
        self._begun: set[tuple[str, str, str]] = set()  # job type, its model and its prompt

    def expect(self, job_type: CodexJobType) -> None:
        """Begin its series at 0: a rate over a series that comes with its first event misses that
        event."""
        name = job_type.metadata.name
        namespace = self._namespace
        spec = job_type.spec
        begun = (name, spec.model, spec.prompt.name)
        if begun in self._begun:
            return
        self._begun.add(begun)
        self._job_types.add(name)
        for origin in ORIGINS:
            metrics.CREATED.labels(namespace, name, origin)
        for phase in Phase:
            if phase.terminal:
                for class_ in FailureClass if phase is Phase.FAILED else ("",):
                    metrics.FINISHED.labels(namespace, name, phase, class_)
        for token_type in TOKEN_TYPES:
            metrics.TOKENS.labels(namespace, name, spec.model, token_type)
        metrics.COST.labels(namespace, name, spec.model)
        for cause in Cause:
            if cause is not Cause.CONFLICT:  # no verdict: tried again
                metrics.REFUSALS.labels(name, cause)
        metrics.TURNS.labels(name)
        metrics.COMMANDS.labels(name)
        metrics.CHECKSUM_MISMATCH.labels(spec.prompt.name)

    def count(self, transition: Transition, before: CodexRun, after: CodexRun) -> None:
        """Count a transition: a sink of the lifecycle hooks, once `before` and `after` are
        bound."""
        job_type = self._label(transition.run.job_type)
        status = after.status
        if transition.before is None:
            metrics.CREATED.labels(transition.run.namespace, job_type, transition.run.origin).inc()
        if before.status.started_at is None and transition.run.started_at is not None:
            metrics.QUEUE.labels(job_type).observe(_seconds(transition.queue_ms))
            job = self._cache.jobs.get(transition.run.run_id)
            if job and job.created:
                metrics.STARTUP.labels(job_type).observe(
                    max(0.0, (transition.run.started_at - job.created).total_seconds())
                )
        if not transition.terminal:
            return
        metrics.FINISHED.labels(
            transition.run.namespace, job_type, status.phase, transition.run.failure_class or ""
        ).inc()
        if transition.run.lasted_ms is not None:
            metrics.DURATION.labels(job_type, status.phase).observe(
                _seconds(transition.run.lasted_ms)
            )
        metrics.TURNS.labels(job_type).inc(status.turns or 0)
        metrics.COMMANDS.labels(job_type).inc(status.commands or 0)
        if status.prompt:
            metrics.PROMPT_FINISHED.labels(
                status.prompt.name, status.prompt.version, status.phase
            ).inc()
        if status.usage and status.model:
            self._spend(transition.run.namespace, job_type, status.model, status.usage)
        resource = self._cache.job_types.get(transition.run.job_type)
        if transition.run.reason == reasons.PROMPT_CHECKSUM_MISMATCH and resource:
            metrics.CHECKSUM_MISMATCH.labels(resource.spec.prompt.name).inc()

    def _spend(self, namespace: str, job_type: str, model: str, usage: Usage) -> None:
        counts = (
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
        )
        for token_type, count in zip(TOKEN_TYPES, counts, strict=True):
            metrics.TOKENS.labels(namespace, job_type, model, token_type).inc(count)
        metrics.COST.labels(namespace, job_type, model).inc((usage.cost_micro_usd or 0) / 1_000_000)

    def _label(self, job_type: str) -> str:
        return (
            job_type
            if job_type in self._job_types or job_type in self._cache.job_types
            else UNKNOWN
        )

    def describe(self) -> Iterator[Metric]:
        """Return names only: the cache is not read before the first scrape."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        runs, oldest = self._families()
        cache = self._cache
        namespace = self._namespace
        tally = Tally(
            (self._label(run.spec.job_type), run.status.phase) for run in cache.runs.values()
        )
        for job_type in sorted({*cache.job_types, *(name for name, _ in tally)}):
            for phase in LIVE_PHASES:
                runs.add_metric([namespace, job_type, phase], tally[job_type, phase])
        waiting = (
            run.metadata.creation_timestamp.timestamp()
            for run in cache.runs.values()
            if run.status.phase in (Phase.PENDING, Phase.QUEUED) and run.metadata.creation_timestamp
        )
        oldest.add_metric([namespace], min(waiting, default=0.0))
        yield runs
        yield oldest

    def _families(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                "codexrun_runs",
                "Runs that have not ended.",
                labels=("namespace", "job_type", "phase"),
            ),
            GaugeMetricFamily(
                "codexrun_oldest_pending_timestamp_seconds",
                "Creation time of the oldest waiting run (Pending or Queued); 0 if none is"
                " waiting.",
                labels=("namespace",),
            ),
        )


def _seconds(milliseconds: int | None) -> float:
    return (milliseconds or 0) / 1000
