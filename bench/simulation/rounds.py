"""One round: start a number of objects, in a burst or at a rate, and follow them to their ends."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from simulation.audit import Write, by_kind
from simulation.client import METADATA_ONLY, Client, Json
from simulation.plane import MEASURER, Plane
from simulation.subjects import Subject
from simulation.usage import cpu_of

CONCURRENCY = 32
PATIENCE_SECONDS = 600.0
PATIENCE_SECONDS_EACH = 0.3  # and for each object, so much more


@dataclass
class Round:
    """Times are monotonic, by the object's name; `cpu` is in seconds, by process, this one's
    included."""

    count: int
    began: float
    asked: dict[str, float] = field(default_factory=dict)  # before the request to create it
    job_seen: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    messages: set[str] = field(default_factory=set)  # of those that ended otherwise than well
    cpu: dict[str, float] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return how many came to their end per second, from the first request on."""
        return len(self.ended) / (max(self.ended.values()) - self.began)

    @property
    def middle_rate(self) -> float:
        """Return the rate of the middle four fifths of the ends: without start and tail."""
        times = sorted(self.ended.values())
        middle = times[len(times) // 10 : len(times) * 9 // 10 + 1]
        return (len(middle) - 1) / (middle[-1] - middle[0])

    @property
    def cpu_ms(self) -> float:
        """Return the CPU milliseconds of all processes, per object."""
        return sum(self.cpu_ms_by_process.values())

    @property
    def cpu_ms_by_process(self) -> dict[str, float]:
        return {name: 1000 * seconds / self.count for name, seconds in self.cpu.items()}

    @property
    def writes_each(self) -> float:
        return len(self.writes) / self.count

    @property
    def text(self) -> str:
        """Return what it came to, for people: rate, CPU by process, and who wrote what."""
        by_process = ", ".join(f"{of} {ms:.0f}" for of, ms in self.cpu_ms_by_process.items())
        return (
            f"{self.rate:.1f}/s, {self.cpu_ms:.0f} ms: {by_process};"
            f" {self.writes_each:.1f} writes: {by_kind(self.writes, self.count)}"
        )

    @property
    def to_job(self) -> list[float]:
        """Return the seconds of each from the request until its Job was seen."""
        return [self.job_seen[name] - asked for name, asked in self.asked.items()]


@asynccontextmanager
async def followed(client: Client, subject: Subject, result: Round) -> AsyncIterator[asyncio.Event]:
    """Note in `result` when Jobs appear and objects end; yields what is set when all have ended."""
    over = asyncio.Event()
    patience = PATIENCE_SECONDS + PATIENCE_SECONDS_EACH * result.count
    is_job = subject.path == subject.jobs

    def on_object(item: Json) -> None:
        name = item["metadata"]["name"]
        if is_job:
            result.job_seen.setdefault(name, time.monotonic())
        if name not in result.asked or name in result.ended:
            return
        outcome = subject.outcome(item)
        if outcome is not None:
            result.ended[name] = time.monotonic()
            result.outcomes[outcome] += 1
            if outcome != subject.good:
                result.messages.add(item["status"].get("message", ""))
            if len(result.ended) == result.count:
                over.set()

    def on_job(item: Json) -> None:
        for owner in item["metadata"].get("ownerReferences", []):
            result.job_seen.setdefault(owner["name"], time.monotonic())

    version = await client.version(subject.path)
    watches = [asyncio.create_task(client.watch(subject.path, version, on_object))]
    if not is_job:
        version = await client.version(subject.jobs)
        watches.append(
            asyncio.create_task(client.watch(subject.jobs, version, on_job, METADATA_ONLY))
        )
    waiting = asyncio.create_task(_raise_or_wait(over, watches))
    try:
        yield over
        await asyncio.wait_for(waiting, patience)
    finally:
        for task in (waiting, *watches):
            task.cancel()
        await asyncio.gather(waiting, *watches, return_exceptions=True)


async def _raise_or_wait(over: asyncio.Event, watches: list[asyncio.Task[None]]) -> None:
    """Wait until all is over; a watch that ends before is an error."""
    waiting = asyncio.create_task(over.wait())
    await asyncio.wait((waiting, *watches), return_when=asyncio.FIRST_COMPLETED)
    for watch in watches:
        if watch.done():
            watch.result()


async def for_each(names: list[str], call: Callable[[str], Awaitable[object]]) -> None:
    """Call it with each name, CONCURRENCY at a time."""

    async def work(remaining: Iterator[str]) -> None:
        for name in remaining:
            await call(name)

    remaining = iter(names)
    await asyncio.gather(*(work(remaining) for _ in range(CONCURRENCY)))


async def create(
    client: Client, subject: Subject, result: Round, prefix: str, per_second: float | None
) -> None:
    """Create as many at a time as CONCURRENCY, or one every so often, whether or not the ones
    before are answered."""
    names = [f"{prefix}-{number:05d}" for number in range(result.count)]

    async def one(name: str) -> None:
        result.asked[name] = time.monotonic()
        await client.create(subject.path, subject.build(name))

    if per_second is None:
        await for_each(names, one)
        return
    async with asyncio.TaskGroup() as tasks:
        for number, name in enumerate(names):
            due = result.began + number / per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(one(name))


async def one_round(
    plane: Plane,
    subject: Subject,
    count: int,
    *,
    prefix: str = "r",
    per_second: float | None = None,
) -> Round:
    """Start `count` objects, and return what that came to once all have ended.

    Raises:
        RuntimeError: one did not end well, or not in time.
    """
    client = plane.client()
    try:
        await plane.idle()
        audit = plane.audit()
        pids = {**plane.pids, MEASURER: os.getpid()}
        result = Round(count, time.monotonic())
        before = cpu_of(pids)
        result.began = time.monotonic()
        try:
            async with followed(client, subject, result):
                await create(client, subject, result, prefix, per_second)
        except TimeoutError:
            pass  # told below
        result.cpu = {name: after - before[name] for name, after in cpu_of(pids).items()}
        await plane.quiet(audit)
        result.writes = audit.read()
    finally:
        await client.close()
    if result.outcomes != {subject.good: count}:
        messages = "; ".join(sorted(result.messages)[:5])
        raise RuntimeError(f"of {count} objects: {dict(result.outcomes)}: {messages}")
    return result
