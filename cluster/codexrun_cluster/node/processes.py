"""Processes that the launcher starts, told apart from others that get the same pid."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


def boot_id() -> str:
    """Changes with every boot: a pid and its start time mean nothing beyond it."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Return clock ticks after boot at which the process began; None when there is none (or only a
    zombie)."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command's name stands in parentheses and may itself hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Process:
    """A pid together with what makes it unmistakable."""

    pid: int
    started: int
    boot: str
    fingerprint: str = ""

    def alive(self) -> bool:
        return self.boot == boot_id() and start_time(self.pid) == self.started

    def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM to its process group, SIGKILL after `grace_seconds`; return when it is
        gone."""
        for number, wait in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
            if not self.alive():
                return
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + wait
            while self.alive() and time.monotonic() < deadline:
                _reap(self.pid)
                time.sleep(0.02)


def spawn(argv: list[str], log: Path, fingerprint: str, env: dict[str, str], cwd: Path) -> Process:
    """Start a component in a session of its own, so that it outlives make and its terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **env},
            start_new_session=True,
            cwd=cwd,
        )
    # Popen would warn in its destructor that the child still runs: that is the point here.
    child.returncode = 0
    return Process(child.pid, start_time(child.pid) or 0, boot_id(), fingerprint)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Yield every other process with its words."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            except OSError:
                continue
            if words:
                yield int(entry.name), words


def kill_all(pids: list[int], grace_seconds: float) -> None:
    """Send SIGTERM, then SIGKILL to whoever is left after `grace_seconds`."""
    start_times = {pid: start_time(pid) for pid in pids}
    for number, wait in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        remaining = [
            pid
            for pid, started in start_times.items()
            if started is not None and start_time(pid) == started
        ]
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and any(
            start_time(pid) == start_times[pid] for pid in remaining
        ):
            time.sleep(0.05)
