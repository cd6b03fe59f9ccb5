"""The spool on the gate's own emptyDir: the agent's log so far, and the artifacts that wait for the
api.

The whole log is kept until the pod ends, so that whatever size the api says it has, it can go on
from there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterable
from pathlib import Path

from codexrun_core.pod_contract import MAX_ARTIFACT_BYTES, MAX_LOG_BYTES


class TooLarge(Exception):
    """More than the limit."""


class Spool:
    """A killed gate's successor finds all of it: sizes are the files' own, and artifacts are whole
    or not there."""

    def __init__(self, folder: Path, limit: int = MAX_LOG_BYTES) -> None:
        """limit: bytes of log."""
        self.folder = folder
        self.limit = limit
        self._artifacts = folder / "artifacts"
        self._artifacts.mkdir(parents=True, exist_ok=True)
        for partial in self._artifacts.glob("*.part"):
            partial.unlink()
        self._log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._log).st_size
        self.closed = (folder / "log.ended").exists()  # the runner said that this was all

    def append(self, offset: int, data: bytes | bytearray) -> int:
        """Append to the log, and return its size; bytes that do not follow on from its end, or are
        above the limit, are not taken."""
        if offset == self.size and not self.closed:
            with contextlib.suppress(OSError):  # no room: the size says how far it went
                os.pwrite(self._log, data[: self.limit - self.size], offset)
            self.size = os.fstat(self._log).st_size
        return self.size

    def close(self, offset: int) -> None:
        """Close the log, if `offset` is its end."""
        if offset == self.size:
            (self.folder / "log.ended").touch()
            self.closed = True

    def read(self, offset: int, max_bytes: int) -> bytes:
        """Read at most `max_bytes` of the log."""
        return os.pread(self._log, max_bytes, offset)

    async def keep(self, name: str, content: AsyncIterable[bytes]) -> None:
        """Store an artifact; a later one of that name replaces it.

        Raises:
            TooLarge: above its limit.
            OSError: no room.
        """
        path = self._artifacts / f"{name}.part"
        try:
            with path.open("wb") as file:
                async for part in content:
                    if file.tell() + len(part) > MAX_ARTIFACT_BYTES[name]:
                        raise TooLarge(f"{name} is larger than {MAX_ARTIFACT_BYTES[name]} bytes")
                    file.write(part)
            path.replace(self._artifacts / name)
        finally:
            path.unlink(missing_ok=True)

    def waiting(self) -> list[Path]:
        """Return the artifacts that are still to be uploaded."""
        return [
            self._artifacts / name
            for name in MAX_ARTIFACT_BYTES
            if (self._artifacts / name).exists()
        ]
