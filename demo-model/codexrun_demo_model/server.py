"""The demo model's HTTP face: `POST /v1/responses` as a stream, and counters for tests.

It is no security boundary and keeps everything in memory.
"""

import asyncio
import itertools
import json
from collections import Counter, defaultdict
from typing import Any

from aiohttp import web

from codexrun_demo_model.conversation import Json, ModelRequest, Turns, read
from codexrun_demo_model.replies import Reply, Usage
from codexrun_demo_model.scenarios import reply
from codexrun_demo_model.stream import capped, count, events

LARGEST_REQUEST = 256 * 1024 * 1024  # bytes; a conversation with images may reach tens of MB
CLIENT_CHECK_SECONDS = 0.5  # how soon a silent scenario notices that its client has left


class DemoModel:
    """One server's memory: turns, caches, counters."""

    def __init__(self) -> None:
        """Start without any request."""
        self.turns = Turns()
        self.ids = itertools.count(1)
        self.threads: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.last_input: dict[str, int] = {}

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/responses: 400 unless it asks for a stream; else what the scenario says."""
        raw = await request.read()
        try:
            body = json.loads(raw)
            model_request = self.turns.place(
                read(body, request.headers, len(raw)), body, request.headers
            )
        except (ValueError, TypeError, AttributeError) as error:
            return _error(400, f"not a request of the Responses API: {error}")
        if body.get("stream") is not True:
            return _error(400, "the demo model only streams; send stream: true")
        answer = reply(model_request)
        usage = count(model_request, answer, self.last_input.get(model_request.thread, 0))
        answer, usage = capped(model_request, answer, usage)
        self.threads[model_request.thread]["requests"] += 1
        if not answer.answers:
            await _until_client_leaves(request)
            return web.Response(status=504)
        if answer.status != 200:
            return web.json_response(
                answer.body, status=answer.status, headers=dict(answer.headers)
            )
        return await self._stream(request, model_request, answer, usage, str(body.get("model", "")))

    async def _stream(
        self,
        request: web.Request,
        model_request: ModelRequest,
        answer: Reply,
        usage: Usage | None,
        model: str,
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        for chunk in events(f"resp_{next(self.ids)}", model, answer, usage):
            await asyncio.sleep(chunk.after)
            await response.write(chunk.data)
        if answer.ending == "silence":
            await _until_client_leaves(request)
        elif answer.ending == "cut":
            if request.transport is not None:
                request.transport.abort()
        elif usage is not None and answer.ending != "failed":
            self._charge(model_request, usage)
        return response

    def _charge(self, model_request: ModelRequest, usage: Usage) -> None:
        self.last_input[model_request.thread] = usage.input
        self.threads[model_request.thread].update(
            inputTokens=usage.input,
            cachedInputTokens=usage.cached,
            outputTokens=usage.output,
            reasoningTokens=usage.reasoning,
            totalTokens=usage.input + usage.output,
            charged=1,
        )

    async def stats(self, _: web.Request) -> web.Response:
        """GET /stats: what was asked and what usage was sent, per thread and in total (tokens)."""
        total: Counter[str] = Counter()
        for one in self.threads.values():
            total.update(one)
        threads = {name: dict(one) for name, one in self.threads.items()}
        return web.json_response({"total": dict(total), "threads": threads})


async def models(_: web.Request) -> web.Response:
    """GET /v1/models: one name for show; any is accepted."""
    return web.json_response({"object": "list", "data": [{"id": "demo-model", "object": "model"}]})


async def healthz(_: web.Request) -> web.Response:
    """GET /healthz: the process serves."""
    return web.json_response({"status": "ok"})


def application() -> web.Application:
    """Build the demo model's routes around one fresh memory."""
    demo = DemoModel()
    app = web.Application(client_max_size=LARGEST_REQUEST)
    app.router.add_post("/v1/responses", demo.respond)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/stats", demo.stats)
    app.router.add_get("/healthz", healthz)
    return app


def _error(status: int, text: str) -> web.Response:
    body: Json = {
        "error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}
    }
    return web.json_response(body, status=status)


async def _until_client_leaves(request: web.Request) -> None:
    transport: Any = request.transport
    # aiohttp has no event for it
    while transport is not None and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(CLIENT_CHECK_SECONDS)
