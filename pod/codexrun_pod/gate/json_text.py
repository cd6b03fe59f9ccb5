"""Reads JSON that nobody has to trust, within bounds of memory. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

# What stands before the next bracket or comma outside of strings, and that. Possessive, and with an
# end that always matches: it looks at each character once.
NEXT_VALUE = re.compile(r'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[^"\[{,])*+([\[{,]|\Z)', re.S)
# Each takes some 100 bytes: Codex's longest conversations have a tenth of them, and `[[],[],…` of
# 16 MiB would take a gigabyte.
MAX_VALUES = 300_000
SLICE_CHARS = 64 * 1024
ENCODER = json.JSONEncoder(ensure_ascii=False)
NAN = "NaN and Infinity are not JSON"


def parse(raw: bytes | bytearray) -> Any:
    """Return the document in `raw`, which is UTF-8 (RFC 8259). A bytearray is emptied as soon as it
    is decoded: text and document may each take four times its memory.

    Raises:
        ValueError: it is not JSON, or has more than MAX_VALUES values.
        RecursionError: it is nested too deeply.
    """
    text = raw.decode("utf-8")
    if isinstance(raw, bytearray):
        raw.clear()
    if sum(1 for _ in islice(NEXT_VALUE.finditer(text), MAX_VALUES + 2)) > MAX_VALUES + 1:
        raise ValueError(f"the JSON has more than {MAX_VALUES} values")
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _no_constant(_: str) -> Any:
    raise ValueError(NAN)


def _finite(text: str) -> float:
    """Read a number: 1e999 is infinite to Python, and no number to whoever has to read it next."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(NAN)
    return number


def dump(value: Any) -> bytes:
    """Return `value` as compact JSON of UTF-8.

    Raises:
        RecursionError: it is nested too deeply.
    """
    text = bytearray()
    for piece in pieces(value):
        text += piece
    return bytes(text)


def pieces(value: Any) -> Iterator[bytes]:
    """Iterate over `value`, as `parse` has it, as compact JSON of UTF-8. The whole as a text may
    take four bytes for each of its characters, and so may one string of it.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if isinstance(value, str):
        yield b'"'
        for part in _slices(value):
            yield _utf8(ENCODER.encode(part)[1:-1])
        yield b'"'
    elif isinstance(value, dict):
        before = b"{"
        for key, member in value.items():
            yield before
            yield from pieces(key)
            yield b":"
            yield from pieces(member)
            before = b","
        yield b"}" if value else b"{}"
    elif isinstance(value, list):
        before = b"["
        for member in value:
            yield before
            yield from pieces(member)
            before = b","
        yield b"]" if value else b"[]"
    else:
        yield ENCODER.encode(value).encode()


def size(text: str) -> int:
    """Return the bytes of a text in UTF-8, as `pieces` has them but for what JSON escapes."""
    return sum(len(_utf8(part)) for part in _slices(text))


def _slices(text: str) -> Iterator[str]:
    for start in range(0, len(text), SLICE_CHARS):
        yield text[start : start + SLICE_CHARS]


def _utf8(text: str) -> bytes:
    """Encode a text; lone surrogates are escaped."""
    return text.encode("utf-8", "backslashreplace")
