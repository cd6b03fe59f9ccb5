"""An apiserver in memory for api and command line: objects with uid and dates, a watch that goes
on; and a tiny operator."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from fake_kube import FakeKube, copied

from codexrun_core.errors import Conflict, Unavailable

Json = dict[str, Any]


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster(FakeKube):
    """An apiserver whose `on_create(path, raw)` plays admission; `down` names methods that are
    away; `lost` loses so many answers to a create."""

    def __init__(self, namespace: str = "codexrun") -> None:
        super().__init__(namespace)
        self.version = 0
        self.log: list[tuple[int, str, Json]] = []  # version, path, event
        self.changed = asyncio.Event()  # set by the next change, which puts another in its place
        self.on_create: Callable[[str, Json], None] = lambda path, raw: None
        self.down: set[str] = set()
        self.lost = 0

    # -- the client's calls ------------------------------------------------------------------------

    async def create(self, path: str, body: Json) -> Json:
        made = await super().create(path, body)
        if self.lost:
            self.lost -= 1
            raise Unavailable("the answer was lost")
        return made

    async def watch(
        self, path: str, version: str, *, silence: float, **selectors: str
    ) -> AsyncIterator[Json]:
        position = 0
        while True:
            self._raise("watch", path, after=False)
            changed = self.changed
            for number, where, event in self.log[position:]:
                if number > int(version) and where.rpartition("/")[0] == path:
                    yield copied(event)
            position = len(self.log)
            if self.changed is changed:
                await changed.wait()

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        """Return objects of whatever labels: the caller looks at them again."""
        async for page in super().pages(path):
            yield page

    # -- the world's hand --------------------------------------------------------------------------

    def put(self, path: str, body: Json) -> Json:
        """Create an object in a folder; its uid and dates are the apiserver's."""
        raw = copied(body)
        raw["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(), "generation": 1}
        raw["metadata"].setdefault("namespace", self.namespace)
        return self.add(f"{path}/{raw['metadata']['name']}", raw)

    def add(self, path: str, raw: Json) -> Json:
        """Add an object that has its uid and dates."""
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = raw
        self._publish(path, raw, "ADDED")
        return copied(raw)

    def patch(self, path: str, patch: Json) -> Json:
        return copied(self._patch(path, patch))

    def remove(self, path: str) -> None:
        self._publish_deletion(path, self.objects.pop(path))

    def status(self, name: str, phase: str, **status: Any) -> Json:
        return self.patch(f"{self.runs}/{name}", {"status": {"phase": phase, **status}})

    def run(self, name: str) -> Json:
        return self.objects[f"{self.runs}/{name}"]

    @property
    def run_names(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.objects if path.startswith(self.runs)]

    # -- inside ------------------------------------------------------------------------------------

    def _raise(self, verb: str, path: str, *, after: bool) -> None:
        if verb in self.down and not after:
            raise Unavailable(f"{verb} is away")
        super()._raise(verb, path, after=after)

    def _create(self, path: str, body: Json) -> Json:
        full = f"{path}/{body['metadata']['name']}"
        if full in self.objects:
            raise Conflict(409, "AlreadyExists", f"{full} already exists")
        raw = self.put(path, body)
        self.on_create(full, raw)
        return raw

    def _store(self, path: str, changed: Json) -> Json:
        changed = super()._store(path, changed)
        self._publish(path, changed, "MODIFIED")
        return changed

    def _delete(self, path: str, uid: str, version: str | None) -> Json:
        deleted = super()._delete(path, uid, version)
        if path not in self.objects:  # else a finalizer holds it
            self._publish_deletion(path, deleted)
        return deleted

    def _publish_deletion(self, path: str, raw: Json) -> None:
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self._publish(path, raw, "DELETED")

    def _publish(self, path: str, raw: Json, kind: str) -> None:
        self.log.append((self.version, path, copied({"type": kind, "object": raw})))
        self.changed.set()
        self.changed = asyncio.Event()


def condition(kind: str, status: str = "True") -> Json:
    return {
        "type": kind,
        "status": status,
        "reason": kind,
        "message": "",
        "lastTransitionTime": stamp(),
    }


class FakeOperator:
    """Admit, queue or reject each new run at once: inputs need `name`, and there are `limit`
    slots."""

    def __init__(self, kube: FakeCluster, limit: int = 2) -> None:
        self.kube = kube
        self.limit = limit
        kube.on_create = self.admit

    def admit(self, path: str, raw: Json) -> None:
        if not path.startswith(self.kube.runs):
            return
        spec = raw["spec"]
        name = raw["metadata"]["name"]
        held = [
            r
            for p, r in self.kube.objects.items()
            if p.startswith(self.kube.runs) and self._holds(r)
        ]
        if not isinstance((spec.get("inputs") or {}).get("name"), str):
            text = (
                "spec.inputs/name: missing; give it a value; the job type's inputsSchema says what"
                " is expected"
            )
            self.reject(name, "InvalidInputs", text)
        elif len(held) < self.limit:
            self.kube.status(
                name, "Starting", attempt=1, reason="Starting", conditions=[condition("Admitted")]
            )
        elif spec.get("whenFull", "Queue") == "Reject":
            self.reject(
                name, "ConcurrencyLimit", "Rejected because of spec.whenFull: all slots are taken"
            )
        else:
            waiting = [condition("Admitted", "False")]
            self.kube.status(name, "Queued", reason="ConcurrencyLimit", conditions=waiting)

    def reject(self, name: str, reason: str, message: str) -> None:
        self.kube.status(name, "Rejected", reason=reason, message=message, finishedAt=stamp())

    @staticmethod
    def _holds(raw: Json) -> bool:
        return raw.get("status", {}).get("phase") in ("Starting", "Running", "Stopping")
