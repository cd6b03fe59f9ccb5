"""Names in an index of Git: whatever its bytes, they lie in the work tree, or there is a reason."""

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.runner.git_index import file_names

ID_BYTES = 20


def index_of(version: int, names: list[bytes], mode: int = 0o100644) -> bytes:
    """Return an index; one of version 4 shares no prefixes."""
    content = struct.pack(">4sII", b"DIRC", version, len(names))
    last = b""
    for name in names:
        entry = struct.pack(">10I", *[0] * 6, mode, *[0] * 3) + bytes(ID_BYTES)
        entry += struct.pack(">H", min(len(name), 0xFFF))
        if version == 4:
            entry += _varint(len(last)) + name + b"\0"
        else:
            entry += name + bytes(8 - (len(entry) + len(name)) % 8)
        content += entry
        last = name
    return content + bytes(ID_BYTES)


def _varint(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        number -= 1
        digits.insert(0, 0x80 | number & 0x7F)
    return bytes(digits)


names = st.binary(min_size=1, max_size=300).map(
    lambda name: b"a" + name.replace(b"\0", b"-").replace(b"/", b"-")
)
versions = st.sampled_from([2, 3, 4])


@given(versions, st.lists(names, max_size=5))
def test_the_names_are_those_that_were_written(version: int, written: list[bytes]) -> None:
    assert list(file_names(index_of(version, written), ID_BYTES)) == written


@given(versions, st.lists(names, max_size=3))
def test_submodules_and_folders_are_no_files(version: int, written: list[bytes]) -> None:
    for mode in (0o160000, 0o040000):
        assert not list(file_names(index_of(version, written, mode), ID_BYTES))


@given(
    st.builds(index_of, versions, st.lists(names, max_size=3)),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=6)), max_size=4),
    st.integers(0, 1000),
)
def test_other_bytes_give_a_reason_and_no_name_that_leads_out(
    index: bytes, changes: list[tuple[int, bytes]], length: int
) -> None:
    for at, content in changes:
        index = index[:at] + content + index[at + len(content) :]
    found = []
    with contextlib.suppress(ValueError):
        found.extend(file_names(index[:length], ID_BYTES))
    for name in found:
        assert not {b"", b".", b".."} & set(name.split(b"/"))
