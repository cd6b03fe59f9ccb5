"""What Kubernetes warns of about Jobs and pods that do not get going, from one watch of Events.

Listed for each run instead, a thousand pods that wait for a node would be hundreds of requests a
second, each of which etcd answers from all Events of the namespace.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from codexrun_operator.decide.observed import Event, event_from
from codexrun_operator.watch.store import Store, version_of

Json = dict[str, Any]

# The apiserver keeps an Event for an hour. Those about other programs' pods count too: an Event may
# come before the Job or pod that it is about.
MAX_WARNINGS = 10_000
# Of causes that the containers' own states show; these Events outlive them, and are not kept.
CONTAINER_WARNINGS = {"Failed", "BackOff", "InspectFailed", "ErrImageNeverPull", "Unhealthy"}


@dataclass(frozen=True)
class Warned:
    """An Event, and the uid of what it is about."""

    object_uid: str
    event: Event


class Warnings:
    """Events by what they are about."""

    def __init__(self, max_warnings: int = MAX_WARNINGS) -> None:
        self._max_warnings = max_warnings
        self._events: Store[Warned] = Store()
        self._by_object: dict[str, set[str]] = {}  # uid of the object -> uids of Events

    def update(self, raw: Json, gone: bool = False) -> str | None:
        """Take an Event as the apiserver sent it; return the uid of what it is about, if that is
        news."""
        uid = raw["metadata"]["uid"]
        version = version_of(raw)
        if gone:
            self._forget(uid, version)
            return None
        event = event_from(raw)
        object_uid = (raw.get("involvedObject") or {}).get("uid") or ""
        if not object_uid or event.reason in CONTAINER_WARNINGS:
            return None
        if not self._events.apply(uid, version, Warned(object_uid, event)):
            return None
        self._by_object.setdefault(object_uid, set()).add(uid)
        if len(self._events) > self._max_warnings:
            self._forget(next(iter(self._events)), version)
        return object_uid

    def replace(self, uids: Collection[str], version: int) -> None:
        """These are all warnings as of resourceVersion `version`."""
        for uid in self._events.unlisted(uids, version):
            self._forget(uid, version)

    def of(self, object_uids: Iterable[str]) -> tuple[Event, ...]:
        """Return the warnings about these objects, newest last."""
        uids = [uid for object_uid in object_uids for uid in self._by_object.get(object_uid, ())]
        return tuple(self._events[uid].event for uid in sorted(uids, key=self._events.version))

    def _forget(self, uid: str, version: int) -> None:
        if uid not in self._events:
            return  # it was not kept: the store need not remember its end
        warned = self._events.forget(uid, version)
        assert warned is not None
        uids = self._by_object[warned.object_uid]
        uids.discard(uid)
        if not uids:
            del self._by_object[warned.object_uid]

    def __len__(self) -> int:
        return len(self._events)
