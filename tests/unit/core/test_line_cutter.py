"""Lines out of pieces: the same as splitting the whole, however it is cut; and bounded, however
long they are."""

from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.line_cutter import LineCutter

TEXTS = st.lists(st.sampled_from([b"", b"\n", b"a", b"bc\n", b"\n\nd", b"0123456789"]), max_size=40)


@given(TEXTS)
def test_lines_are_those_of_the_whole(pieces: list[bytes]) -> None:
    cutter = LineCutter()
    lines = [line for piece in pieces for line in cutter.feed(piece)]
    last = cutter.last()
    *ended, rest = b"".join(pieces).split(b"\n")
    assert [line.text for line in lines] == ended
    assert [line.length for line in lines] == [len(line) for line in ended]
    assert (last.text if last else b"") == rest


@given(TEXTS, st.integers(1, 12))
def test_a_long_line_keeps_its_beginning_and_its_length(pieces: list[bytes], limit: int) -> None:
    cutter = LineCutter(limit)
    lines = [line for piece in pieces for line in cutter.feed(piece)]
    for line, whole in zip(lines, b"".join(pieces).split(b"\n")[:-1], strict=True):
        mark = f"… [{len(whole) - limit} bytes left out]".encode() if len(whole) > limit else b""
        assert line == (whole[:limit] + mark, len(whole))
