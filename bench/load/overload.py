"""What becomes of 20 runs a second, which may be more than two cores can do? None is lost, and no
fewer get done than in a burst."""

from pathlib import Path

from measured import Measured
from simulation import scale
from simulation.plane import control_plane
from simulation.rounds import one_round
from simulation.subjects import codex_run

from load.burst import NAME, RUNS, install

PER_SECOND = 20.0
SECONDS = 60.0
ROUNDS = 5


async def measure(folder: Path) -> list[Measured]:
    """A lost run fails the round: it waits for the end of each."""
    count = round(PER_SECOND * scale.seconds(SECONDS))
    rates = []
    shares = []
    for _ in range(scale.rounds(ROUNDS)):
        with control_plane(folder) as plane:
            await install(plane)
            burst = await one_round(plane, codex_run(NAME), scale.count(RUNS), prefix="burst")
            offered = await one_round(plane, codex_run(NAME), count, per_second=PER_SECOND)
        rates.append(offered.middle_rate)
        # A system that keeps up cannot get more done than it is offered.
        shares.append(offered.middle_rate / min(burst.middle_rate, PER_SECOND))
    return [Measured("overload_per_second", rates), Measured("overload_share", shares)]
