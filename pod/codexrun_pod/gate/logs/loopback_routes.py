"""Routes for the runner on loopback: it hands over log, artifacts and the digests by which the gate
recognises Secrets, and gets an earlier run's rollout.

Whatever runs in the agent's container can call this, so the limits hold for anybody: what comes
here is the agent's word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from aiohttp import web

from codexrun_core.pod_contract import (
    AGENT_ARTIFACTS,
    FINAL_MESSAGE,
    MAX_ARTIFACT_BYTES,
    MIB,
    OUTPUT,
)
from codexrun_pod.gate import json_text
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.logs.ingest_client import Declined, Unavailable
from codexrun_pod.gate.logs.spool import TooLarge
from codexrun_pod.gate.logs.upload_to_api import Uploader
from codexrun_pod.gate.loopback.request_body import BodyError, BodyReader
from codexrun_pod.gate.policy import output

MAX_MASK_BYTES = 4 * MIB
ARTIFACT_SECONDS = 10.0  # the runner waits as long for the answer


class LoopbackRoutes:
    """Without `uploader` (no api in the installation) everything is taken and dropped."""

    def __init__(self, uploader: Uploader | None, ledger: Ledger) -> None:
        """Make the routes of one gate."""
        self.uploader = uploader
        self.ledger = ledger
        self.logs = BodyReader(MIB)
        self.artifacts = BodyReader(max(MAX_ARTIFACT_BYTES.values()), ARTIFACT_SECONDS)
        self.messages = BodyReader(MAX_ARTIFACT_BYTES[FINAL_MESSAGE])
        self.masks = BodyReader(MAX_MASK_BYTES)

    def add_routes(self, app: web.Application) -> None:
        """Add PUT /mask, POST /log, PUT /artifacts and GET /rollout."""
        app.router.add_put("/mask", self.mask)
        app.router.add_post("/log", self.log)
        app.router.add_put("/artifacts/{name}", self.artifact)
        app.router.add_get("/rollout", self.rollout)

    async def mask(self, request: web.Request) -> web.Response:
        """PUT /mask: digests of the agent's Secrets, as `Mask.digests` makes them. Once, and before
        the first request to the model: from then on it would be the agent who hides what the gate
        says."""
        if self.ledger.mask_given or self.ledger.account.requests:
            return _error(
                409, "the list of values to mask can be set only once, before the first request"
            )
        try:
            async with self.masks.whole(request) as data:
                self.ledger.take_mask(json_text.parse(bytes(data)))
        except BodyError as error:
            return _body_error(error)
        except (ValueError, RecursionError) as error:
            return _error(400, str(error))
        except OSError as error:
            return _error(507, error.strerror or "the gate has no space left")
        return web.json_response({})

    async def log(self, request: web.Request) -> web.Response:
        """POST /log?offset=N[&end=1]: {"size": N}, from where the sender goes on."""
        offset = request.query.get("offset", "")
        if not offset.isascii() or not offset.isdecimal() or len(offset) > 12:
            return _error(400, "offset must be a number of bytes")
        try:
            async with self.logs.whole(request) as data:
                end = int(offset) + len(data)
                if self.uploader is None:
                    return web.json_response({"size": end})
                size = self.uploader.spool.append(int(offset), data)
        except BodyError as error:
            return _body_error(error)
        if request.query.get("end") == "1":
            self.uploader.spool.close(end)
        self.uploader.notify()
        return web.json_response({"size": size})

    async def artifact(self, request: web.Request) -> web.Response:
        """PUT /artifacts/<name>: the names of `AGENT_ARTIFACTS`, and nothing else."""
        name = request.match_info["name"]
        if name not in AGENT_ARTIFACTS:
            names = ", ".join(sorted(AGENT_ARTIFACTS))
            return _error(404, f'"{name}" is not the name of an artifact; use {names}')
        if (request.content_length or 0) > MAX_ARTIFACT_BYTES[name]:
            return _error(413, f"{name} is larger than {MAX_ARTIFACT_BYTES[name]} bytes")
        try:
            if name == FINAL_MESSAGE and self.ledger.settings.output_schema is not None:
                async with self.messages.whole(request) as text:
                    await self._judge(bytes(text))
            else:
                async with self.artifacts.parts(request) as parts:
                    await self._keep(name, parts)
        except BodyError as error:
            return _body_error(error)
        except TooLarge as error:
            return _error(413, str(error))
        except OSError as error:
            return _error(507, error.strerror or "the gate has no space left")
        if self.uploader is not None:
            self.uploader.notify()
        return web.json_response({})

    async def _keep(self, name: str, content: AsyncIterator[bytes]) -> None:
        if self.uploader is not None:
            await self.uploader.spool.keep(name, content)
        else:
            async for _ in content:
                pass

    async def _judge(self, text: bytes) -> None:
        """Keep a final message, and once more as the output where it fits the schema. The verdict
        is written down before the runner hears that its message has come."""
        schema = self.ledger.settings.output_schema
        assert schema is not None
        verdict = await asyncio.to_thread(output.validate_output, text, schema)
        self.ledger.settle(replace(self.ledger.account, output=verdict))
        self.ledger.log("output.judged", **verdict.json)
        for name in (FINAL_MESSAGE, OUTPUT) if verdict.ok else (FINAL_MESSAGE,):
            await self._keep(name, _once(text))

    async def rollout(self, request: web.Request) -> web.StreamResponse:
        """GET /rollout: 404 if there is none, 503 while nobody can say."""
        if self.uploader is None:
            return _error(404, "this installation has no REST API that stores Codex session files")
        try:
            async with self.uploader.client.rollout() as answer:
                down = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
                down.content_length = answer.content_length
                await down.prepare(request)
                async for part in answer.content.iter_any():
                    await down.write(part)
                return down
        except Declined as error:
            return _error(404, error.reason or str(error))
        except Unavailable as error:
            return _error(503, str(error))


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text


def _body_error(error: BodyError) -> web.Response:
    response = _error(error.status, str(error))
    response.force_close()  # what else comes of the body is not read
    return response


def _error(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
