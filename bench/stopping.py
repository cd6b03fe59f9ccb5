"""Measure how long the api takes from SIGTERM to its end, with streams open. No cluster: the
apiserver is one in memory."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import Measured

ROUNDS = 3
STREAMS = 20
SERVER = Path(__file__).resolve().parent.parent / "tests/local/logs/api_process.py"
TOKEN = "bench"  # noqa: S105


async def measure() -> list[Measured]:
    return [Measured("sigterm_seconds", [await _once() for _ in range(ROUNDS)])]


async def _once() -> float:
    with tempfile.TemporaryDirectory(prefix="codexrun-bench-") as folder:
        ports = [_free_port(), _free_port()]
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
            [sys.executable, SERVER],
            env={**os.environ, **environment(Path(folder), *ports, TOKEN)},
            stderr=subprocess.DEVNULL,
        )
        try:
            streams = [await _stream(ports[0]) for _ in range(STREAMS)]
            started_at = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 60)
            seconds = time.perf_counter() - started_at
            for _, writer in streams:
                writer.close()
            return seconds
        finally:
            process.kill()
            process.wait()


def environment(folder: Path, port: int, ingest: int, token: str) -> dict[str, str]:
    return {
        "CODEX_CONTROL_TOKEN": token,
        "CODEXRUN_NAMESPACE": "codexrun",
        "CODEXRUN_DATA": str(folder),
        "CODEXRUN_PORT": str(port),
        "CODEXRUN_INGEST_PORT": str(ingest),
    }


async def _stream(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open /events; return once its head is here."""
    deadline = time.monotonic() + 60
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
    writer.write(
        f"GET /events HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise SystemExit(f"no stream: {head.decode()}")
    return reader, writer


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
