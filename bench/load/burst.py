"""How fast are 500 runs at once beside bare Jobs, and where does the CPU go? Each measurement has a
new control plane: trivial bare Jobs, runs, bare Jobs of the runs' own pod, and again."""

# ruff: noqa: T201 - it takes long, and what comes later may fail

from pathlib import Path

from measured import Measured
from simulation import scale
from simulation.client import Json
from simulation.installation import job_type
from simulation.plane import Plane, control_plane
from simulation.rounds import Round, one_round
from simulation.subjects import (
    BARE_NAMESPACE,
    Subject,
    codex_run,
    same_job,
    trivial_job,
)

RUNS = 500
ROUNDS = 5
NAME = "burst"
LIMIT = 1000  # nothing queues


async def measure(folder: Path) -> list[Measured]:
    count = scale.count(RUNS)
    trivial: list[Round] = []
    runs: list[Round] = []
    same: list[Round] = []
    for _ in range(scale.rounds(ROUNDS)):
        trivial.append(await bare(folder, trivial_job(), count))
        result, job = await codex_runs(folder, count)
        runs.append(result)
        same.append(await bare(folder, same_job(job), count))
        for name, each in (("trivial", trivial[-1]), ("runs", runs[-1]), ("same", same[-1])):
            print(f"{name}: {each.text}")
    each_round = list(zip(trivial, runs, same, strict=True))
    return [
        Measured("burst_ratio", [r.rate / t.rate for t, r, _ in each_round]),
        Measured("burst_per_second", [r.rate for r in runs]),
        Measured("burst_operator_cpu_ms", [r.cpu_ms - s.cpu_ms for _, r, s in each_round]),
        Measured("burst_pod_cpu_ms", [s.cpu_ms - t.cpu_ms for t, _, s in each_round]),
        Measured("burst_writes", [r.writes_each - s.writes_each for _, r, s in each_round]),
    ]


async def bare(folder: Path, subject: Subject, count: int) -> Round:
    with control_plane(folder) as plane:
        plane.make_namespace(BARE_NAMESPACE)
        return await one_round(plane, subject, count)


async def codex_runs(folder: Path, count: int) -> tuple[Round, Json]:
    """Return the round, and one of the Jobs that the operator has made."""
    with control_plane(folder) as plane:
        await install(plane)
        subject = codex_run(NAME)
        result = await one_round(plane, subject, count)
        client = plane.client()
        try:
            jobs = await client.get(f"{subject.jobs}?limit=1")
        finally:
            await client.close()
        return result, jobs["items"][0]


async def install(plane: Plane) -> None:
    """Install the release with a job type, and start its operator."""
    plane.install()
    plane.apply([job_type(NAME, concurrencyLimit=LIMIT)])
    plane.start_operator()
