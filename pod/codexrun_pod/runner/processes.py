"""The container's processes: start, reap, end all of them. Linux. When they are ended is decided in
supervise.py.

Commands of Codex are sessions of their own, so that no signal to a group reaches them; only a walk
over all does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SWEEP_SECONDS = 3.0
PROC = Path("/proc")


def adopt_orphans() -> None:
    """Make orphans below this process its children, as they are PID 1's in a container; for runs
    outside of one."""
    if os.getpid() != 1:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> dict[int, int]:
    """Collect every child that has ended: pid to exit code, minus the signal's number if one killed
    it."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return ended


def interrupt(pid: int) -> None:
    """Send SIGINT, on which Codex kills its commands and ends in order; on SIGTERM it would not."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGINT)


def end_all() -> dict[int, int]:
    """Kill all other processes, again until none is left or SWEEP_SECONDS are over; return what was
    reaped.

    As PID 1 all others of the container, in one call that no fork escapes; else only this process's
    descendants.
    """
    reaped: dict[int, int] = {}
    deadline = time.monotonic() + SWEEP_SECONDS
    while True:
        if os.getpid() == 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
        for pid in others():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reaped.update(reap())
        if not others() or time.monotonic() > deadline:
            return reaped
        time.sleep(0.02)


def others() -> list[int]:
    """Return the live processes that are this one's to end: all as PID 1, else the descendants."""
    parents = _parents()
    own = os.getpid()
    if own == 1:
        return [pid for pid in parents if pid != 1]
    descendants = {own}
    growing = True
    while growing:
        children = {pid for pid, parent in parents.items() if parent in descendants}
        growing = not children <= descendants
        descendants |= children
    return sorted(descendants - {own})


def _parents() -> dict[int, int]:
    """Map pid to parent's pid, without zombies (proc(5): state and ppid follow the name, which may
    hold anything)."""
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    parents[int(entry.name)] = int(parent)
    return parents


def out_of_memory_kills() -> int:
    """Return how many processes of this container the kernel has killed for memory; 0 where that
    cannot be read."""
    for path in (
        "/sys/fs/cgroup/memory.events",
        "/sys/fs/cgroup/memory/memory.oom_control",
    ):  # cgroup v2, v1
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0
