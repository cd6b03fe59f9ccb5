"""kopf as the informer of codexrun's own resources: events in, the cache updated, nothing else.

on.event only: such handlers need no finalizer and no annotation, and they are level-triggered by
the work queue (kopf never retries them).
"""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import kopf

from codexrun_core.kube.client import proxy_of_environment
from codexrun_core.resources import GROUP, VERSION
from codexrun_core.resources.phases import LIVE_RUNS_SELECTOR
from codexrun_core.unreadable import one_object
from codexrun_operator.watch.cache import Cache


class NoDiffs(kopf.DiffBaseStorage):
    """kopf keeps the last handled state to compare with; without update handlers that is a deep
    copy for nothing."""

    def build(
        self,
        *,
        body: kopf.Body,  # noqa: ARG002 - kopf's signature
        extra_fields: object = None,  # noqa: ARG002
    ) -> kopf.BodyEssence:
        # the copy would fail for a deeply nested object, and kopf would not tell of it
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> None:  # noqa: ARG002
        return None

    def store(
        self,
        *,
        body: kopf.Body,  # noqa: ARG002
        patch: kopf.Patch,  # noqa: ARG002
        essence: kopf.BodyEssence,  # noqa: ARG002
    ) -> None:
        return None


def _one(kind: str, item: Any) -> AbstractContextManager[None]:
    metadata = item["metadata"]
    return one_object(kind, metadata["name"], metadata["resourceVersion"])


def settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no CRDs and namespaces to watch: fewer rights
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = [0.1, 0.5, 1, 2, 5]
    settings.watching.field_selectors[GROUP, VERSION, "codexruns"] = LIVE_RUNS_SELECTOR
    # Pages of kopf's own list, which knows no bytes: 50 objects of the size that admission allows
    # (64 KiB of inputs, and as much again of status and metadata) are 6 MiB, and a list of 5,000
    # live runs is 100 requests at the start.
    settings.watching.chunk_size = 50
    # A limit would cap new objects at limit / idle_timeout a second.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.persistence.diffbase_storage = NoDiffs()
    return settings


async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Return how kopf reaches the apiserver: as all other requests do, through the same proxy."""
    info = kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)
    if info is None or info.proxy_url:
        return info
    return dataclasses.replace(info, proxy_url=proxy_of_environment(info.server))


def registry(cache: Cache, on_event: Callable[[], None]) -> kopf.OperatorRegistry:
    """Return the handlers, bound to `cache`; `on_event` is called for every event."""
    registry = kopf.OperatorRegistry()

    kopf.on.login(registry=registry)(login)

    @kopf.on.event(GROUP, VERSION, "codexruns", registry=registry)
    async def run_event(event: Any, **_: Any) -> None:
        on_event()
        with _one("codexrun", event["object"]):
            cache.update_run(event["object"], gone=event["type"] == "DELETED")

    @kopf.on.event(GROUP, VERSION, "codexjobtypes", registry=registry)
    async def job_type_event(event: Any, **_: Any) -> None:
        on_event()
        with _one("codexjobtype", event["object"]):
            cache.update_job_type(event["object"], gone=event["type"] == "DELETED")

    return registry
