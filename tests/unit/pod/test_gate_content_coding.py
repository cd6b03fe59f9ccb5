"""Compressed answers of the model are read whole, whatever pieces they come in; no coding of one is
overlooked."""

import gzip
import zlib

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from codexrun_pod.gate.content_coding import PIECE_BYTES, Inflate, applied

CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate without zlib's header": lambda text: zlib.compress(text, wbits=-15),
    "gzip in two members": lambda text: gzip.compress(text[:7]) + gzip.compress(text[7:]),
}
MIXED = st.binary(max_size=300) | st.integers(0, 5 * PIECE_BYTES).map(
    lambda size: b"data: x\n" * size
)


def inflated(chunks: list[bytes]) -> list[bytes]:
    inflate = Inflate()
    pieces = []
    for chunk in chunks:
        inflate.add(chunk)
        while piece := inflate.piece():
            pieces.append(piece)
    return pieces


@given(st.sampled_from(sorted(CODINGS)), MIXED, st.integers(1, 5000))
def test_an_answer_is_whole_in_small_pieces(coding: str, text: bytes, cut: int) -> None:
    compressed = CODINGS[coding](text)
    pieces = inflated([compressed[at : at + cut] for at in range(0, len(compressed), cut)])
    assert b"".join(pieces) == text
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)


def test_what_was_flushed_is_not_held_back() -> None:
    stream = zlib.compressobj(wbits=31)
    inflate = Inflate()
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        inflate.add(stream.compress(event) + stream.flush(zlib.Z_SYNC_FLUSH))
        assert inflate.piece() == event


@pytest.mark.parametrize(
    "compressed", [b"data: no gzip at all\n\n", gzip.compress(b"x", mtime=0) + b"\xff"]
)
def test_what_is_not_compressed_as_it_says_is_an_error(compressed: bytes) -> None:
    with pytest.raises(aiohttp.ClientPayloadError, match="the response cannot be decompressed"):
        inflated([compressed])


@pytest.mark.parametrize(
    ("headers", "codings"),
    [
        ([], ()),
        ([("Content-Encoding", "")], ()),
        ([("Content-Encoding", "identity")], ()),
        ([("content-encoding", " GZip ")], ("gzip",)),
        ([("Content-Encoding", "deflate, gzip")], ("deflate", "gzip")),
        ([("Content-Encoding", "gzip"), ("Content-Encoding", "br")], ("gzip", "br")),
        ([("Content-Encoding", "chunked")], ("chunked",)),
        ([("Transfer-Encoding", "chunked")], ()),
        ([("Transfer-Encoding", "gzip, chunked")], ("gzip",)),
        ([("Content-Encoding", "br"), ("Transfer-Encoding", "gzip, chunked")], ("br", "gzip")),
    ],
)
def test_every_coding_that_was_applied(
    headers: list[tuple[str, str]], codings: tuple[str, ...]
) -> None:
    assert applied(CIMultiDictProxy(CIMultiDict(headers))) == codings
