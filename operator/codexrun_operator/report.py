"""Tell the world about a transition, after the status write that made it: log line, metrics, and Kubernetes Events for warnings
and ends that people must see."""

import logging
import uuid
from datetime import datetime
from typing import Any

from codexrun_core.kube.client import Kube, Refused, Unavailable
from codexrun_core.lifecycle import Phase
from codexrun_core.logs import fields
from codexrun_core.resources import CodexRun, RunStatus
from codexrun_operator import metrics

log = logging.getLogger("codexrun.lifecycle")


def transition(run: CodexRun, status: RunStatus) -> None:
    """Log and count a run's move; `run` is as it was before."""
    usage = status.usage
    told = fields(
        run_id=run.metadata.uid,
        name=run.metadata.name,
        namespace=run.metadata.namespace,
        job_type=run.spec.job_type,
        status=status.phase.lower(),
        reason=status.reason,
        attempt=status.attempt,
        prompt_version=status.prompt.version if status.prompt else None,
        phase="report" if status.phase.terminal else "admit",
        duration_ms=_milliseconds(status),
        cost_tokens=usage.total_tokens if usage else None,
        cost_cents=usage.cost_cents if usage else None,
    )
    log.info(f"run.{status.phase.lower()}", extra=told)
    if status.phase is run.status.phase:
        return
    if status.phase.terminal:
        failure = status.failure.class_.value if status.failure else ""
        metrics.FINISHED.labels(run.spec.job_type, status.phase, failure).inc()
        if status.started_at and status.finished_at:
            seconds = (status.finished_at - status.started_at).total_seconds()
            metrics.DURATION.labels(run.spec.job_type, status.phase).observe(max(0.0, seconds))
    if status.phase is Phase.RUNNING and status.started_at and run.metadata.creation_timestamp:
        seconds = (status.started_at - run.metadata.creation_timestamp).total_seconds()
        metrics.QUEUE.labels(run.spec.job_type).observe(max(0.0, seconds))


def _milliseconds(status: RunStatus) -> int | None:
    if status.started_at is None or status.finished_at is None:
        return None
    return int((status.finished_at - status.started_at).total_seconds() * 1000)


def event_for(run: CodexRun, status: RunStatus, now: datetime) -> dict[str, Any] | None:
    """The Event that this transition deserves; its name makes a repetition the same Event. A success deserves none."""
    unhealthy = status.phase is Phase.STARTING and status.reason not in ("Starting", "Cloning")
    if status.phase in (Phase.FAILED, Phase.REJECTED) or unhealthy:
        kind = "Warning"
    elif status.phase is Phase.CANCELLED:
        kind = "Normal"
    else:
        return None
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    identity = uuid.uuid5(uuid.UUID(run.metadata.uid), f"{status.attempt}/{status.phase}/{status.reason}")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{run.metadata.name}.{identity.hex[:16]}", "namespace": run.metadata.namespace},
        "involvedObject": {
            "apiVersion": run.api_version,
            "kind": run.kind,
            "name": run.metadata.name,
            "namespace": run.metadata.namespace,
            "uid": run.metadata.uid,
            "resourceVersion": run.metadata.resource_version,
        },
        "type": kind,
        "reason": status.reason,
        "message": (status.message or "")[:1000],
        "source": {"component": "codexrun-operator"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


async def post_event(kube: Kube, event: dict[str, Any]) -> None:
    """Best effort: an Event that cannot be posted changes nothing."""
    try:
        await kube.create(kube.events, event)
    except (Refused, Unavailable) as error:
        if getattr(error, "reason", "") != "AlreadyExists":
            log.warning("event.lost", extra=fields(reason=event["reason"], error=str(error)))
