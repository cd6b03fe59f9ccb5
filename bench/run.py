"""`make bench`: measure, write down, compare with limits.toml. Exit 1 on a breach.

    python bench/run.py [registry] [facade] [stopping] [cli] [console]

All of them if none is named; facade needs `make up`.

Results go to bench/results/<name>.json, the table in docs/benchmarks.md is made from those.
"""

# ruff: noqa: T201 - numbers on stdout are what this is for

import asyncio
import importlib
import json
import os
import platform
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from measured import Limit, Measured

HERE = Path(__file__).resolve().parent
RESULTS, DOC = HERE / "results", HERE.parent / "docs/benchmarks.md"
PARTS = ("registry", "facade", "stopping", "cli", "console")
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
VERSIONS = ("codexrun", "fastapi", "uvicorn", "sqlalchemy", "pydantic")


def limits() -> dict[str, Limit]:
    return {
        name: Limit(**about)
        for name, about in tomllib.loads((HERE / "limits.toml").read_text()).items()
    }


def machine() -> dict[str, object]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "load": round(os.getloadavg()[0], 1),
    }


def result(found: list[Measured], before: dict[str, object]) -> dict[str, object]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": before,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in VERSIONS},
        },
        "results": {one.name: one.json() for one in found},
    }


def table(results: Path = RESULTS) -> str:
    """The doc's table, from what is written down."""
    lines = ["| what | limit | median | min | max | rounds |", "|---|---|---|---|---|---|"]
    where = []
    kept = limits()
    for part in PARTS:
        if not (file := results / f"{part}.json").exists():
            continue
        said = json.loads(file.read_text())
        on = said["machine"]
        where.append(
            f"{part}: {said['measured_at']}, {on['cores']} cores, {on['memory_gb']} GB, load before"
            f" {on['load']}, "
            + ", ".join(f"{name} {number}" for name, number in said["versions"].items())
        )
        for name, about in said["results"].items():
            numbers = " | ".join(f"{about[key]:g}" for key in ("median", "min", "max", "rounds"))
            mark = "" if kept[name].kept(about["median"]) else " (not kept)"
            lines.append(f"| {kept[name].what} | {kept[name].text}{mark} | {numbers} |")
    return (
        "\n".join(
            [
                *lines,
                "",
                *(f"- {line}" for line in where),
                "",
                "What bounds them:",
                "",
                *_bounds(kept),
            ]
        )
        + "\n"
    )


def _bounds(kept: dict[str, Limit]) -> list[str]:
    return [f"- {limit.what}: {limit.bounded_by}." for limit in kept.values()]


def with_table(text: str, made: str) -> str:
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + made + END + rest.partition(END)[2]


def breaches(found: list[Measured]) -> list[str]:
    """Names of those that are beyond their limit; says of each how it is."""
    kept, broken = limits(), []
    for one in found:
        fine = kept[one.name].kept(one.median)
        print(
            f"{'kept  ' if fine else 'BREACH'} {one.name}: {one.median:.1f}, limit"
            f" {kept[one.name].text}"
        )
        broken += [] if fine else [one.name]
    return broken


def main(parts: list[str]) -> int:
    broken: list[str] = []
    RESULTS.mkdir(exist_ok=True)
    for part in parts or PARTS:
        before = machine()
        found: list[Measured] = asyncio.run(importlib.import_module(part).measure())
        (RESULTS / f"{part}.json").write_text(json.dumps(result(found, before), indent=2) + "\n")
        broken += breaches(found)
    DOC.write_text(with_table(DOC.read_text(), table()))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
