"""kopf as the informer of our own resources: events in, `State` told, nothing else.

on.event only: such handlers need no finalizer and no annotation, and they are level-triggered by
our own queue (kopf never retries them).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import kopf

from codexrun_core.resources import GROUP, VERSION
from codexrun_core.resources.phases import LIVE_RUNS_SELECTOR
from codexrun_core.unreadable import one_object
from codexrun_operator.watch.cache import State


class NoDiffs(kopf.DiffBaseStorage):
    """kopf keeps the last handled state to compare with; without update handlers that is a deep
    copy for nothing."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence(
            {}
        )  # the copy would fail for a deeply nested object, and kopf would not tell of it

    def fetch(self, *, body: kopf.Body) -> None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:  # noqa: ARG002
        return None


def _one(kind: str, item: Any) -> AbstractContextManager[None]:
    metadata = item["metadata"]
    return one_object(kind, metadata["name"], metadata["resourceVersion"])


def settings() -> kopf.OperatorSettings:
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True  # no CRDs and namespaces to watch: fewer rights
    chosen.posting.enabled = False
    chosen.networking.request_timeout, chosen.networking.connect_timeout = 30, 5
    chosen.networking.error_backoffs = [0.1, 0.5, 1, 2, 5]
    chosen.watching.field_selectors[GROUP, VERSION, "codexruns"] = LIVE_RUNS_SELECTOR
    # Pages of kopf's own list, which knows no bytes: 50 objects of the size that admission allows
    # (64 KiB of inputs, and as much again of status and metadata) are 6 MiB, and a list of 5,000
    # live runs is 100 requests at the start.
    chosen.watching.chunk_size = 50
    # A limit would cap new objects at limit / idle_timeout a second.
    chosen.queueing.worker_limit, chosen.queueing.idle_timeout = None, 1.0
    chosen.persistence.diffbase_storage = NoDiffs()
    return chosen


def registry(state: State, heard: Callable[[], None]) -> kopf.OperatorRegistry:
    """The handlers, bound to `state`; `heard` is called for every event."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(
            **arguments
        )

    @kopf.on.event(GROUP, VERSION, "codexruns", registry=handlers)
    async def run_event(event: Any, **_: Any) -> None:
        heard()
        with _one("codexrun", event["object"]):
            state.run_seen(event["object"], gone=event["type"] == "DELETED")

    @kopf.on.event(GROUP, VERSION, "codexjobtypes", registry=handlers)
    async def job_type_event(event: Any, **_: Any) -> None:
        heard()
        with _one("codexjobtype", event["object"]):
            state.job_type_seen(event["object"], gone=event["type"] == "DELETED")

    return handlers
