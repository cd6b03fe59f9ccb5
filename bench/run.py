"""`make bench`: measure, write down, compare with limits.toml. Exit 1 on a breach.

    python bench/run.py [--small] [--rounds N] [--checkout FOLDER] [PART ...]

All of PARTS if none is named; facade and agent_start need `make up`. Those of `bench/load` run on a
control plane of their own, with simulated nodes. `--small`: a hundredth of their runs and one
round, to see that they work. `--checkout`: those of `bench/load` take chart, job types and operator
from there, to compare two commits. With any of these nothing is written down.

Results go to bench/results/<name>.json, table and plots of docs/benchmarks.md are made from those.
"""

# ruff: noqa: T201 - numbers on stdout are what this is for

import argparse
import asyncio
import importlib
import json
import os
import platform
import signal
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from measured import Limit, Measured
from plots import PLOTS, draw
from simulation.installation import CHECKOUT_ENV
from simulation.isolation import measure_isolated
from simulation.scale import ROUNDS_ENV, SMALL_ENV

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOC = HERE.parent / "docs/benchmarks.md"
PICTURES = HERE.parent / "docs/benchmarks"
# In bench/load, each on a control plane of its own.
LOAD_PARTS = (
    "burst",
    "steady",
    "overload",
    "image_pull",
    "queued",
    "many_runs",
    "cancelling",
    "growth",
)
PARTS = (
    "registry",
    "facade",
    "mirror",
    "stopping",
    "cli",
    "console",
    "gate",
    "agent_start",
    *LOAD_PARTS,
)
BEGIN = "<!-- results: begin -->\n"
END = "<!-- results: end -->\n"
VERSIONS = ("codexrun", "fastapi", "uvicorn", "sqlalchemy", "pydantic")


def limits() -> dict[str, Limit]:
    return {
        name: Limit(**fields)
        for name, fields in tomllib.loads((HERE / "limits.toml").read_text()).items()
    }


def machine() -> dict[str, object]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "load": round(os.getloadavg()[0], 1),
    }


def result(measured: list[Measured], machine_before: dict[str, object]) -> dict[str, object]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_before,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in VERSIONS},
        },
        "results": {item.name: item.json() for item in measured},
    }


def table(results: Path = RESULTS) -> str:
    """Return the table of docs/benchmarks.md, from the results on disk."""
    lines = ["| what | limit | median | min | max | rounds |", "|---|---|---|---|---|---|"]
    conditions = []
    pictures = []
    limits_by_name = limits()
    for part in PARTS:
        if not (file := results / f"{part}.json").exists():
            continue
        result = json.loads(file.read_text())
        host = result["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        conditions.append(
            f"{part}: {result['measured_at']}, {host['cores']} cores, {host['memory_gb']} GB,"
            f" load before {host['load']}, {versions}"
        )
        for name, values in result["results"].items():
            limit = limits_by_name[name]
            numbers = " | ".join(f"{values[key]:g}" for key in ("median", "min", "max", "rounds"))
            mark = "" if limit.is_kept(values["median"]) else " (not kept)"
            lines.append(f"| {limit.what} | {limit.text}{mark} | {numbers} |")
            if "points" in values:
                pictures.append(f"![{PLOTS[name].title}](benchmarks/{name}.svg)")
    return (
        "\n".join(
            [
                *lines,
                "",
                *(f"- {line}" for line in conditions),
                "",
                *(line for picture in pictures for line in (picture, "")),
                "What bounds them:",
                "",
                *_bounds(limits_by_name),
            ]
        )
        + "\n"
    )


def _bounds(limits_by_name: dict[str, Limit]) -> list[str]:
    return [f"- {limit.what}: {limit.bounded_by}." for limit in limits_by_name.values()]


def with_table(text: str, table_text: str) -> str:
    head, _, after = text.partition(BEGIN)
    return head + BEGIN + table_text + END + after.partition(END)[2]


def breaches(measured: list[Measured]) -> list[str]:
    """Return the names of what is beyond its limit; print how each is."""
    limits_by_name = limits()
    names = []
    for item in measured:
        is_kept = limits_by_name[item.name].is_kept(item.median)
        print(
            f"{'kept  ' if is_kept else 'BREACH'} {item.name}: {item.median:.1f}, limit"
            f" {limits_by_name[item.name].text}"
        )
        names += [] if is_kept else [item.name]
    return names


async def measure(part: str) -> list[Measured]:
    if part in LOAD_PARTS:
        return await measure_isolated(part)
    measured: list[Measured] = await importlib.import_module(part).measure()
    return measured


def write_down(part: str, measured: list[Measured], machine_before: dict[str, object]) -> None:
    """Write the results and the plots of a part."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{part}.json").write_text(
        json.dumps(result(measured, machine_before), indent=2) + "\n"
    )
    for item in measured:
        if item.points:
            PICTURES.mkdir(exist_ok=True)
            picture = draw(PLOTS[item.name], item.points)
            (PICTURES / f"{item.name}.svg").write_text(picture)


def main(parts: list[str], *, small: bool, rounds: int | None, checkout: Path | None) -> int:
    names: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with it
    if small:
        os.environ[SMALL_ENV] = "1"
    if rounds:
        os.environ[ROUNDS_ENV] = str(rounds)
    if checkout:
        os.environ[CHECKOUT_ENV] = str(checkout)
    is_written = not (small or rounds or checkout)
    for part in parts or PARTS:
        machine_before = machine()
        measured = asyncio.run(measure(part))
        names += breaches(measured)
        if is_written:
            write_down(part, measured, machine_before)
    if not is_written:
        return 0
    DOC.write_text(with_table(DOC.read_text(), table()))
    return 1 if names else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a hundredth of the runs, one round")
    parser.add_argument("--rounds", type=int, metavar="N", help="N rounds, not each part's number")
    parser.add_argument(
        "--checkout",
        type=Path,
        metavar="FOLDER",
        help="chart, job types and operator of another checkout",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(
            f"no such part: {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}"
        )
    checkout = arguments.checkout and arguments.checkout.resolve()
    sys.exit(
        main(arguments.parts, small=arguments.small, rounds=arguments.rounds, checkout=checkout)
    )
