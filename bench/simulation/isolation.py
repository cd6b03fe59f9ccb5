"""Run a part of `bench/load` in namespaces of its own.

Its network has a loopback and nothing else, its /run is empty, and no process of it outlives it, so
that it meets neither a cluster of `make up` nor anybody's ports.
"""

import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from measured import Measured

from codexrun_cluster.command import Log
from codexrun_cluster.node.gobuild import build_node
from codexrun_cluster.node.network import NODE_IP
from codexrun_cluster.paths import find_paths
from simulation.nodes import build_kwok

UNSHARE = (
    "setpriv",
    "--pdeathsig=KILL",
    "unshare",
    *(() if os.geteuid() == 0 else ("--map-root-user",)),
    "--net",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
)
SETUP = (
    ("ip", "link", "set", "lo", "up"),
    ("ip", "address", "add", f"{NODE_IP}/24", "dev", "lo"),
    ("mount", "-t", "tmpfs", "tmpfs", "/run"),
)
RESULT = "measured.json"


async def measure_isolated(part: str) -> list[Measured]:
    """Return what a part of `bench/load` measures.

    Raises:
        SystemExit: it failed; what it printed says why.
    """
    with tempfile.TemporaryDirectory(prefix="codexrun-bench-") as folder:
        await asyncio.to_thread(build, Path(folder))
        process = await asyncio.create_subprocess_exec(
            *UNSHARE,
            sys.executable,
            "-m",
            "simulation.isolation",
            part,
            folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            if await process.wait():
                raise SystemExit(f"{part}: failed")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return read_result(Path(folder))


def build(folder: Path) -> None:
    """Build what the cache lacks of the programs: there is no network inside."""
    paths = find_paths()
    log = Log(folder / "build.log")
    build_node(paths, log)
    build_kwok(paths, log)


def read_result(folder: Path) -> list[Measured]:
    return [Measured(**item) for item in json.loads((folder / RESULT).read_text())]


def main(part: str, folder: Path) -> None:
    for command in SETUP:
        subprocess.run(command, check=True)
    measured = asyncio.run(importlib.import_module(f"load.{part}").measure(folder))
    (folder / RESULT).write_text(json.dumps([asdict(item) for item in measured]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
