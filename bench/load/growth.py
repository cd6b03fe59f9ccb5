"""Does a run cost more CPU when many others are there? One control plane, ever larger bursts."""

# ruff: noqa: T201 - it takes long, and what comes later may fail

import statistics
from pathlib import Path

from measured import Measured
from simulation import scale
from simulation.installation import job_type
from simulation.plane import control_plane
from simulation.rounds import one_round
from simulation.subjects import codex_run

from load.burst import NAME

WARM_UP = 100
# How many at once, and how many rounds of it.
SIZES = ((100, 5), (1000, 3), (10_000, 1))


async def measure(folder: Path) -> list[Measured]:
    points: list[tuple[float, float]] = []
    with control_plane(folder) as plane:
        plane.install()
        plane.apply([job_type(NAME)])
        plane.start_operator()
        await one_round(plane, codex_run(NAME), scale.count(WARM_UP), prefix="warm-up")
        for size, rounds in SIZES:
            costs = []
            for number in range(scale.rounds(rounds)):
                count = scale.count(size)
                result = await one_round(
                    plane, codex_run(NAME), count, prefix=f"of-{size}-{number}"
                )
                print(f"{count}: {result.text}", flush=True)
                costs.append(result.cpu_ms)
            points.append((float(scale.count(size)), round(statistics.median(costs), 1)))
    costs = [cost for _, cost in points]
    return [Measured("growth_times", [max(costs) / min(costs)], points)]
