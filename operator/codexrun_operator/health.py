"""Liveness that proves progress: loops that turn, work that is done, a kopf that is not behind.

An apiserver that is away is no reason to restart: the loops turn all the same. kopf has been seen
going silent (issue 1276), so a list every minute is held against what it has told; missing the same
change twice means it is dead.
"""

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

STUCK_SECONDS = 120.0  # seconds

Check = Callable[[], str | None]


def older_than(limit: float, since: Callable[[], float], what: str) -> Check:
    """Return a check that fails when `since()` (monotonic) is too long ago."""

    def check() -> str | None:
        age = time.monotonic() - since()
        return f"{what}: no activity for {age:.0f} s" if age > limit else None

    return check


async def serve(
    port: int, checks: dict[str, Check], ready: Check, refresh: Callable[[], None]
) -> web.AppRunner:
    """Serve /healthz, /readyz and /metrics until the runner is cleaned up."""

    async def healthz(_: web.Request) -> web.Response:
        failed = {name: problem for name, check in checks.items() if (problem := check())}
        return web.json_response({"failed": failed}, status=503 if failed else 200)

    async def readyz(_: web.Request) -> web.Response:
        problem = ready()
        return web.json_response(
            {"ready": problem is None, "why": problem}, status=503 if problem else 200
        )

    async def metrics(_: web.Request) -> web.Response:
        refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
