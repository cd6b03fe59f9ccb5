"""Reading files that the agent may have put something else in place of."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a regular file, and one more of a larger one.

    A link is not followed, and nothing is waited for: a FIFO without a writer would never open.

    Raises:
        FileNotFoundError: nothing is there.
        OSError: it is no regular file, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1)
    finally:
        os.close(descriptor)
