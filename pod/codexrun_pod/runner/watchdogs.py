"""Rules for when a run has to be ended: too long, silent, or nearly out of disk. The rules are
pure; the queries are below them."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_pod.runner.codex.progress import Stop

# of a size limit; beyond it the kubelet evicts the pod with one second's notice, and messages are
# lost
FULL_SHARE = 0.95
TOTAL_FIELD = "resources.limits.ephemeral-storage"
CHECK_SECONDS = 1.0
MAX_CPU_SHARE = 0.1  # of one core's time, at most, for walking large trees

SLOW_MODEL = "The model's endpoint is not responding, or the limit is too low for this model"


@dataclass(frozen=True)
class TimeLimits:
    """The limits of a run in seconds; times are on one monotonic clock."""

    timeout: float
    stall: float
    started: float

    def too_long(self, now: float) -> Stop | None:
        """Return the reason to stop a run whose whole time is over."""
        if now - self.started < self.timeout:
            return None
        return Stop(
            "timeout",
            f"the agent ran for {self.timeout:g} s, its limit (limits.timeoutSeconds); raise that"
            " limit, or give the run a smaller task",
        )

    def silent(
        self,
        now: float,
        last_event: float,
        open_items: int,
        idle: Callable[[], float | None],
        activity: str,
        *,
        cause: str = SLOW_MODEL,
    ) -> Stop | None:
        """Return the reason to stop a run in which neither Codex nor the model was active for too
        long. A command that runs may be silent.

        activity: Codex's last event, for the message; cause: what may be behind it.

        idle: asks the gate for the seconds since its last byte; None if it did not answer. Only
        asked when it matters.
        """
        quiet = now - last_event
        if open_items or quiet < self.stall:
            return None
        gate = idle()
        if gate is not None and gate < self.stall:
            return None
        return Stop(
            "stall",
            f"no event from Codex or the model for {self.stall:g} s"
            f" (limits.stallSeconds). Last activity: {activity}, {quiet:.0f} s ago;"
            f" {gate_activity(gate)}. {cause}",
        )


def gate_activity(idle: float | None) -> str:
    """Describe how long the gate has seen no event, for people."""
    return (
        "the gate is not responding"
        if idle is None
        else f"the gate has received no event from the model for {idle:.0f} s"
    )


def gate_answer(port: int, path: str, timeout: float = 2.0) -> dict[str, object] | None:
    """Return the JSON object that 127.0.0.1:port answers; {} for any other answer.

    Raises:
        OSError: nobody listens, or nobody answers in time.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read(65536))
    except http.client.RemoteDisconnected:
        raise  # an OSError too: it died or is restarting
    except (http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def gate_idle(port: int) -> float | None:
    """Return the seconds since the last byte through the gate; None if it does not answer."""
    try:
        idle = (gate_answer(port, "/activity") or {}).get("idleSeconds")
    except OSError:
        return None
    return float(idle) if isinstance(idle, (int, float)) else None


def disk_use(root: Path) -> int:
    """Return the bytes that the files below `root` take on disk, hard links once, as the kubelet's
    `du` counts."""
    total = 0
    linked = set()
    waiting = [str(root)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # gone in the meantime, or locked by the agent
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                is_directory = entry.is_dir(follow_symlinks=False)
            except OSError:
                continue
            if is_directory:
                waiting.append(entry.path)
            elif status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in linked:
                    continue
                linked.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total


@dataclass(frozen=True)
class DiskLimit:
    """A directory, the bytes that it may hold (0 for no limit), and the job type's field that says
    so."""

    root: Path
    limit: int
    field: str


def nearly_full(what: str, used: int, limit: int, field: str) -> Stop | None:
    """Return the reason to stop a run above FULL_SHARE of the limit (bytes; 0 for none)."""
    if not limit or used < limit * FULL_SHARE:
        return None
    return Stop(
        "storage",
        f"{used / 2**20:.0f} of {limit / 2**20:.0f} MiB in {what} are used ({field} in the job"
        " type); raise that limit, or have the agent write less",
    )


def full_disk(disks: Sequence[DiskLimit], total: int) -> Stop | None:
    """Return the reason to stop a run of which a directory is nearly full, or all of them together
    hold nearly `total` bytes (0 for no limit): what the kubelet evicts a pod for."""
    sum_used = 0
    for disk in disks:
        used = disk_use(disk.root) if disk.limit or total else 0
        sum_used += used
        if stop := nearly_full(str(disk.root), used, disk.limit, disk.field):
            return stop
    names = ", ".join(str(disk.root) for disk in disks)
    return nearly_full(f"{names} together", sum_used, total, TOTAL_FIELD)


def watch_disks(disks: Sequence[DiskLimit], total: int, on_full: Callable[[Stop], None]) -> None:
    """Check the directories about once a second, in a thread of its own, and call `on_full` once
    when one is nearly full."""

    def check() -> None:
        while True:
            began = time.monotonic()
            if stop := full_disk(disks, total):
                on_full(stop)
                return
            took = time.monotonic() - began
            time.sleep(max(CHECK_SECONDS, took / MAX_CPU_SHARE))

    threading.Thread(target=check, name="disks", daemon=True).start()
