"""The few calls to the apiserver, as plain dicts over the official client's own configuration and
session.

The typed models cost three times the CPU of the call itself, and an operator makes the same five
calls all day. Two kinds of failure: `Refused` (tell the user) and `Unavailable` (try again, assume
nothing about what happened).
"""

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client, config

from codexrun_core import deep_json
from codexrun_core.errors import Conflict, Gone, NotFound, Refused, Unavailable
from codexrun_core.runs.label_keys import is_object_name

Json = dict[str, Any]
OnResponse = Callable[[str, str, str, float], None]

WRITE_TIMEOUT_SECONDS = 5.0  # seconds; a lease outlives every write that began under it
READ_TIMEOUT_SECONDS = 30.0
FIRST_PAGE_OBJECTS = 100  # objects of a list's first page
MAX_PAGE_OBJECTS = 500
MAX_PAGE_BYTES = 4 * 1024**2  # of a list's answer: parsed, small values take up to 25 times as much
# a watch event is one: a ConfigMap of 1 MiB, every byte written as \u0001 (the client's own: 4
# MiB)
MAX_EVENT_BYTES = 8 * 1024**2

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

WRITE_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class _TooLarge(Exception):
    """It is longer than was asked for."""


class Kube:
    """Calls within one namespace.

    `may_write` is asked before every write and raises Unavailable when this process may not lead
    any more. `answered(verb, resource, code, seconds)` is told of every request; code "none" when
    no answer came.
    """

    def __init__(
        self,
        api: client.ApiClient,
        namespace: str,
        may_write: Callable[[], None],
        agent: str = "codexrun-operator",
        answered: OnResponse | None = None,
    ) -> None:
        self._on_response = answered
        self.api = api
        self.namespace = namespace
        self._may_write = may_write
        self._agent = agent
        self.runs = f"/apis/codexrun.dev/v1alpha1/namespaces/{namespace}/codexruns"
        self.job_types = f"/apis/codexrun.dev/v1alpha1/namespaces/{namespace}/codexjobtypes"
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.config_maps = f"/api/v1/namespaces/{namespace}/configmaps"
        self.events = f"/api/v1/namespaces/{namespace}/events"

    async def create(self, path: str, body: Json) -> Json:
        return await self._write("POST", path, body, "application/json")

    async def replace(self, path: str, body: Json) -> Json:
        """Put an object, or its status, in the place of what is stored, if that still has the
        resourceVersion in `body` (Conflict otherwise)."""
        return await self._write("PUT", path, body, "application/json")

    async def merge(self, path: str, patch: Json) -> Json:
        """Change an object by an RFC 7386 merge patch."""
        return await self._write("PATCH", path, patch, MERGE_PATCH)

    async def strategic(self, path: str, patch: Json) -> Json:
        """Change an object of a built-in kind by a strategic merge patch: it can add to a list and
        take from it without knowing the rest."""
        return await self._write("PATCH", path, patch, STRATEGIC_PATCH)

    async def delete(
        self, path: str, *, uid: str, version: str | None = None, propagation: str = "Background"
    ) -> Json:
        """Delete this very object. The propagation policy is always given: without one, REST
        orphans a Job's pod.

        With `version` only if it has not changed since that resourceVersion (Conflict otherwise).
        """
        preconditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
        options = {"preconditions": preconditions, "propagationPolicy": propagation}
        return await self._write("DELETE", path, options, "application/json")

    async def get(self, path: str) -> Json:
        return await self._json("GET", path, None, None, READ_TIMEOUT_SECONDS)

    async def list_items(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        """Yield the objects of a consistent list, as `pages` reads it."""
        async for page in self.pages(path, **selectors):
            for item in page["items"]:
                yield item

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        """Yield a consistent list page by page; every page carries the list's resourceVersion in
        its metadata.

        Pages are as large as MAX_PAGE_BYTES allows: one that is larger is not read, and asked for
        again with fewer objects. A continue token may be used more than once and with another
        limit.
        """
        limit = FIRST_PAGE_OBJECTS
        query = {"limit": "", **selectors}
        while True:
            query["limit"] = str(limit)
            try:
                max_bytes = MAX_PAGE_BYTES if limit > 1 else None
                page, size = await self._answer(
                    "GET",
                    f"{path}?{urlencode(query)}",
                    None,
                    None,
                    READ_TIMEOUT_SECONDS,
                    max_bytes=max_bytes,
                )
            except _TooLarge:
                limit = max(1, limit // 4)
                continue
            limit = next_page_objects(limit, len(page.get("items", ())), size)
            token = page["metadata"].get("continue")
            yield page
            if not token:
                return
            query["continue"] = token

    async def watch(
        self, path: str, version: str, *, silence: float, **selectors: str
    ) -> AsyncIterator[Json]:
        """Yield the events after `version`, bookmarks included, until the server ends the stream.

        Raises:
            Gone: `version` is too old.
            Unavailable: the stream broke, or nothing came for `silence` seconds (bookmarks come
                about once a minute).
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            **selectors,
        }
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=READ_TIMEOUT_SECONDS, sock_read=silence
        )
        response = await self._send("GET", f"{path}?{urlencode(query)}", None, None, timeout)
        try:
            while line := await response.content.readline():
                event: Json = deep_json.loads(line)
                if event["type"] == "ERROR":
                    raise _refused(event["object"].get("code", 500), event["object"])
                yield event
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            raise Unavailable(f"watch of {path}: {error or type(error).__name__}") from error
        finally:
            response.close()

    async def stream(self, path: str, *, silence: float) -> AsyncIterator[bytes]:
        """Yield an answer's bytes as they come: the log of a pod.

        Raises:
            Unavailable: it broke, or nothing came for `silence` seconds.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=READ_TIMEOUT_SECONDS, sock_read=silence
        )
        response = await self._send("GET", path, None, None, timeout)
        try:
            async for piece in response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"GET {path}: {error or type(error).__name__}") from error
        finally:
            response.close()

    async def _write(self, method: str, path: str, body: Any, content_type: str) -> Json:
        self._may_write()
        return await self._json(method, path, body, content_type, WRITE_TIMEOUT_SECONDS)

    async def _json(
        self, method: str, path: str, body: Any, content_type: str | None, seconds: float
    ) -> Json:
        return (await self._answer(method, path, body, content_type, seconds))[0]

    async def _answer(
        self,
        method: str,
        path: str,
        body: Any,
        content_type: str | None,
        seconds: float,
        *,
        max_bytes: int | None = None,
    ) -> tuple[Json, int]:
        """Return an answer, and how many bytes it had.

        Raises:
            _TooLarge: more than `max_bytes`; the rest is not read.
        """
        timeout = aiohttp.ClientTimeout(total=seconds)
        response = await self._send(method, path, body, content_type, timeout)
        try:
            text = bytearray()
            async for piece in response.content.iter_any():
                text += piece
                if max_bytes is not None and len(text) > max_bytes:
                    raise _TooLarge
            return cast(Json, deep_json.loads(bytes(text))), len(text)
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            response.close()

    async def _send(
        self,
        method: str,
        path: str,
        body: Any,
        content_type: str | None,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        configuration = self.api.configuration
        headers = {"Accept": "application/json", "User-Agent": self._agent}
        if content_type:
            headers["Content-Type"] = content_type
        if token := await configuration.get_api_key_with_prefix(
            "BearerToken", alias="authorization"
        ):
            headers["Authorization"] = token
        session = self.api.rest_client
        started = time.monotonic()
        code = "none"
        if session.pool_manager is None:
            # the session it makes on its own first request
            session.pool_manager = session._create_pool_manager()
        try:
            response: aiohttp.ClientResponse = await session.pool_manager.request(
                method,
                configuration.host + path,
                headers=headers,
                data=None if body is None else json.dumps(body),
                timeout=timeout,
                read_bufsize=MAX_EVENT_BYTES // 2,
            )
            code = str(response.status)
            if response.status < 400:
                return response
            text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            if self._on_response:
                self._on_response(
                    *verb_and_resource(method, path), code, time.monotonic() - started
                )
        if response.status in (408, 429) or response.status >= 500:
            raise Unavailable(f"{method} {path}: HTTP {response.status}: {text[:200]}")
        try:
            body_json = json.loads(text)
        except (ValueError, RecursionError):
            body_json = None
        raise _refused(
            response.status, body_json if isinstance(body_json, dict) else {"message": text[:200]}
        )


def object_path(folder: str, name: str) -> str:
    """Return the path of the object `name`, which somebody else has written, in a path of `Kube`.

    Raises:
        NotFound: no object can have that name. As a part of a URL it may mean another one: "?" is
            the list of all, ".." the folder above.
    """
    if not is_object_name(name):
        raise NotFound(404, "NotFound", f"{folder}: not a valid object name: {name[:63]!r}")
    return f"{folder}/{name}"


def next_page_objects(limit: int, objects: int, size: int) -> int:
    """Return how many objects to ask for after a page of so many objects and bytes: as many as
    would fill three quarters of MAX_PAGE_BYTES, and at most twice as many as before."""
    if not objects:
        return limit
    return max(
        1, min(MAX_PAGE_OBJECTS, 2 * limit, MAX_PAGE_BYTES * 3 // 4 * objects // max(1, size))
    )


def verb_and_resource(method: str, path: str) -> tuple[str, str]:
    """Name a request as RBAC does: list, jobs."""
    plain, _, query = path.partition("?")
    parts = plain.strip("/").split("/")
    if "namespaces" in parts:
        parts = parts[parts.index("namespaces") + 2 :]
        resource = parts[0]
        read_verb = "get" if len(parts) > 1 else "list"
    else:
        resource = parts[-1]
        read_verb = "list"
    if query.startswith("watch="):
        read_verb = "watch"
    verb = WRITE_VERBS.get(method, read_verb)
    return verb, resource


def _refused(status: int, answer: Json) -> Refused:
    kinds: dict[int, type[Refused]] = {404: NotFound, 409: Conflict, 410: Gone}
    return kinds.get(status, Refused)(
        status, answer.get("reason", ""), answer.get("message", f"HTTP {status}")
    )


async def connect() -> client.ApiClient:
    """Return a client for the cluster that this process runs in, or for KUBECONFIG outside of
    one."""
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config()  # type: ignore[no-untyped-call]
    return api_client(client.Configuration.get_default_copy())


def api_client(configuration: client.Configuration) -> client.ApiClient:
    """Return a client that goes through the proxy of the kubeconfig, or else of the environment.

    With `trust_env` aiohttp would look for a proxy and for a .netrc at every request, in threads:
    a fifth of the operator's CPU. Credentials of a .netrc are not for the apiserver.
    """
    proxy = configuration.proxy or proxy_of_environment(configuration.host)
    configuration.client_session_kwargs = {"trust_env": False, "proxy": proxy}
    return client.ApiClient(configuration)


def proxy_of_environment(url: str) -> str | None:
    """Return the URL of the proxy that HTTPS_PROXY and NO_PROXY name for this URL, if any."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)
