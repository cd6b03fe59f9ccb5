"""The names in an index of Git that the agent may have written.

Git itself reads more of an index than its names: `git ls-files` opens the shared part of a split
one, and expands a sparse one by trees of the agent's, a few of which make names without end.
"""

from __future__ import annotations

import stat
import struct
from typing import Iterator  # noqa: UP035 - the runner's floor is Python 3.9

HEADER = struct.Struct(">4sII")  # DIRC, version, number of entries
MODE_OFFSET = 24  # in an entry, after the times, the device and the inode
ID_OFFSET = 40  # of the object; the flags come after it
EXTENDED = 0x4000  # flag: 16 more bits of flags follow
EXTENSION = struct.Struct(">4sI")  # signature, bytes that follow
MAX_NAME_BYTES = 4096  # PATH_MAX
SPLIT = "it is a split index"


def file_names(index: bytes, id_bytes: int) -> Iterator[bytes]:
    """Yield the name of each file and link, relative to the work tree; one in conflict repeatedly.

    id_bytes: of an object's id, 20 or 32. Format: gitformat-index(5), versions 2 to 4.

    Raises:
        ValueError: it is not as Git writes it, or split, or a name points outside the work tree.
    """
    try:
        yield from _file_names(index, id_bytes)
    except (struct.error, IndexError) as error:
        raise ValueError("it ends too early") from error


def _file_names(index: bytes, id_bytes: int) -> Iterator[bytes]:
    signature, version, entries = HEADER.unpack_from(index)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("its version is not 2, 3 or 4")
    position = HEADER.size
    name = b""
    for _ in range(entries):
        begin = position
        (mode,) = struct.unpack_from(">I", index, begin + MODE_OFFSET)
        (flags,) = struct.unpack_from(">H", index, begin + ID_OFFSET + id_bytes)
        position = begin + ID_OFFSET + id_bytes + (4 if flags & EXTENDED else 2)
        kept = b""
        if version == 4:
            removed, position = _varint(index, position)
            kept = name[: max(0, len(name) - removed)]
        end = index.find(b"\0", position, position + MAX_NAME_BYTES + 1)
        if end < 0 or len(kept) + end - position > MAX_NAME_BYTES:
            raise ValueError(f"a name is longer than {MAX_NAME_BYTES} bytes")
        name = kept + index[position:end]
        # Up to version 3 one to eight NULs fill an entry up to a multiple of eight bytes.
        position = end + 1 if version == 4 else begin + (end - begin + 8) // 8 * 8
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):  # else a submodule, or a sparse folder
            if not name:  # it replaces an entry of the other part
                raise ValueError(SPLIT)
            if not {b"", b".", b".."}.isdisjoint(name.split(b"/")):
                raise ValueError("a name points outside the work tree")
            yield name
    checksum = len(index) - id_bytes
    while position < checksum:
        signature, length = EXTENSION.unpack_from(index, position)
        if signature == b"link":
            raise ValueError(SPLIT)
        position += EXTENSION.size + length
    if position != checksum:
        raise ValueError("its length does not match its entries")


def _varint(index: bytes, position: int) -> tuple[int, int]:
    """Return the number at a position, as in offsets of packs, and the position after it."""
    number = index[position] & 0x7F
    while index[position] & 0x80:
        position += 1
        number = (number + 1) << 7 | index[position] & 0x7F
        if number > MAX_NAME_BYTES:
            raise ValueError(f"a name is longer than {MAX_NAME_BYTES} bytes")
    return number, position + 1
