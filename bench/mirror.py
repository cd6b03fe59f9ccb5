"""How much memory does the api need for many runs that have ended, and for some that go on?

python bench/mirror.py    one round, as a process of its own: its peak in MB
"""

# ruff: noqa: T201 - what a round prints is its result

import asyncio
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from measured import Measured

from codexrun_api.app import create_app
from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_core.kube.client import Json, Kube
from codexrun_core.registry import Registry

ENDED_RUNS = 50_000
LIVE_RUNS = 500
PAGE_RUNS = 500
ROUNDS = 1  # it takes minutes, and memory varies little
MESSAGE = "The change is in place, and the tests pass. " * 40  # 1,760 bytes


class ManyRuns(Kube):
    """An apiserver that makes its objects when it is asked for them, and on which nothing
    happens."""

    def __init__(self) -> None:
        super().__init__(None, "codexrun", lambda: None)

    async def pages(self, path: str, **_: str) -> AsyncIterator[Json]:
        total = ENDED_RUNS + LIVE_RUNS if path == self.runs else 0
        metadata = {"resourceVersion": str(10**6)}
        for start in range(0, max(total, 1), PAGE_RUNS):
            numbers = range(start, min(total, start + PAGE_RUNS))
            yield {"metadata": metadata, "items": [run(number) for number in numbers]}
            await asyncio.sleep(0)

    async def get(self, path: str) -> Json:
        return run(int(path.rpartition("-")[2]))

    async def watch(self, *_: object, **__: object) -> AsyncIterator[Json]:
        await asyncio.Event().wait()
        yield {}


def run(number: int) -> Json:
    """Return a CodexRun of about 4 KB, as the operator leaves it."""
    ended = number < ENDED_RUNS
    at = "2026-06-01T12:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": at}
        for kind in ("Accepted", "Admitted", "Started", *(["Succeeded"] if ended else []))
    ]
    usage = {"inputTokens": 9000, "outputTokens": 900, "totalTokens": 9900, "requests": 9}
    status = {
        "phase": "Succeeded" if ended else "Running",
        "reason": "Succeeded" if ended else "Running",
        "attempt": 1,
        "startedAt": at,
        "conditions": conditions,
        "usage": usage,
        "model": "gpt-5.5",
    }
    if ended:
        status |= {"finishedAt": at, "result": {"message": MESSAGE}}
    return {
        "metadata": {
            "name": f"hello-{number}",
            "namespace": "codexrun",
            "uid": str(uuid.UUID(int=number)),
            "resourceVersion": str(number + 1),
            "creationTimestamp": at,
            "annotations": {"codexrun.dev/requested-by": "bench"},
        },
        "spec": {"jobType": "hello", "inputs": {"task": "x" * 500}},
        "status": status,
    }


async def one_round(folder: Path) -> float:
    """Return the peak in MB of a process that lists all runs and has written their rows."""
    settings = Settings(
        namespace="codexrun",
        registry_url=f"sqlite:///{folder}/registry.db",
        archive=folder / "archive",
        insecure_no_token=True,
    )
    async with await Registry.open(settings.registry_url) as registry:
        await registry.migrate()
        services = Services.make(settings, registry, ManyRuns())
        services.archive.open()
        app = create_app(services)
        async with app.router.lifespan_context(app):
            while not services.ready or services.mirror.writer.lag:  # noqa: ASYNC110 - as a probe
                await asyncio.sleep(1)
            assert len(services.mirror.ended) == ENDED_RUNS
    return peak_mb()


def peak_mb() -> float:
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    ]
    return int(line.split()[1]) / 1000


async def measure() -> list[Measured]:
    peaks = []
    for _ in range(ROUNDS):
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        peaks.append(float(printed))
    return [Measured("api_memory_mb", peaks)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(asyncio.run(one_round(Path(name))))
