"""Publish a transition, after the status write that made it: log line, metrics, and Kubernetes
Events for warnings and for every end."""

import logging
import uuid
from datetime import datetime
from functools import partial
from typing import Any

from codexrun_core import reasons
from codexrun_core.errors import Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.logs import fields
from codexrun_core.resources import CodexRun, RunStatus
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.lifecycle_hooks import log_transition, publish, transition_between
from codexrun_core.runs.record import record_of
from codexrun_operator.act.run_metrics import RunMetrics

log = logging.getLogger(__name__)


def record_move(run: CodexRun, status: RunStatus, run_metrics: RunMetrics) -> None:
    """Log and count a run's transition, if it is one; `run` is as it was before.

    A change within a phase shows in the status only.
    """
    after = run.model_copy(update={"status": status})
    change = transition_between(record_of(run) if _was_written(run) else None, record_of(after))
    if change:
        publish(change, (log_transition, partial(run_metrics.count, before=run, after=after)))


def _was_written(run: CodexRun) -> bool:
    """Return whether its status was ever written; an apiserver with our CRD fills in -1
    (kstatus)."""
    return (run.status.observed_generation or -1) > 0


def event_for(run: CodexRun, status: RunStatus, now: datetime) -> dict[str, Any] | None:
    """Build the Event of this transition; its name makes a repetition the same Event. None for a
    transition that is neither an end nor a warning, and for other words of the same reason."""
    if (status.phase, status.reason) == (run.status.phase, run.status.reason):
        return None
    unhealthy = status.phase is Phase.STARTING and status.reason not in (
        reasons.STARTING,
        reasons.CLONING,
    )
    if status.phase in (Phase.FAILED, Phase.REJECTED) or unhealthy:
        kind = "Warning"
    elif status.phase in (Phase.SUCCEEDED, Phase.CANCELLED):
        kind = "Normal"
    else:
        return None
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    identity = uuid.uuid5(
        uuid.UUID(run.metadata.uid), f"{status.attempt}/{status.phase}/{status.reason}"
    )
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{run.metadata.name}.{identity.hex[:16]}",
            "namespace": run.metadata.namespace,
        },
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
    """Post an Event, best effort: one that cannot be posted changes nothing."""
    try:
        await kube.create(kube.events, event)
    except (Refused, Unavailable) as error:
        if getattr(error, "reason", "") != "AlreadyExists":
            log.warning("event.lost", extra=fields(reason=event["reason"], error=str(error)))
