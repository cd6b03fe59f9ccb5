"""What does a queue of 10,000 cost? The operator starts before it, decides, and gives freed slots
away. Runs that have a slot keep it until they are let go here."""

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path

from measured import Measured
from simulation import scale
from simulation.audit import AuditLog, Write, of_user
from simulation.client import Client, Json
from simulation.installation import OPERATOR_USER, job_type
from simulation.plane import Plane, control_plane
from simulation.rounds import Round, create
from simulation.stages import HELD
from simulation.subjects import Subject, codex_run, pods_path

RUNS = 10_000
SLOTS = 100
ROUNDS = 3
FREED = 30
NAME = "queued"
SETTLE_SECONDS = 900.0
WAIT_SECONDS = 60.0
STATUS = "codexruns/status"


class JobTimes:
    """When Jobs beyond those that are `known` were first seen, and when any were seen to be over;
    both in order."""

    def __init__(self, known: set[str]) -> None:
        self._names = known
        self._over: set[str] = set()
        self.seen: list[float] = []
        self.over: list[float] = []
        self.changed = asyncio.Event()

    def on_object(self, job: Json) -> None:
        name = job["metadata"]["name"]
        if name not in self._names:
            self._names.add(name)
            self.seen.append(time.monotonic())
        conditions = job.get("status", {}).get("conditions", [])
        is_over = any(each["type"] == "Complete" for each in conditions)
        if is_over and name not in self._over:
            self._over.add(name)
            self.over.append(time.monotonic())
        self.changed.set()

    async def until(self, times: list[float], count: int) -> float:
        """Return the time of the latest, once there are so many."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(times) < count:
                self.changed.clear()
                await self.changed.wait()
        return times[count - 1]


async def measure(folder: Path) -> list[Measured]:
    decision_seconds = []
    block_ms = []
    next_job_seconds = []
    for _ in range(scale.rounds(ROUNDS)):
        with control_plane(folder) as plane:
            first, longest, waits = await one_queue(plane)
        decision_seconds.append(first)
        block_ms.append(1000 * longest)
        next_job_seconds.append(max(waits))
    return [
        Measured("queued_decision_seconds", decision_seconds),
        Measured("queued_block_ms", block_ms),
        Measured("queued_next_job_seconds", next_job_seconds),
    ]


async def one_queue(plane: Plane) -> tuple[float, float, list[float]]:
    """Return the seconds from lease to first decision, of the loop's longest block, and from each
    free slot to the next Job."""
    count = scale.count(RUNS)
    slots = min(SLOTS, count // 2)
    plane.install()
    plane.apply([job_type(NAME, concurrencyLimit=slots, annotations={HELD: "true"})])
    subject = codex_run(NAME)
    client = plane.client()
    try:
        await create(client, subject, Round(count, time.monotonic()), "r", None)
        await plane.idle()
        audit = plane.audit()
        block = plane.folder / "block"
        program = ("-m", "simulation.watched_operator", str(block))
        log = plane.start_operator(program=program)
        await plane.until_working()
        first = await first_decision(audit, count) - lease_taken(log)
        await plane.quiet(audit)
        waits = await free_slots(client, subject, slots)
        return first, float(block.read_text()), waits
    finally:
        await client.close()


def lease_taken(log: Path) -> float:
    """Return when the operator took its lease, in seconds of the epoch."""
    for line in log.read_text().splitlines():
        if '"lease.taken"' in line:
            return datetime.fromisoformat(json.loads(line)["ts"]).timestamp()
    raise RuntimeError(f"the operator has no lease: {log.read_text()[-2000:]}")


async def first_decision(audit: AuditLog, count: int) -> float:
    """Wait until the operator has written about all runs; return when it did so first, in seconds
    of the epoch."""
    decisions: list[Write] = []
    async with asyncio.timeout(SETTLE_SECONDS):
        while sum(write.resource == STATUS for write in decisions) < count:
            await asyncio.sleep(1)
            writes = of_user(audit.read(), OPERATOR_USER)
            decisions += [write for write in writes if write.resource in (STATUS, "jobs")]
    return min(write.at for write in decisions)


async def free_slots(client: Client, subject: Subject, slots: int) -> list[float]:
    """Let pods end, one after the other; return the seconds from the end of each one's Job, which
    held the slot, to the next Job."""
    pods = pods_path(subject.namespace)
    names = [pod["metadata"]["name"] for pod in (await client.get(pods))["items"]]
    listed = await client.get(subject.jobs)
    jobs = JobTimes({job["metadata"]["name"] for job in listed["items"]})
    version = listed["metadata"]["resourceVersion"]
    watching = asyncio.create_task(client.watch(subject.jobs, version, jobs.on_object))
    waits = []
    try:
        for number, name in enumerate(names[: min(FREED, slots)]):
            await client.merge(f"{pods}/{name}", {"metadata": {"annotations": {HELD: "over"}}})
            over = await jobs.until(jobs.over, number + 1)
            waits.append(await jobs.until(jobs.seen, number + 1) - over)
        return waits
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
