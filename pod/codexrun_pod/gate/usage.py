"""Tokens of responses. Pure.

The wire shape is the Responses API's `usage`:
https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Tokens. cached and written (taken up by the model's cache) are parts of input, reasoning is a
    part of output; total is at least input + output."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    total: int = 0
    written: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.reasoning + other.reasoning,
            self.total + other.total,
            self.written + other.written,
        )


NOTHING = Usage()


def parse(wire: Any) -> Usage | None:
    """Read the API's usage object; None if it is absent or makes no sense, so that the caller
    charges an estimate."""
    if not isinstance(wire, Mapping):
        return None
    tokens_in = _count(wire.get("input_tokens"))
    tokens_out = _count(wire.get("output_tokens"))
    if tokens_in is None or tokens_out is None:
        return None
    cached = _detail(wire, "input_tokens_details", "cached_tokens")
    reasoning = _detail(wire, "output_tokens_details", "reasoning_tokens")
    total = max(tokens_in + tokens_out, _count(wire.get("total_tokens")) or 0)
    cached = min(cached, tokens_in)
    written = min(_detail(wire, "input_tokens_details", "cache_write_tokens"), tokens_in - cached)
    return Usage(tokens_in, cached, tokens_out, min(reasoning, tokens_out), total, written)


def of(input_tokens: int, output_tokens: int) -> Usage:
    """Return the usage of a response of which no more is known."""
    return Usage(input_tokens, 0, output_tokens, 0, input_tokens + output_tokens)


def _detail(wire: Mapping[str, Any], section: str, key: str) -> int:
    details = wire.get(section)
    return (_count(details.get(key)) or 0) if isinstance(details, Mapping) else 0


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
