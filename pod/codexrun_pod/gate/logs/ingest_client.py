"""The client of the api's ingest port. Two kinds of failure: Away (try again), Declined (for
good)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

# Of an api that vanished in the middle: twenty are all that a gate has at the end.
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0
FILE_TIMEOUT = aiohttp.ClientTimeout(total=60.0, sock_connect=CONNECT_SECONDS)
DECLINED_STATUSES = frozenset({400, 404, 405, 409, 413, 422})
MAX_REASON_CHARACTERS = 2048


class Unavailable(Exception):
    """The api did not answer, or cannot take it now; what arrived is unknown."""


class Declined(Exception):
    """The api will never take or give this."""

    def __init__(self, message: str, reason: str = "") -> None:
        """`reason`: the api's own words alone, for people; empty if it gave none."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class StoredLog:
    """The attempt's log as the api has it: its bytes, and whether it is closed."""

    size: int
    closed: bool


class IngestClient:
    """Sends one attempt's log, usage and artifacts."""

    def __init__(self, url: str, token_file: Path) -> None:
        """url: without a path; token_file: the kubelet renews it, so it is read for each request.
        Call in the event loop."""
        self._url = url.rstrip("/")
        self._token_file = token_file
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)

    async def close(self) -> None:
        """Close the client and its connections."""
        await self._session.close()

    async def log(self, offset: int, data: bytes, end: str | None = None) -> StoredLog:
        """Send bytes of the log from `offset` on; return what the api has afterwards.

        end: `complete` or `cut`, with the last bytes' end as offset.
        """
        query = {"offset": str(offset)} | ({"end": end} if end else {})
        answer = await self._json("POST", "/ingest/log", params=query, data=data)
        try:
            return StoredLog(int(answer["size"]), bool(answer.get("ended")))
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"the REST API's response is not valid: {error!r}") from error

    async def usage(self, usage: dict[str, Any]) -> None:
        """Send the account so far."""
        await self._json("POST", "/ingest/usage", json=usage)

    async def artifact(self, name: str, path: Path) -> None:
        """Send a whole file."""
        with path.open("rb") as file:
            await self._json("PUT", f"/ingest/artifacts/{name}", data=file, timeout=FILE_TIMEOUT)

    @asynccontextmanager
    async def rollout(self) -> AsyncIterator[aiohttp.ClientResponse]:
        """Stream the rollout of the run that this one resumes.

        Raises:
            Away, Declined: and why.
        """
        async with self._answer("GET", "/ingest/rollout", timeout=FILE_TIMEOUT) as answer:
            yield answer

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        async with self._answer(method, path, **options) as answer:
            try:
                return await answer.json()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        head = {"Authorization": f"Bearer {self._token()}"}
        try:
            answer = await self._session.request(
                method, self._url + path, headers=head, allow_redirects=False, **options
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{method} {path}: {error or type(error).__name__}") from error
        async with answer:
            if answer.status == 200:
                yield answer
                return
            text = await _text(answer)
            why = f"{method} {path}: HTTP {answer.status}: {text[:200]}"
            if answer.status in DECLINED_STATUSES:
                raise Declined(why, _reason(text))
            raise Unavailable(why)

    def _token(self) -> str:
        try:
            return self._token_file.read_text().strip()
        except OSError as error:
            raise Unavailable(
                f"the token at {self._token_file} cannot be read: {error.strerror}"
            ) from error


def _reason(text: str) -> str:
    """Return the api's words from the body of a refusal: {"error": "..."}."""
    try:
        reason = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return reason[:MAX_REASON_CHARACTERS] if isinstance(reason, str) else ""


async def _text(answer: aiohttp.ClientResponse) -> str:
    try:
        return await answer.text(errors="replace")
    except (aiohttp.ClientError, TimeoutError):
        return ""
