"""Whose node is this machine's, and which processes are its components?

One file for the whole machine, because there is one embedded node per machine. It lies on a tmpfs:
a reboot forgets it.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from codexrun_cluster.errors import LauncherError
from codexrun_cluster.node.processes import Process
from codexrun_cluster.paths import LOCK, RUN

RECORD_FILE = RUN / "node.json"


@dataclass
class NodeRecord:
    """The checkout that started the node, and its components by name."""

    checkout: str
    components: dict[str, Process] = field(default_factory=dict)

    def alive(self) -> list[str]:
        """Return names of the components that still run."""
        return [name for name, process in self.components.items() if process.alive()]

    def save(self, path: Path = RECORD_FILE) -> None:
        """Replace the file in one step: a reader, or a crash, never sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".new")
        text = {
            "checkout": self.checkout,
            "parts": {name: asdict(p) for name, p in self.components.items()},
        }
        partial.write_text(json.dumps(text, indent=1))
        os.replace(partial, path)


def load(path: Path = RECORD_FILE) -> NodeRecord | None:
    """Return the record, or None when there is none or it cannot be read (then nothing in it can be
    trusted)."""
    try:
        text = json.loads(path.read_text())
        return NodeRecord(
            text["checkout"], {name: Process(**p) for name, p in text["parts"].items()}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_other(record: NodeRecord | None, checkout: Path) -> None:
    """Refuse another checkout's living node: there is one node per machine.

    One whose checkout is gone cannot be used or taken down by anybody any more; it counts as dead.

    Raises:
        LauncherError: another checkout's node is alive.
    """
    if record is None or record.checkout == str(checkout) or not Path(record.checkout).is_dir():
        return
    alive = record.alive()
    if alive:
        raise LauncherError(
            f"this machine already runs the node of {record.checkout} ({', '.join(sorted(alive))}"
            " alive)",
            f"make -C {record.checkout} down",
        )


@contextmanager
def machine_lock() -> Iterator[None]:
    """Only one command at a time changes the node.

    Raises:
        LauncherError: another command is at it.
    """
    with LOCK.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise LauncherError(
                "another command is bringing this machine's node up or down"
                f" ({lock.read().strip()})",
                "wait for it to end, then try again",
            ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}")
        lock.flush()
        yield
