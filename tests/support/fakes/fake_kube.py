"""The operator's client of an apiserver in memory: `codexrun_core.kube.client.Kube`, with failures
at a test's word. `fake_cluster.py` has more of an apiserver."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from codexrun_core.errors import Conflict, NotFound, Refused
from codexrun_core.kube.client import Kube

Json = dict[str, Any]


def merged(target: Any, patch: Any) -> Any:
    """Return what a merge patch makes of an object (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def copied(value: Any) -> Any:
    """Return a copy of JSON that shares nothing with it. `copy.deepcopy`, which also looks for
    cycles, takes many times as long."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def as_stored(value: Any) -> Any:
    """Return JSON as an apiserver keeps it: integers in 64 bits, or as doubles; text in UTF-8."""

    def integer(text: str) -> int | float:
        number = int(text)
        return number if -(2**63) <= number < 2**63 else float(text)

    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return json.loads(text.encode(errors="replace"), parse_int=integer)


def _labelled(item: Json, selector: str) -> bool:
    """Return whether a selector matches: only `key` and `key=value`, and several with commas."""
    labels = item["metadata"].get("labels") or {}
    terms = (term.partition("=") for term in selector.split(",") if term)
    return all(
        labels.get(key) == value if equals else key in labels for key, equals, value in terms
    )


class FakeKube(Kube):
    """Hold objects by path. `fail(verb, part, error)` makes the next such call raise; with
    `after=True`, only once it has worked (a lost response). `calls` are the writes that
    arrived."""

    def __init__(self, namespace: str = "codexrun") -> None:
        super().__init__(None, namespace, lambda: None)  # type: ignore[arg-type]
        self.objects: dict[str, Json] = {}
        self.calls: list[tuple[str, str, Json]] = []
        self.reads: list[str] = []
        self.version = 100
        self.streams: list[list[Any]] = []
        self._failures: list[tuple[str, str, Exception, bool]] = []
        self.removed: Callable[[Json], None] = lambda item: None  # a deletion took effect

    # -- for tests -------------------------------------------------------------------------------

    def fail(self, verb: str, part: str, error: Exception, *, after: bool = False) -> None:
        self._failures.append((verb, part, error, after))

    def path_of(self, plural: str, name: str) -> str:
        folders = {
            "codexruns": self.runs,
            "codexjobtypes": self.job_types,
            "jobs": self.jobs,
            "pods": self.pods,
        }
        return f"{folders[plural]}/{name}"

    def put(self, plural: str, item: Json) -> Json:
        path = self.path_of(plural, item["metadata"]["name"])
        item = copied(item)
        self.objects[path] = item
        return item

    def items(self, path: str) -> list[Json]:
        return [item for key, item in self.objects.items() if key.rpartition("/")[0] == path]

    def writes(self, verb: str, part: str) -> list[Json]:
        return [body for v, path, body in self.calls if v == verb and part in path]

    # -- what Kube has ---------------------------------------------------------------------------

    async def create(self, path: str, body: Json) -> Json:
        return self._do("create", path, body, lambda: self._create(path, body))

    async def replace(self, path: str, body: Json) -> Json:
        return self._do("replace", path, body, lambda: self._replace_status(path, body))

    async def merge(self, path: str, patch: Json) -> Json:
        return self._do("merge", path, patch, lambda: self._patch(path, patch))

    async def strategic(self, path: str, patch: Json) -> Json:
        return self._do("strategic", path, patch, lambda: self._finalizers(path, patch))

    async def delete(
        self, path: str, *, uid: str, version: str | None = None, propagation: str = "Background"
    ) -> Json:
        return self._do(
            "delete",
            path,
            {"uid": uid, "propagation": propagation},
            lambda: self._delete(path, uid, version),
        )

    async def get(self, path: str) -> Json:
        self.reads.append(path)
        self._raise("get", path, after=False)
        return copied(self._find(path))

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        self.reads.append(f"{path}?{selectors}")
        self._raise("list", path, after=False)
        selector = selectors.get("labelSelector", "")
        items = [copied(item) for item in self.items(path) if _labelled(item, selector)]
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": items}

    async def watch(
        self, path: str, version: str, *, silence: float, **selectors: str
    ) -> AsyncIterator[Json]:
        """Play the next of `streams`: events, or an exception to raise."""
        self.reads.append(f"{path}@{version}")
        for event in self.streams.pop(0):
            if isinstance(event, Exception):
                raise event
            # what a watch has told a later list is not older than
            told = event["object"]["metadata"]["resourceVersion"]
            self.version = max(self.version, int(told))
            yield event

    # -- inside ----------------------------------------------------------------------------------

    def _raise(self, verb: str, path: str, *, after: bool) -> None:
        for failure in self._failures:
            failing_verb, part, error, late = failure
            if failing_verb == verb and part in path and late is after:
                self._failures.remove(failure)
                raise error

    def _do(self, verb: str, path: str, body: Json, work: Callable[[], Json]) -> Json:
        self._raise(verb, path, after=False)
        self.calls.append((verb, path, copied(body)))
        item = work()
        self._raise(verb, path, after=True)
        return copied(item)

    def _find(self, path: str) -> Json:
        if path not in self.objects:
            raise NotFound(404, "NotFound", f"{path} not found")
        return self.objects[path]

    def _create(self, path: str, body: Json) -> Json:
        path = f"{path}/{body['metadata']['name']}"
        if path in self.objects:
            raise Conflict(409, "AlreadyExists", f"{path} already exists")
        self.version += 1
        self.objects[path] = copied(body)
        identity = {"uid": f"uid-{self.version}", "resourceVersion": str(self.version)}
        self.objects[path]["metadata"] = {**body["metadata"], **identity}
        return self.objects[path]

    def _replace_status(self, path: str, body: Json) -> Json:
        """Take the status, and nothing else."""
        path = path.removesuffix("/status")
        item = self._find(path)
        for field in ("uid", "resourceVersion"):
            if body["metadata"][field] != item["metadata"][field]:
                raise Conflict(409, "Conflict", "the object has been modified")
        changed = copied(item) | {"status": as_stored(body["status"])}
        return self._store(path, changed)

    def _patch(self, path: str, patch: Json) -> Json:
        path = path.removesuffix("/status")
        item = self._find(path)
        metadata = patch.get("metadata", {})
        version = metadata.get("resourceVersion")
        if version and version != item["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        if metadata.get("uid") not in (None, item["metadata"]["uid"]):
            raise Refused(422, "Invalid", "metadata.uid: field is immutable")
        return self._store(path, merged(item, patch))

    def _store(self, path: str, changed: Json) -> Json:
        self.version += 1
        changed["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = changed
        return changed

    def _finalizers(self, path: str, patch: Json) -> Json:
        item = self._find(path)
        metadata = item["metadata"]
        changes = patch["metadata"]
        if changes["uid"] != metadata["uid"]:
            raise Conflict(409, "Conflict", "the UID in the precondition does not match")
        finalizers = list(metadata.get("finalizers", []))
        added = changes.get("finalizers", [])
        if added and metadata.get("deletionTimestamp"):
            raise Refused(
                422, "Invalid", "no new finalizers can be added if the object is being deleted"
            )
        removed = changes.get("$deleteFromPrimitiveList/finalizers", [])
        metadata["finalizers"] = [
            f for f in dict.fromkeys([*finalizers, *added]) if f not in removed
        ]
        self._touch(item)
        return item

    def _delete(self, path: str, uid: str, version: str | None) -> Json:
        item = self._find(path)
        if item["metadata"]["uid"] != uid:
            raise Conflict(409, "Conflict", "the UID in the precondition does not match")
        if version and item["metadata"]["resourceVersion"] != version:
            raise Conflict(409, "Conflict", "the object has been modified")
        if item["metadata"].get("finalizers"):
            item["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
            self._touch(item)
        else:
            del self.objects[path]
            self.removed(item)
        return item

    def _touch(self, item: Json) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
