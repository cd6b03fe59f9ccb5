"""How long does a CodexRun wait for its Job at ten runs a second, which two cores can do?"""

from pathlib import Path

from measured import Measured, quantile
from simulation import scale
from simulation.plane import control_plane
from simulation.rounds import Round, one_round
from simulation.subjects import codex_run

from load.burst import NAME, install

PER_SECOND = 10.0
SECONDS = 60.0
ROUNDS = 5


async def measure(folder: Path) -> list[Measured]:
    count = round(PER_SECOND * scale.seconds(SECONDS))
    rounds: list[Round] = []
    with control_plane(folder) as plane:
        await install(plane)
        for number in range(scale.rounds(ROUNDS)):
            rounds.append(
                await one_round(
                    plane, codex_run(NAME), count, prefix=f"r{number}", per_second=PER_SECOND
                )
            )
    waits = [seconds for each in rounds for seconds in each.to_job]
    points = [
        (float(percent), round(1000 * quantile(waits, percent / 100), 1))
        for percent in (*range(5, 100, 5), 99)
    ]
    return [
        Measured("steady_p50_ms", [1000 * quantile(each.to_job, 0.5) for each in rounds]),
        Measured("steady_p99_ms", [1000 * quantile(each.to_job, 0.99) for each in rounds], points),
    ]
