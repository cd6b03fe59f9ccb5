"""An apiserver in memory: objects, versions, preconditions and watches, as far as the api uses them; and a tiny operator."""

import asyncio
import copy
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from codexrun_core.kube.client import Conflict, Kube, NotFound, Unavailable

Json = dict[str, Any]


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeKube(Kube):
    """`on_create(raw)` plays admission; `down` names methods that are away; `lost` loses so many answers to a create."""

    def __init__(self, namespace: str = "codexrun") -> None:
        super().__init__(None, namespace, lambda: None)  # type: ignore[arg-type]
        self.objects: dict[str, Json] = {}  # path -> object
        self.versions = itertools.count(1)
        self.log: list[tuple[int, str, Json]] = []  # version, path, event
        self.bell = asyncio.Event()
        self.on_create: Callable[[str, Json], None] = lambda path, raw: None
        self.down: set[str] = set()
        self.lost = 0

    # -- the client's calls ------------------------------------------------------------------------

    async def create(self, path: str, body: Json) -> Json:
        self._check("create")
        full = f"{path}/{body['metadata']['name']}"
        if full in self.objects:
            raise Conflict(409, "AlreadyExists", f"{full} already exists")
        raw = self.put(path, body)
        self.on_create(full, raw)
        if self.lost:
            self.lost -= 1
            raise Unavailable("the answer was lost")
        return raw

    async def get(self, path: str) -> Json:
        self._check("get")
        if path not in self.objects:
            raise NotFound(404, "NotFound", f"{path} not found")
        return copy.deepcopy(self.objects[path])

    async def merge(self, path: str, patch: Json) -> Json:
        self._check("merge")
        return self.patch(path, patch)

    async def delete(self, path: str, *, uid: str, version: str | None = None, propagation: str = "Background") -> Json:
        self._check("delete")
        found = (await self.get(path))["metadata"]
        if found["uid"] != uid or (version and found["resourceVersion"] != version):
            raise Conflict(409, "Conflict", "precondition failed")
        self.remove(path)
        return {}

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        self._check("list")
        items = [copy.deepcopy(o) for p, o in self.objects.items() if p.rpartition("/")[0] == path]
        yield {"metadata": {"resourceVersion": str(self._last())}, "items": items}

    async def watch(self, path: str, version: str, *, silence: float, **selectors: str) -> AsyncIterator[Json]:
        position = 0
        while True:
            self._check("watch")
            bell = self.bell
            for number, where, event in self.log[position:]:
                if number > int(version) and where.rpartition("/")[0] == path:
                    yield copy.deepcopy(event)
            position = len(self.log)
            if self.bell is bell:
                await bell.wait()

    # -- the world's hand --------------------------------------------------------------------------

    def put(self, path: str, body: Json) -> Json:
        raw = copy.deepcopy(body)
        raw["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(), "generation": 1}
        raw["metadata"].setdefault("namespace", self.namespace)
        return self._store(f"{path}/{raw['metadata']['name']}", raw, "ADDED")

    def patch(self, path: str, patch: Json) -> Json:
        if path not in self.objects:
            raise NotFound(404, "NotFound", f"{path} not found")
        raw = copy.deepcopy(self.objects[path])
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != raw["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        _merge(raw, patch)
        return self._store(path, raw, "MODIFIED")

    def remove(self, path: str) -> None:
        raw = self.objects.pop(path)
        self._tell(path, raw, "DELETED")

    def status(self, name: str, phase: str, **status: Any) -> Json:
        return self.patch(f"{self.runs}/{name}", {"status": {"phase": phase, **status}})

    def run(self, name: str) -> Json:
        return self.objects[f"{self.runs}/{name}"]

    @property
    def run_names(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.objects if path.startswith(self.runs)]

    def _store(self, path: str, raw: Json, kind: str) -> Json:
        self.objects[path] = raw
        self._tell(path, raw, kind)
        return copy.deepcopy(raw)

    def _tell(self, path: str, raw: Json, kind: str) -> None:
        number = next(self.versions)
        raw["metadata"]["resourceVersion"] = str(number)
        self.log.append((number, path, copy.deepcopy({"type": kind, "object": raw})))
        self.bell.set()
        self.bell = asyncio.Event()

    def _last(self) -> int:
        return self.log[-1][0] if self.log else 0

    def _check(self, method: str) -> None:
        if method in self.down:
            raise Unavailable(f"{method} is away")


def _merge(into: Json, patch: Json) -> None:
    """RFC 7386."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def condition(kind: str, status: str = "True") -> Json:
    return {"type": kind, "status": status, "reason": kind, "message": "", "lastTransitionTime": stamp()}


class FakeOperator:
    """Judges at once: inputs need `name`, and so many slots there are."""

    def __init__(self, kube: FakeKube, limit: int = 2) -> None:
        self.kube, self.limit = kube, limit
        kube.on_create = self.judge

    def judge(self, path: str, raw: Json) -> None:
        if not path.startswith(self.kube.runs):
            return
        spec, name = raw["spec"], raw["metadata"]["name"]
        held = [r for p, r in self.kube.objects.items() if p.startswith(self.kube.runs) and self._holds(r)]
        if not isinstance((spec.get("inputs") or {}).get("name"), str):
            text = "spec.inputs/name: missing; give it a value; the job type's inputsSchema says what is expected"
            self.reject(name, "InvalidInputs", text)
        elif len(held) < self.limit:
            self.kube.status(name, "Starting", attempt=1, reason="Starting", conditions=[condition("Admitted")])
        elif spec.get("whenFull", "Queue") == "Reject":
            self.reject(name, "ConcurrencyLimit", "Rejected, as spec.whenFull asks: all slots are taken")
        else:
            waiting = [condition("Admitted", "False")]
            self.kube.status(name, "Queued", reason="ConcurrencyLimit", conditions=waiting)

    def reject(self, name: str, reason: str, message: str) -> None:
        self.kube.status(name, "Rejected", reason=reason, message=message, finishedAt=stamp())

    @staticmethod
    def _holds(raw: Json) -> bool:
        return raw.get("status", {}).get("phase") in ("Starting", "Running", "Stopping")
