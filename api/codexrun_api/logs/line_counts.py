"""How many lines end before each block of a log? Counted once, as the log grows, and kept in a file
beside it.

It is only a shortcut: what the file lacks is counted again, and a machine that died may leave it
longer than its log.
"""

import os
from pathlib import Path

BLOCK_BYTES = 256 * 1024


def read_counts(counts: Path) -> tuple[list[int], int]:
    """Newlines up to the end of each whole block, and how many bytes of the file say so."""
    try:
        data = counts.read_bytes()
    except FileNotFoundError:
        return [], 0
    good = data.rfind(b"\n") + 1  # not a number of which a part is missing
    return [int(number) for number in data[:good].split()], good


def extend_counts(log: Path, counts: Path, before: int | None = None) -> list[int]:
    """The same up to the end of the log. The caller lets nobody else write meanwhile; `before` is
    the log's size before it has just grown: what was said of more than that is not of these
    bytes."""
    known, good = read_counts(counts)
    with log.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        blocks, sure = size // BLOCK_BYTES, (size if before is None else before) // BLOCK_BYTES
        if len(known) > sure:
            known, good = known[:sure], sum(len(str(number)) + 1 for number in known[:sure])
        fresh = []
        for block in range(len(known), blocks):
            so_far = known[-1] if known else 0
            known.append(
                so_far + os.pread(file.fileno(), BLOCK_BYTES, block * BLOCK_BYTES).count(b"\n")
            )
            fresh.append(b"%d\n" % known[-1])
    _write(counts, good, b"".join(fresh))
    return known


def _write(counts: Path, at: int, data: bytes) -> None:
    try:
        with counts.open("r+b" if counts.exists() else "wb") as file:
            file.truncate(at)
            file.seek(at)
            file.write(data)
    except OSError:
        return  # no room: it is counted again
