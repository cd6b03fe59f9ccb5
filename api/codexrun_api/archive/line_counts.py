"""How many lines end before each block of a log? Counted once, as the log grows, and kept in a file
beside it.

It is only a shortcut: what the file lacks is counted again, and a machine that died may leave it
longer than its log.
"""

import os
from pathlib import Path

BLOCK_BYTES = 256 * 1024


def read_counts(counts: Path) -> tuple[list[int], int]:
    """Return the newlines up to the end of each whole block, and how many bytes of the file say
    so."""
    try:
        data = counts.read_bytes()
    except FileNotFoundError:
        return [], 0
    valid_bytes = data.rfind(b"\n") + 1  # not a number of which a part is missing
    return [int(number) for number in data[:valid_bytes].split()], valid_bytes


def extend_counts(log: Path, counts: Path, before: int | None = None) -> list[int]:
    """Count what the file lacks up to the end of the log; return all counts. The caller lets nobody
    else write meanwhile; `before` is the log's size before it has just grown: what was said of more
    than that is not of these bytes."""
    counted, valid_bytes = read_counts(counts)
    with log.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        blocks = size // BLOCK_BYTES
        valid_blocks = (size if before is None else before) // BLOCK_BYTES
        if len(counted) > valid_blocks:
            counted = counted[:valid_blocks]
            valid_bytes = sum(len(str(number)) + 1 for number in counted)
        added = []
        for block in range(len(counted), blocks):
            before_block = counted[-1] if counted else 0
            counted.append(
                before_block
                + os.pread(file.fileno(), BLOCK_BYTES, block * BLOCK_BYTES).count(b"\n")
            )
            added.append(b"%d\n" % counted[-1])
    _write(counts, valid_bytes, b"".join(added))
    return counted


def _write(counts: Path, at: int, data: bytes) -> None:
    try:
        with counts.open("r+b" if counts.exists() else "wb") as file:
            file.truncate(at)
            file.seek(at)
            file.write(data)
    except OSError:
        return  # no room: it is counted again
