"""How soon is the last of 500 running runs told to stop, when all are cancelled at once?"""

import asyncio
import time
from pathlib import Path

from measured import Measured
from simulation import scale
from simulation.audit import of_user
from simulation.client import Client
from simulation.installation import OPERATOR_USER, job_type
from simulation.plane import Plane, control_plane
from simulation.rounds import Round, create, followed, for_each
from simulation.stages import HELD
from simulation.subjects import Subject, codex_run

from load.burst import LIMIT

RUNS = 500
ROUNDS = 5
NAME = "cancelling"
CANCEL = {"spec": {"cancel": {"requestedBy": "bench"}}}


async def measure(folder: Path) -> list[Measured]:
    seconds = []
    for _ in range(scale.rounds(ROUNDS)):
        with control_plane(folder) as plane:
            seconds.append(await last_stop(plane, scale.count(RUNS)))
    return [Measured("cancelling_seconds", seconds)]


async def last_stop(plane: Plane, count: int) -> float:
    """Return the seconds from the first cancel to the last stop of a pod.

    Raises:
        RuntimeError: a run did not end as cancelled.
    """
    plane.install()
    plane.apply([job_type(NAME, concurrencyLimit=LIMIT, annotations={HELD: "true"})])
    plane.start_operator()
    subject = codex_run(NAME)
    client = plane.client()
    result = Round(count, time.monotonic())
    try:
        async with followed(client, subject, result):
            await create(client, subject, result, "r", None)
            await until_running(client, subject, count)
            await plane.idle()
            audit = plane.audit()
            began = time.time()
            await cancel(client, subject, list(result.asked))
    finally:
        await client.close()
    if result.outcomes != {"Cancelled": count}:
        raise RuntimeError(f"of {count} cancelled runs: {dict(result.outcomes)}")
    stops = [
        write.at
        for write in of_user(audit.read(), OPERATOR_USER)
        if (write.verb, write.resource) == ("patch", "pods")
    ]
    if len(stops) < count:
        raise RuntimeError(f"{len(stops)} stops of {count} pods")
    return max(stops) - began


async def until_running(client: Client, subject: Subject, count: int) -> None:
    while await client.count(subject.path, "status.phase=Running") < count:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


async def cancel(client: Client, subject: Subject, names: list[str]) -> None:
    await for_each(names, lambda name: client.merge(f"{subject.path}/{name}", CANCEL))
