"""How fast is the console with 100,000 runs and a log of 1,000,000 lines, and does a page that is
left open grow?

    PYTHONPATH=tests/support:tests/support/fakes:tests/support/stands \\
        python bench/console.py [--runs 100000] [--lines 1000000] [--minutes 60]

Alone it compares with limits.toml and writes nothing down. Times of lists are those of whole
requests over loopback, times of logs those of a real Chromium, which shares the cores.
"""

# ruff: noqa: T201 - numbers on stdout are what this is for

import argparse
import asyncio
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from apistand import TOKEN
from browsers import chromium, visiting
from console_stand import Console, running
from manifests import job_type
from measured import Measured
from registry import rows

from codexrun_core.registry.tables import runs
from codexrun_core.registry.writes import values_of
from codexrun_pod import loglines

LISTS = {
    "first page": "/console/runs",
    "failed": "/console/runs?status=failed",
    "one job type, 7 days": "/console/runs?job_type=job3&since=2026-05-20&until=2026-05-27",
    "two filters": "/console/runs?status=failed&job_type=job1,job2",
    "a word that many have": "/console/runs?search=tenth",
    "a word that few have": "/console/runs?search=zebra",
    "a live update of the rows": "/console/runs?part=rows&above=1767225600.000000_x",
}


ROUNDS = 9
OPENED = 3  # logs that nobody has looked at yet


def insert(url: str, count: int) -> None:
    """Straight into the table: it is the reading that is measured."""
    left = rows(count)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        while batch := [values_of(row) for row in itertools.islice(left, 2000)]:
            connection.execute(sa.insert(runs), batch)
    engine.dispose()


async def lists(console: Console, count: int) -> list[Measured]:
    for n in range(4):
        console.kube.put(console.kube.job_types, job_type(f"job{n}"))
    await asyncio.to_thread(insert, console.services.settings.registry_url, count)
    medians = {}
    sizes = {}
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as http:
        await http.post("/console/login", data={"token": TOKEN})
        for name, path in LISTS.items():
            times = []
            for _ in range(ROUNDS):
                started_at = time.perf_counter()
                answer = await http.get(path)
                times.append((time.perf_counter() - started_at) * 1000)
                assert answer.status_code == 200, answer.text
            medians[name] = statistics.median(times)
            sizes[name] = len(answer.content) / 1000
            print(
                f"list: {name:30} median {medians[name]:6.0f} ms, worst {max(times):6.0f} ms,"
                f" {sizes[name]:5.0f} kB",
                flush=True,
            )
    return [
        Measured("console_list_worst_ms", [max(medians.values())]),
        Measured("console_list_kb", [max(sizes.values())]),
    ]


def write_log(console: Console, run_id: str, lines: int) -> int:
    pad = "x" * 132
    for start in range(0, lines, 20_000):
        chunk = b"".join(
            loglines.encode(
                {"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": f"line {n} {pad}"}
            )
            for n in range(start + 1, min(lines, start + 20_000) + 1)
        )
        console.archive.append(run_id, console.archive.size(run_id), chunk)
    return console.archive.size(run_id)


async def log(console: Console, browser: Any, lines: int) -> list[Measured]:
    runs = [console.run(f"huge-{n}", "Succeeded") for n in range(OPENED)]
    size = await asyncio.to_thread(write_log, console, runs[0], lines)
    for run in runs[1:]:
        folder = console.services.settings.archive / "runs"
        await asyncio.to_thread(shutil.copytree, folder / runs[0], folder / run)
    await console.mirrored()
    print(f"a log of {lines:,} lines, {size / 1e6:,.0f} MB", flush=True)
    async with visiting(browser, console.url, TOKEN) as visit:
        page = await visit.page("/console/jobtypes")

        async def opened(run: str, path: str, shows: str) -> float:
            await page.goto(f"{console.url}/console/jobtypes")
            started_at = time.perf_counter()
            await page.goto(f"{console.url}/console/runs/{run}{path}")
            await page.wait_for_selector(shows)
            return (time.perf_counter() - started_at) * 1000

        first = [await opened(run, "?tab=log", f"#L{lines}") for run in runs]
        middle = [
            await opened(run, f"?tab=log&line={lines // 2}#L{lines // 2}", f"#L{lines // 2}.at")
            for run in runs
        ]
        frames = []
        for _ in range(40):
            started_at = time.perf_counter()
            await page.evaluate("document.querySelector('#log').scrollBy(0, -4000)")
            await page.evaluate(
                "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            frames.append((time.perf_counter() - started_at) * 1000)
        held = await page.locator("#log .l").count()
        plain = [
            await found(page, f"line {lines - n} ", lines - n, regexp=False) for n in (7, 8, 9)
        ]
        pattern = [
            await found(page, f'line {lines - n} x+"|never', lines - n, regexp=True)
            for n in (17, 18, 19)
        ]
    return [
        Measured("console_log_open_ms", first),
        Measured("console_log_line_ms", middle),
        Measured("console_log_frame_ms", [max(frames)]),
        Measured("console_log_dom_lines", [held]),
        Measured("console_log_search_ms", plain),
        Measured("console_log_regexp_ms", pattern),
    ]


async def found(page: Any, text: str, line: int, *, regexp: bool) -> float:
    """Milliseconds until the line that holds it is marked."""
    await page.set_checked("#log-regexp", regexp)
    await page.fill("#log-q", text)
    began = time.perf_counter()
    await page.press("#log-q", "Enter")
    await page.wait_for_selector(f"#L{line}.at")
    return (time.perf_counter() - began) * 1000


async def soak(console: Console, browser: Any, minutes: float) -> list[Measured]:
    """Two pages are left open while runs change and a log grows."""
    run = console.run("soaked", "Running")
    names = [f"soak-{n}" for n in range(20)]
    for name in names:
        console.run(name, "Running")
    await console.mirrored()
    async with visiting(browser, console.url, TOKEN) as visit:
        pages = {
            "list": await visit.page("/console/runs"),
            "log": await visit.page(f"/console/runs/{run}?tab=log"),
        }
        sessions = {}
        for name, page in pages.items():
            sessions[name] = await visit.context.new_cdp_session(page)
            await sessions[name].send("Performance.enable")

        async def heap(name: str) -> tuple[float, float]:
            await sessions[name].send("HeapProfiler.collectGarbage")
            metrics = {
                m["name"]: m["value"]
                for m in (await sessions[name].send("Performance.getMetrics"))["metrics"]
            }
            return metrics["JSHeapUsedSize"], metrics["Nodes"]

        started_at = time.monotonic()
        n = 0
        samples: list[dict[str, tuple[float, float]]] = []
        while time.monotonic() - started_at < minutes * 60:
            for name in names:
                n += 1
                usage = {"inputTokens": n, "outputTokens": 1, "totalTokens": n + 1, "requests": n}
                console.kube.status(name, "Running", usage=usage)
            console.say(
                run,
                *(
                    {"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": f"line {n} {m}"}
                    for m in range(100)
                ),
            )
            await asyncio.sleep(0.5)
            if time.monotonic() - started_at > (len(samples) + 1) * minutes * 60 / 12:
                samples.append({name: await heap(name) for name in pages})
        # A window of lines breathes: the most of a half is held against the most of the other. The
        # first samples fill it.
        half = len(samples) // 2
        growth = []
        for name in pages:
            for which, what in enumerate(("heap", "DOM nodes")):
                before, after = (
                    max(s[name][which] for s in part) for part in (samples[2:half], samples[half:])
                )
                growth.append(after / before)
                print(
                    f"soak: {name}, {what}: {after / before:.2f} times in the second half of"
                    f" {minutes:g} min",
                    flush=True,
                )
        return [Measured("console_growth", [max(growth)])]


async def measure(
    runs: int = 100_000, lines: int = 1_000_000, minutes: float = 1.0
) -> list[Measured]:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as console:
            listed = await lists(console, runs)
            async with chromium() as browser:
                return (
                    listed
                    + await log(console, browser, lines)
                    + await soak(console, browser, minutes)
                )


def main(args: argparse.Namespace) -> int:
    from run import breaches, machine

    print(machine())
    return 1 if breaches(asyncio.run(measure(args.runs, args.lines, args.minutes))) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=1.0)
    sys.exit(main(parser.parse_args()))
