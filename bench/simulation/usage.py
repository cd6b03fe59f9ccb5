"""CPU and memory of processes, from /proc (proc(5))."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """Return the CPU seconds, user and system, of all threads of a process so far."""
    # The command's name stands in parentheses and may itself hold spaces and parentheses.
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def peak_mb(pid: int, proc: Path = PROC) -> float:
    """Return the most memory that a process has had resident, in MB.

    Raises:
        ValueError: it has ended.
    """
    status = (proc / str(pid) / "status").read_text()
    match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if match is None:
        raise ValueError(f"no VmHWM of process {pid}: it has ended")
    return int(match[1]) * 1024 / 1e6


def cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds of each process, by its name."""
    return {name: cpu_seconds(pid) for name, pid in pids.items()}
