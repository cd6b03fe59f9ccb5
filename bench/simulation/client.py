"""A client of the apiserver that costs little: what is measured shares its cores with it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

Json = dict[str, Any]

# An event then has an object's name, labels and owners, and nothing else.
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = METADATA_ONLY.replace("PartialObjectMetadata", "PartialObjectMetadataList")
MERGE_PATCH = "application/merge-patch+json"
RETRY_STATUSES = (429, 503, 504)


class Client:
    """Requests as one user; `paths` are below the server's address."""

    def __init__(self, server: str, authority: Path, token: str, connections: int = 64) -> None:
        self._server = server
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=ssl.create_default_context(cafile=str(authority)), limit=connections
            ),
            headers={"Authorization": f"Bearer {token}", "User-Agent": "codexrun-bench"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            read_bufsize=1 << 20,
        )

    async def close(self) -> None:
        await self._http.close()

    async def create(self, path: str, body: Json) -> Json:
        return await self._request("POST", path, body, "application/json")

    async def replace(self, path: str, body: Json) -> Json:
        return await self._request("PUT", path, body, "application/json")

    async def merge(self, path: str, patch: Json) -> Json:
        return await self._request("PATCH", path, patch, MERGE_PATCH)

    async def get(self, path: str) -> Json:
        return await self._request("GET", path, None, "application/json")

    async def count(self, path: str, field_selector: str) -> int:
        """Return how many objects there are with such fields."""
        headers = {"Accept": METADATA_LIST}
        query = {"fieldSelector": field_selector}
        async with self._http.get(self._server + path, params=query, headers=headers) as answer:
            answer.raise_for_status()
            # None where there are none.
            return len((await answer.json(content_type=None))["items"] or ())

    async def _request(self, method: str, path: str, body: Json | None, content_type: str) -> Json:
        """Send it until the server takes it or refuses it for good.

        Raises:
            RuntimeError: refused.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        while True:
            async with self._http.request(
                method, self._server + path, data=data, headers=headers
            ) as answer:
                if answer.status in RETRY_STATUSES:
                    await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
                    continue
                text = await answer.read()
                if answer.status >= 400:
                    raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
                answer_body: Json = json.loads(text)
                return answer_body

    async def version(self, path: str) -> str:
        """Return the resourceVersion from which a watch misses nothing that happens from now on."""
        answer = await self.get(f"{path}?limit=1")
        return str(answer["metadata"]["resourceVersion"])

    async def watch(
        self,
        path: str,
        version: str,
        on_object: Callable[[Json], object],
        accept: str = "application/json",
    ) -> None:
        """Call `on_object` with each state of each object after `version`, until cancelled."""
        while True:
            async for event in self._events(path, version, accept):
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    on_object(event["object"])

    async def _events(self, path: str, version: str, accept: str) -> AsyncIterator[Json]:
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version}
        async with self._http.get(
            self._server + path, params=query, headers={"Accept": accept}
        ) as answer:
            answer.raise_for_status()
            buffer = b""
            async for piece in answer.content.iter_any():
                *lines, buffer = (buffer + piece).split(b"\n")
                for line in lines:
                    event: Json = json.loads(line)
                    if event["type"] == "ERROR":
                        raise RuntimeError(f"watch of {path}: {event['object']}")
                    yield event
