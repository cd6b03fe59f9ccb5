"""What the runner hands over on loopback: its log, its artifacts; and what it asks for, an earlier
run's rollout.

Whatever runs in the agent's container can call this, so the limits hold for anybody: what comes
here is the agent's word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
from aiohttp import web

from codexrun_core.pod_contract import (
    AGENT_ARTIFACTS,
    FINAL_MESSAGE,
    MAX_ARTIFACT_BYTES,
    MIB,
    OUTPUT,
)
from codexrun_pod.gate.budget.ledger import Ledger
from codexrun_pod.gate.logs.ingest_client import Away, Declined
from codexrun_pod.gate.logs.spool import TooLarge
from codexrun_pod.gate.logs.upload import Shipping
from codexrun_pod.gate.policy import output


class Intake:
    """Without `shipping` (no api in the installation) everything is taken and dropped."""

    def __init__(self, shipping: Shipping | None, ledger: Ledger) -> None:
        """The routes of one gate."""
        self.shipping, self.ledger = shipping, ledger

    def add_routes(self, app: web.Application) -> None:
        """Three of them."""
        app.router.add_post("/log", self.log)
        app.router.add_put("/artifacts/{name}", self.artifact)
        app.router.add_get("/rollout", self.rollout)

    async def log(self, request: web.Request) -> web.Response:
        """POST /log?offset=N[&end=1]: {"size": N}, from where the sender goes on."""
        offset = request.query.get("offset", "")
        if not offset.isascii() or not offset.isdecimal() or len(offset) > 12:
            return _no(400, "offset must be a number of bytes")
        if (request.content_length or 0) > MIB:
            return _no(413, "1 MiB of log at once at most")
        try:
            data = await request.read()
        except aiohttp.ClientError:
            return _no(400, "the body broke off")
        if self.shipping is None:
            return web.json_response({"size": int(offset) + len(data)})
        spool = self.shipping.spool
        size = spool.append(int(offset), data)
        if request.query.get("end") == "1":
            spool.end(int(offset) + len(data))
        self.shipping.news()
        return web.json_response({"size": size})

    async def artifact(self, request: web.Request) -> web.Response:
        """PUT /artifacts/<name>: the names of `shipments`, and nothing else."""
        name = request.match_info["name"]
        if name not in AGENT_ARTIFACTS:
            return _no(404, f"artifacts are {', '.join(sorted(AGENT_ARTIFACTS))}")
        if (request.content_length or 0) > MAX_ARTIFACT_BYTES[name]:
            return _no(413, f"{name} is above {MAX_ARTIFACT_BYTES[name]} bytes")
        kept: list[tuple[str, AsyncIterator[bytes]]] = [(name, request.content.iter_any())]
        if name == FINAL_MESSAGE and self.ledger.settings.output_schema is not None:
            try:
                text = await request.read()
            except aiohttp.ClientError:
                return _no(400, "the body broke off")
            kept = [(one, _once(text)) for one in await self._judged(text)]
        try:
            for one, body in kept:
                if self.shipping is not None:
                    await self.shipping.spool.keep(one, body)
                else:
                    async for _ in body:
                        pass
        except TooLarge as error:
            return _no(413, str(error))
        except OSError as error:
            return _no(507, error.strerror or "no room")
        if self.shipping is not None:
            self.shipping.news()
        return web.json_response({})

    async def _judged(self, text: bytes) -> list[str]:
        """Under which names it is kept. The verdict is written down before the runner hears that
        its message has come."""
        schema = self.ledger.settings.output_schema
        assert schema is not None
        verdict = await asyncio.to_thread(output.judge, text, schema)
        self.ledger.settle(replace(self.ledger.account, output=verdict))
        self.ledger.log("output.judged", **verdict.json)
        return [FINAL_MESSAGE, OUTPUT] if verdict.ok else [FINAL_MESSAGE]

    async def rollout(self, request: web.Request) -> web.StreamResponse:
        """GET /rollout: 404 if there is none, 503 while nobody can say."""
        if self.shipping is None:
            return _no(404, "this installation has no api that keeps rollouts")
        try:
            async with self.shipping.receiver.rollout() as answer:
                down = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
                down.content_length = answer.content_length
                await down.prepare(request)
                async for part in answer.content.iter_any():
                    await down.write(part)
                return down
        except Declined as error:
            return _no(404, str(error))
        except Away as error:
            return _no(503, str(error))


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text


def _no(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
