"""A small apiserver over HTTP, for tests that run a real process of codexrun: list (pages,
selectors), watch, get, create, update, merge patch, delete, finalizers, the status subresource,
leases, discovery. Objects are in memory; `before` lets a test delay or refuse any request, and
`on_change` hears of every change at its very moment.
"""

import asyncio
import copy
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from fake_kube import merged

Json = dict[str, Any]

KINDS = {
    "codexruns": ("codexrun.dev/v1alpha1", "CodexRun"),
    "codexjobtypes": ("codexrun.dev/v1alpha1", "CodexJobType"),
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "configmaps": ("v1", "ConfigMap"),
    "events": ("v1", "Event"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
}
BOOKMARK_SECONDS = 30
VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}

Before = Callable[[str, str, web.Request], Awaitable[web.Response | None]]
OnChange = Callable[[str, Json | None, Json | None], None]  # plural, before, after
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
TAKE_FINALIZERS = "$deleteFromPrimitiveList/finalizers"


def failure(code: int, reason: str, message: str = "") -> web.Response:
    """A Status, as apiservers answer with."""
    body = {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message or reason,
    }
    return web.json_response(body, status=code)


def kubeconfig(server: str, token: str = "t") -> str:
    """Return the file of that name; HttpApiserver asks for no token."""
    return f"""apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: c, cluster: {{server: "{server}"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u, namespace: codexrun}}}}]
users: [{{name: u, user: {{token: "{token}"}}}}]
"""


def now_stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


async def nothing_before(verb: str, plural: str, request: web.Request) -> web.Response | None:
    return None


class HttpApiserver:
    """`objects` by plural and name. `before(verb, plural, request)` may wait, or answer in the
    apiserver's place."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {plural: {} for plural in KINDS}
        self.version = 1000
        self.before: Before = nothing_before
        self.on_change: list[OnChange] = []
        self.server = ""
        self._history: list[
            tuple[int, str, Json | None, Json | None]
        ] = []  # version, plural, before, after
        self._bell = asyncio.Event()

    async def serve(self) -> web.AppRunner:
        """Listen on a free port of this machine, until the runner is cleaned up."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.server = f"http://{host}:{port}"
        return runner

    # -- for tests -------------------------------------------------------------------------------

    def put(self, plural: str, item: Json) -> Json:
        """Create or replace an object; what a test leaves out of its metadata is filled in."""
        item = copy.deepcopy(item)
        self.version += 1
        metadata = {
            "uid": str(uuid.uuid4()),
            "namespace": "codexrun",
            "generation": 1,
            "creationTimestamp": now_stamp(),
            **item["metadata"],
            "resourceVersion": str(self.version),
        }
        api_version, kind = KINDS[plural]
        item = {"apiVersion": api_version, "kind": kind, **item, "metadata": metadata}
        known = self.objects[plural].get(metadata["name"])
        self.objects[plural][metadata["name"]] = item
        self._tell(plural, known, item)
        return item

    def remove(self, plural: str, name: str) -> Json:
        known = self.objects[plural].pop(name)
        self.version += 1
        self._tell(plural, known, None)
        return known

    def mark_deleted(self, plural: str, name: str) -> Json:
        """Begin the deletion of an object that something still holds."""
        known = self.objects[plural][name]
        if known["metadata"].get("deletionTimestamp"):
            return known
        metadata = {**known["metadata"], "deletionTimestamp": now_stamp()}
        return self.put(plural, {**known, "metadata": metadata})

    async def changed(self) -> None:
        """Wait until anything changes."""
        await self._bell.wait()

    def _tell(self, plural: str, before: Json | None, after: Json | None) -> None:
        self._history.append((self.version, plural, before, after))
        bell = self._bell
        self._bell = asyncio.Event()
        bell.set()
        for hear in self.on_change:
            hear(plural, before, after)

    # -- requests --------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if "namespaces" not in parts:
            return web.json_response(_discovery(parts))
        place = parts.index("namespaces")
        plural = parts[place + 2]
        name = parts[place + 3] if len(parts) > place + 3 else ""
        listing = "watch" if request.query.get("watch") in ("1", "true") else "list"
        reading = "get" if name else listing
        verb = VERBS.get(request.method, reading)
        answer = await self.before(verb, plural, request)
        if answer is not None:
            return answer
        if name and verb != "create" and name not in self.objects[plural]:
            return failure(404, "NotFound", f'{plural} "{name}" not found')
        with suppress(ConnectionResetError):  # whoever watched is gone
            response: web.StreamResponse = await getattr(self, f"_{verb}")(request, plural, name)
            return response
        return web.Response()

    async def _get(self, request: web.Request, plural: str, name: str) -> web.Response:
        return web.json_response(self.objects[plural][name])

    async def _list(self, request: web.Request, plural: str, name: str) -> web.Response:
        """Pages go by name, as in etcd."""
        query = request.query
        names = [name for name in sorted(self.objects[plural]) if name > query.get("continue", "")]
        items = [item for name in names if _matches(item := self.objects[plural][name], query)]
        limit = int(query.get("limit") or 0)
        metadata = {"resourceVersion": str(self.version)}
        if limit and len(items) > limit:
            items = items[:limit]
            metadata["continue"] = items[-1]["metadata"]["name"]
        api_version, kind = KINDS[plural]
        return web.json_response(
            {"apiVersion": api_version, "kind": f"{kind}List", "metadata": metadata, "items": items}
        )

    async def _watch(self, request: web.Request, plural: str, name: str) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or self.version)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        position = 0
        while True:
            bell = self._bell
            while position < len(self._history):
                version, changed, before, after = self._history[position]
                position += 1
                event = (
                    _event(version, before, after, request.query)
                    if changed == plural and version > since
                    else None
                )
                if event:
                    await response.write(json.dumps(event).encode() + b"\n")
            try:
                await asyncio.wait_for(bell.wait(), BOOKMARK_SECONDS)
            except TimeoutError:
                bookmark = {"metadata": {"resourceVersion": str(self.version)}}
                await response.write(
                    json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n"
                )

    async def _create(self, request: web.Request, plural: str, name: str) -> web.Response:
        body = await request.json()
        if body["metadata"]["name"] in self.objects[plural]:
            return failure(
                409, "AlreadyExists", f'{plural} "{body["metadata"]["name"]}" already exists'
            )
        return web.json_response(self.put(plural, body), status=201)

    async def _patch(self, request: web.Request, plural: str, name: str) -> web.Response:
        body = await request.json()
        known = self.objects[plural][name]
        if request.content_type != STRATEGIC_PATCH:
            return self._store(request, plural, merged(known, body), known)
        patch = copy.deepcopy(body)
        metadata = patch.get("metadata", {})
        added = metadata.pop("finalizers", [])
        taken = metadata.pop(TAKE_FINALIZERS, [])
        before = known["metadata"].get("finalizers", [])
        if set(added) - set(before) and known["metadata"].get("deletionTimestamp"):
            return failure(
                422, "Invalid", "no new finalizers can be added if the object is being deleted"
            )
        item = merged(known, patch)
        item["metadata"]["finalizers"] = [
            finalizer for finalizer in dict.fromkeys([*before, *added]) if finalizer not in taken
        ]
        return self._store(request, plural, item, known)

    async def _update(self, request: web.Request, plural: str, name: str) -> web.Response:
        return self._store(request, plural, await request.json(), self.objects[plural][name])

    def _store(self, request: web.Request, plural: str, item: Json, known: Json) -> web.Response:
        """Take what the subresource is for; a write that changes nothing makes no version."""
        if _stale(item, known):
            return failure(409, "Conflict", "the object has been modified")
        if item["metadata"].get("uid") not in (None, known["metadata"]["uid"]):
            return failure(422, "Invalid", "metadata.uid: field is immutable")
        whole, part = (known, item) if request.path.endswith("/status") else (item, known)
        stored = {key: value for key, value in whole.items() if key != "status"}
        if "status" in part:
            stored |= {"status": part.get("status", {})}
        stored["metadata"] = {**known["metadata"], **stored["metadata"]}
        stored["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
        if stored == known:
            return web.json_response(known)
        if stored.get("spec") != known.get("spec"):
            stored["metadata"]["generation"] = known["metadata"]["generation"] + 1
        stored = self.put(plural, stored)
        if stored["metadata"].get("deletionTimestamp") and not _is_held(stored):
            self.remove(plural, stored["metadata"]["name"])
        return web.json_response(stored)

    async def _delete(self, request: web.Request, plural: str, name: str) -> web.Response:
        """A pod on a node goes when its kubelet says so, and what has finalizers when they have
        gone."""
        wanted = ((await request.json()) or {}).get("preconditions", {})
        known = self.objects[plural][name]
        for key in ("uid", "resourceVersion"):
            if wanted.get(key) not in (None, known["metadata"][key]):
                return failure(409, "Conflict", f"the {key} in the precondition does not match")
        if not _is_held(known):
            return web.json_response(self.remove(plural, name))
        return web.json_response(self.mark_deleted(plural, name))


def _stale(body: Json, known: Json) -> bool:
    return body["metadata"].get("resourceVersion") not in (
        None,
        known["metadata"]["resourceVersion"],
    )


def _is_held(item: Json) -> bool:
    """Return whether a deletion only begins: finalizers are there, or containers on a node."""
    running = item["kind"] == "Pod" and item.get("spec", {}).get("nodeName")
    ended = item.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return bool(item["metadata"].get("finalizers") or (running and not ended))


def _event(version: int, before: Json | None, after: Json | None, query: Any) -> Json | None:
    """What a watch with these selectors sends: an object that matches no more is DELETED there."""
    was = before is not None and _matches(before, query)
    is_now = after is not None and _matches(after, query)
    if not (was or is_now):
        return None
    item = copy.deepcopy(after or before or {})
    item["metadata"]["resourceVersion"] = str(version)
    kinds = {(True, True): "MODIFIED", (False, True): "ADDED", (True, False): "DELETED"}
    return {"type": kinds[was, is_now], "object": item}


def _matches(item: Json, query: Any) -> bool:
    """Field selectors of `=` and `!=`; label selectors of a key, or a key and its value."""
    labels = item["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        key, equals, value = part.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for part in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = part.partition("=")
        if (_field(item, path.removesuffix("!")) == value) is path.endswith("!"):
            return False
    return True


def _field(item: Any, path: str) -> str:
    for key in path.split("."):
        item = item.get(key) if isinstance(item, dict) else None
    return str(item or "")


def _discovery(parts: list[str]) -> Json:
    groups = sorted({api_version for api_version, _ in KINDS.values()})
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        named = [
            dict(zip(("name", "version"), group.split("/"), strict=True))
            for group in groups
            if "/" in group
        ]
        versions = [
            (
                one["name"],
                {"groupVersion": f"{one['name']}/{one['version']}", "version": one["version"]},
            )
            for one in named
        ]
        found = [
            {"name": name, "versions": [version], "preferredVersion": version}
            for name, version in versions
        ]
        return {"kind": "APIGroupList", "groups": found}
    wanted = "v1" if parts[0] == "api" else "/".join(parts[1:3])
    verbs = ["get", "list", "watch", "create", "patch", "update", "delete"]
    resources = [
        {
            "name": plural,
            "singularName": kind.lower(),
            "namespaced": True,
            "kind": kind,
            "verbs": verbs,
        }
        for plural, (api_version, kind) in KINDS.items()
        if api_version == wanted
    ]
    if wanted == "v1":
        # kopf serves nothing in a namespace of a cluster that has no namespaces.
        namespaces = {
            "name": "namespaces",
            "singularName": "namespace",
            "namespaced": False,
            "kind": "Namespace",
        }
        resources.append({**namespaces, "verbs": verbs})
    return {"kind": "APIResourceList", "groupVersion": wanted, "resources": resources}
