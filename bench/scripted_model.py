"""A model's endpoint that streams what its request asks for, each event with the time at which it
was sent: `input` begins with the number of events and the seconds before each.

python bench/scripted_model.py    prints its port
"""

# ruff: noqa: T201 - the port is for whoever starts it

import asyncio
import json
import time

from aiohttp import web

USAGE = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
MAX_REQUEST_BYTES = 16 * 1024**2


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


async def respond(request: web.Request) -> web.StreamResponse:
    words = str((await request.json())["input"]).split(maxsplit=2)
    count, pause = int(words[0]), float(words[1])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(count):
        if pause:
            await asyncio.sleep(pause)
        delta = event("response.output_text.delta", delta="some words ", sent=time.monotonic_ns())
        await response.write(delta)
    await response.write(event("response.completed", response={"id": "r", "usage": USAGE}))
    return response


async def serve() -> None:
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post("/v1/responses", respond)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
