"""One run looked at closely, straight on the cluster: conditions of its object, limits in force,
and the Events about it."""

from typing import Any

from codexrun_cli.transports import Details, KubeEvent
from codexrun_cli.transports.schemas import Condition
from codexrun_core.errors import Refused
from codexrun_core.kube.client import Kube
from codexrun_core.resources import CodexRun
from codexrun_core.resources.limits import Limits

Json = dict[str, Any]


async def details(kube: Kube, raw: Json) -> Details:
    """Return what the api's `/runs/{id}/details` has, with `events` for its transitions."""
    return {
        "limits": await _limits(kube, raw),
        "conditions": conditions(raw),
        "events": await _events(kube, raw),
    }


def conditions(raw: Json) -> list[Condition]:
    """Return the conditions of a CodexRun, as the api shows them. Pure."""
    return [
        {
            "type": condition["type"],
            "status": condition["status"],
            "reason": condition["reason"],
            "message": condition["message"],
            "last_transition_time": condition["last_transition_time"],
        }
        for condition in CodexRun.model_validate(raw).status.model_dump(mode="json")["conditions"]
    ]


async def _limits(kube: Kube, raw: Json) -> dict[str, int]:
    """Return the limits in force; the run's own where its job type is gone or may not be read."""
    try:
        job_type = await kube.get(f"{kube.job_types}/{raw['spec']['jobType']}")
        ceiling = job_type["spec"].get("limits") or {}
    except Refused:
        ceiling = {}
    own = Limits.model_validate(raw["spec"].get("limits") or {})
    limits: dict[str, int] = own.within(Limits.model_validate(ceiling)).model_dump(
        exclude_none=True
    )
    return limits


async def _events(kube: Kube, raw: Json) -> list[KubeEvent]:
    """Return Events, oldest first; none where they may not be read."""
    events = []
    selector = f"involvedObject.uid={raw['metadata']['uid']}"
    try:
        async for page in kube.pages(kube.events, fieldSelector=selector):
            events += [event(item) for item in page["items"]]
    except Refused:
        return []
    return sorted(events, key=lambda item: str(item["at"]))


def event(raw: Json) -> KubeEvent:
    """Return the fields of an Event that people read. Pure."""
    return {
        "at": raw.get("lastTimestamp") or raw.get("eventTime"),
        "type": raw.get("type", "Normal"),
        "reason": raw.get("reason") or "",
        "message": raw.get("message") or "",
    }
