"""What does the gate add to a model's answer? A real gate between this client and a scripted model
on the loopback, each question also asked without it."""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from codex_stand import Pod
from measured import Measured
from simulation import scale

HERE = Path(__file__).resolve().parent
ROUNDS = 5
REQUESTS = 200
PACED_EVENTS = 500
PACE_SECONDS = 0.01
FAST_EVENTS = 5000
# About what a turn of Codex sends: instructions, tools and the conversation so far.
CONVERSATION = "All tests pass but one. " * 2500


@dataclass(frozen=True)
class Answer:
    """Seconds until the first byte, of each event on its way, and of the whole."""

    first_byte: float
    delays: list[float]
    whole: float


async def measure() -> list[Measured]:
    first_byte_ms = []
    event_ms = []
    per_second = []
    with tempfile.TemporaryDirectory(prefix="codexrun-bench-") as folder:
        async with model() as direct, aiohttp.ClientSession() as session:
            pod = Pod(Path(folder), Path("/nowhere/codex"), direct)
            await asyncio.to_thread(pod.start_gate)
            gate = f"http://127.0.0.1:{pod.gate_port}"
            try:
                await ask(session, gate, 1, 0)
                for _ in range(scale.rounds(ROUNDS)):
                    waits = await first_bytes(session, direct, gate)
                    first_byte_ms.append(added_ms(*waits))
                    plain = await ask(session, direct, PACED_EVENTS, PACE_SECONDS)
                    gated = await ask(session, gate, PACED_EVENTS, PACE_SECONDS)
                    event_ms.append(added_ms(plain.delays, gated.delays))
                    fast = await ask(session, gate, FAST_EVENTS, 0)
                    per_second.append(FAST_EVENTS / fast.whole)
            finally:
                await asyncio.to_thread(pod.clear)
    return [
        Measured("gate_first_byte_ms", first_byte_ms),
        Measured("gate_event_ms", event_ms),
        Measured("gate_events_per_second", per_second),
    ]


def added_ms(direct: list[float], gated: list[float]) -> float:
    """Return the 99th percentile through the gate above the median without it, in milliseconds."""
    return 1000 * (statistics.quantiles(gated, n=100)[98] - statistics.median(direct))


async def first_bytes(
    session: aiohttp.ClientSession, direct: str, gate: str
) -> tuple[list[float], list[float]]:
    """Return the seconds of many short answers, without the gate and with it, in turn."""
    waits: tuple[list[float], list[float]] = ([], [])
    for _ in range(REQUESTS):
        for server, seconds in zip((direct, gate), waits, strict=True):
            seconds.append((await ask(session, server, 1, 0)).first_byte)
    return waits


async def ask(session: aiohttp.ClientSession, server: str, events: int, pause: float) -> Answer:
    """Send one request and read its stream.

    Raises:
        RuntimeError: not all events came.
    """
    body = {
        "model": "gpt-5.5",
        "stream": True,
        "store": False,
        "input": f"{events} {pause} {CONVERSATION}",
    }
    delays = []
    first_byte = 0.0
    began = time.monotonic()
    async with session.post(f"{server}/v1/responses", json=body) as answer:
        answer.raise_for_status()
        buffer = b""
        async for piece in answer.content.iter_any():
            now = time.monotonic_ns()
            first_byte = first_byte or time.monotonic() - began
            *lines, buffer = (buffer + piece).split(b"\n")
            delays += [
                (now - json.loads(line[6:])["sent"]) / 1e9 for line in lines if b'"sent"' in line
            ]
    if len(delays) != events:
        raise RuntimeError(f"{len(delays)} of {events} events")
    return Answer(first_byte, delays, time.monotonic() - began)


@asynccontextmanager
async def model() -> AsyncIterator[str]:
    """Serve the scripted model; yields its address, without /v1."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "scripted_model.py"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.terminate()
        await process.wait()
