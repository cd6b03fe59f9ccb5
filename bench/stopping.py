"""Measure how long the api takes from SIGTERM to its end, with streams open. No cluster: the
apiserver is one in memory."""

import asyncio
import tempfile
import time
from pathlib import Path

from api_process import ApiProcess
from apistand import TOKEN
from measured import Measured

ROUNDS = 3
STREAMS = 20


async def measure() -> list[Measured]:
    return [Measured("sigterm_seconds", [await _once() for _ in range(ROUNDS)])]


async def _once() -> float:
    with tempfile.TemporaryDirectory(prefix="codexrun-bench-") as folder:
        api = await asyncio.to_thread(ApiProcess, Path(folder))
        try:
            streams = [await _stream(api.port) for _ in range(STREAMS)]
            started_at = time.perf_counter()
            await asyncio.to_thread(api.stop)
            seconds = time.perf_counter() - started_at
            for _, writer in streams:
                writer.close()
            return seconds
        finally:
            api.kill()


async def _stream(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open /events; return once its head is here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /events HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise SystemExit(f"no stream: {head.decode()}")
    return reader, writer
