"""A gate's application in this process: its settings, and a port for it or for its upstream."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from codexrun_pod.gate.settings import Settings, from_env


@asynccontextmanager
async def listening(app: web.Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve on a free port of 127.0.0.1; yields the URL."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def gate_settings(folder: Path, files: dict[str, Path] | None = None, **config: Any) -> Settings:
    """Return settings as the operator gives them; state and termination message are in the folder.

    files: by the end of their variable CODEXRUN_GATE_…; there is no key unless KEY is one of them.
    config: what CODEXRUN_GATE has beside what every gate needs.
    """
    given = {"runId": "r", "jobType": "t", "attempt": 1, "port": 1, "models": ["m"], **config}
    paths = {"KEY": folder / "none", "STATE": folder, **(files or {})}
    return from_env(
        {
            **{f"CODEXRUN_GATE_{name}": str(path) for name, path in paths.items()},
            "CODEXRUN_GATE": json.dumps(given),
            "CODEXRUN_TERMINATION_LOG": str(folder / "message"),
        }
    )
