"""A file that is there whole or not at all, and on disk before anybody is told."""

import contextlib
import os
import uuid
from pathlib import Path


class WholeFile:
    """A draft in a folder of the same file system, until `commit` puts it in place. Each call may
    wait for the disk."""

    def __init__(self, path: Path, partial: Path) -> None:
        """partial: the folder of the draft."""
        self._path = path
        self._draft = partial / uuid.uuid4().hex
        self._file = self._draft.open("xb")

    def write(self, data: bytes) -> None:
        """Append to the draft."""
        self._file.write(data)

    def commit(self) -> None:
        """Put the draft in place."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._draft.replace(self._path)
        _sync(self._path.parent)

    def close(self) -> None:
        """End writing; a draft that was not put in place goes."""
        self._file.close()
        self._draft.unlink(missing_ok=True)


def write_whole(path: Path, partial: Path, data: bytes) -> None:
    """Write a whole file at once. partial: the folder of the draft."""
    with contextlib.closing(WholeFile(path, partial)) as file:
        file.write(data)
        file.commit()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
