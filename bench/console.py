"""How fast is the console with 100,000 runs and a log of 1,000,000 lines, and does a page that is left open grow?

    python bench/console.py [--runs 100000] [--lines 1000000] [--minutes 1]

Prints what it measured and fails on a breach of a limit. Times of lists are those of whole requests over loopback.
"""

# ruff: noqa: T201 - numbers on stdout are what this is for

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/console"))

import httpx
import sqlalchemy as sa
from browsers import chromium, visiting
from console_stand import TOKEN, Console, job_type, running
from registry import rows

from codexrun_core.registry.tables import runs
from codexrun_core.registry.writes import values_of
from codexrun_pod import loglines

LIST_MS, LIST_BYTES, OPEN_MS, DOM_LINES, GROWTH = 200.0, 100_000, 1000.0, 2100, 1.3
LISTS = {
    "first page": "/console/runs",
    "failed": "/console/runs?status=failed",
    "one job type, 7 days": "/console/runs?job_type=job3&since=2026-05-20&until=2026-05-27",
    "two filters": "/console/runs?status=failed&job_type=job1,job2",
    "a word that many have": "/console/runs?search=tenth",
    "a word that few have": "/console/runs?search=zebra",
    "a live update of the rows": "/console/runs?part=rows&above=1767225600.000000_x",
}


class Limits:
    def __init__(self) -> None:
        self.broken: list[str] = []

    def hold(self, name: str, value: float, limit: float, unit: str) -> None:
        good = value <= limit
        print(f"{name:44} {value:12,.2f} {unit:6} limit {limit:10,.1f}  {'ok' if good else 'BREACH'}", flush=True)
        if not good:
            self.broken.append(name)


def insert(url: str, count: int) -> None:
    """Straight into the table: it is the reading that is measured."""
    left = rows(count)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        while batch := [values_of(row) for row in itertools.islice(left, 2000)]:
            connection.execute(sa.insert(runs), batch)
    engine.dispose()


async def lists(console: Console, count: int, limits: Limits) -> None:
    for n in range(4):
        console.kube.put(console.kube.job_types, job_type(f"job{n}"))
    await asyncio.to_thread(insert, console.services.settings.registry_url, count)
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as http:
        await http.post("/console/login", data={"token": TOKEN})
        for name, path in LISTS.items():
            times, size = [], 0
            for _ in range(9):
                began = time.perf_counter()
                answer = await http.get(path)
                times.append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200, answer.text
                size = max(size, len(answer.content))
            limits.hold(f"list: {name}, median", statistics.median(times), LIST_MS, "ms")
            limits.hold(f"list: {name}, size", size, LIST_BYTES, "bytes")


def write_log(console: Console, run_id: str, lines: int) -> int:
    pad = "x" * 120
    for start in range(0, lines, 20_000):
        chunk = b"".join(
            loglines.encode({"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": f"line {n} {pad}"})
            for n in range(start + 1, min(lines, start + 20_000) + 1)
        )
        console.archive.append(run_id, console.archive.size(run_id), chunk)
    return console.archive.size(run_id)


async def log(console: Console, browser: Any, lines: int, limits: Limits) -> None:
    run = console.run("huge", "Succeeded")
    size = await asyncio.to_thread(write_log, console, run, lines)
    await console.mirrored()
    print(f"a log of {lines:,} lines, {size / 1e6:,.0f} MB")
    async with visiting(browser, console.url, TOKEN) as visit:
        page = await visit.page("/console/jobtypes")
        for name, path in (
            ("at its end, first time", "?tab=log"),
            ("at its end again", "?tab=log"),
            ("in the middle", f"?tab=log&line={lines // 2}#L{lines // 2}"),
        ):
            began = time.perf_counter()
            await page.goto(f"{console.url}/console/runs/{run}{path}")
            await page.wait_for_selector(f"#L{lines}" if "end" in name else f"#L{lines // 2}.at")
            limits.hold(f"log: open {name}", (time.perf_counter() - began) * 1000, OPEN_MS, "ms")
        worst = 0.0
        for _ in range(40):
            began = time.perf_counter()
            await page.evaluate("document.querySelector('#log').scrollBy(0, -4000)")
            await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            worst = max(worst, (time.perf_counter() - began) * 1000)
        limits.hold("log: longest frame of 40 while scrolling", worst, OPEN_MS, "ms")
        limits.hold("log: lines in the page", await page.locator("#log .l").count(), DOM_LINES, "lines")
        began = time.perf_counter()
        await page.fill("#log-q", f"line {lines - 7} ")
        await page.press("#log-q", "Enter")
        await page.wait_for_selector(f"#L{lines - 7}.at")
        limits.hold("log: search all of it", (time.perf_counter() - began) * 1000, 3 * OPEN_MS, "ms")


async def soak(console: Console, browser: Any, minutes: float, limits: Limits) -> None:
    """Two pages are left open while runs change and a log grows."""
    run = console.run("soaked", "Running")
    names = [f"soak-{n}" for n in range(20)]
    for name in names:
        console.run(name, "Running")
    await console.mirrored()
    async with visiting(browser, console.url, TOKEN) as visit:
        pages = {"list": await visit.page("/console/runs"), "log": await visit.page(f"/console/runs/{run}?tab=log")}
        sessions = {}
        for name, page in pages.items():
            sessions[name] = await visit.context.new_cdp_session(page)
            await sessions[name].send("Performance.enable")

        async def heap(name: str) -> tuple[float, float]:
            await sessions[name].send("HeapProfiler.collectGarbage")
            found = {m["name"]: m["value"] for m in (await sessions[name].send("Performance.getMetrics"))["metrics"]}
            return found["JSHeapUsedSize"], found["Nodes"]

        began, n = time.monotonic(), 0
        samples: list[dict[str, tuple[float, float]]] = []
        while time.monotonic() - began < minutes * 60:
            for name in names:
                n += 1
                usage = {"inputTokens": n, "outputTokens": 1, "totalTokens": n + 1, "requests": n}
                console.kube.status(name, "Running", usage=usage)
            console.say(run, *({"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": f"line {n} {m}"} for m in range(100)))
            await asyncio.sleep(0.5)
            if time.monotonic() - began > (len(samples) + 1) * minutes * 60 / 12:
                samples.append({name: await heap(name) for name in pages})
        # A window of lines breathes: the most of a half is held against the most of the other. The first samples fill it.
        half = len(samples) // 2
        for name in pages:
            for which, what in enumerate(("heap", "DOM nodes")):
                before, after = (max(s[name][which] for s in part) for part in (samples[2:half], samples[half:]))
                limits.hold(f"soak: {name}, {what}, second half to first", after / before, GROWTH, "times")


async def main(args: argparse.Namespace) -> int:
    limits = Limits()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as console:
            await lists(console, args.runs, limits)
            async with chromium() as browser:
                await log(console, browser, args.lines, limits)
                await soak(console, browser, args.minutes, limits)
    print("all limits hold" if not limits.broken else f"broken: {', '.join(limits.broken)}")
    return 1 if limits.broken else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=1.0)
    sys.exit(asyncio.run(main(parser.parse_args())))
