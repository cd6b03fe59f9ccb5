"""One run looked at closely, straight on the cluster: conditions of its object, limits in force,
and the Events about it."""

from typing import Any

from codexrun_core.errors import Refused
from codexrun_core.kube.client import Kube
from codexrun_core.resources import CodexRun
from codexrun_core.resources.fields import Limits

Json = dict[str, Any]


async def details(kube: Kube, raw: Json) -> Json:
    """As the api's `/runs/{id}/details`, with `events` for its transitions."""
    return {
        "limits": await _limits(kube, raw),
        "conditions": conditions(raw),
        "events": await _events(kube, raw),
    }


def conditions(raw: Json) -> list[Json]:
    """Of a CodexRun, as the api shows them. Pure."""
    keys = ("type", "status", "reason", "message", "last_transition_time")
    found = CodexRun.model_validate(raw).status.conditions
    return [
        {key: value for key, value in one.model_dump(mode="json").items() if key in keys}
        for one in found
    ]


async def _limits(kube: Kube, raw: Json) -> Json:
    """The run's own where its job type is gone or may not be read."""
    try:
        ceiling = (await kube.get(f"{kube.job_types}/{raw['spec']['jobType']}"))["spec"].get(
            "limits"
        ) or {}
    except Refused:
        ceiling = {}
    own = Limits.model_validate(raw["spec"].get("limits") or {})
    return own.within(Limits.model_validate(ceiling)).model_dump(exclude_none=True)


async def _events(kube: Kube, raw: Json) -> list[Json]:
    """Oldest first; none where they may not be read."""
    found = []
    try:
        async for page in kube.pages(
            kube.events, fieldSelector=f"involvedObject.uid={raw['metadata']['uid']}"
        ):
            found += [event(one) for one in page["items"]]
    except Refused:
        return []
    return sorted(found, key=lambda one: str(one.get("at")))


def event(raw: Json) -> Json:
    """An Event of the cluster, in the fields that people read. Pure."""
    shown = {
        "at": raw.get("lastTimestamp") or raw.get("eventTime"),
        "type": raw.get("type", "Normal"),
    }
    return {**shown, "reason": raw.get("reason") or "", "message": raw.get("message") or ""}
