"""How much room is left on the archive's volume? The registry's SQLite file lies on it too: the
archive leaves it the last of the room, so that rows go on to be written while no log is taken."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codexrun_core.pod_contract import MIB

# Half of what the alert CodexrunArchiveFull fires at.
RESERVED_SHARE = 20
MAX_RESERVED_BYTES = 1024 * MIB


class Full(OSError):
    """No room but the registry's."""


@dataclass(frozen=True)
class Volume:
    """Bytes of a file system: all of them, and those that this process may still use."""

    total: int
    free: int

    @property
    def reserved(self) -> int:
        """Return how many bytes the archive leaves to the registry."""
        return min(MAX_RESERVED_BYTES, self.total // RESERVED_SHARE)

    def check_room(self, size: int) -> None:
        """Refuse what would use the registry's room.

        Raises:
            Full: `size` more bytes would.
        """
        if self.free - size < self.reserved:
            raise Full(
                errno.ENOSPC,
                f"{self.free // MIB} MiB are free on the archive's volume, and"
                f" {self.reserved // MIB} MiB must stay free for the registry; enlarge the volume,"
                " or remove older runs with codexrun cleanup",
            )


Measure = Callable[[Path], Volume]


def volume_of(folder: Path) -> Volume:
    """Return how full the file system of a folder is.

    Raises:
        OSError: there is no such folder.
    """
    stat = os.statvfs(folder)
    return Volume(stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)
