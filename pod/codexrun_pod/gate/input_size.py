"""How many tokens the input of a request can have, before the provider has counted it. Pure.

A conversation grows at its end: each request begins with all of the one before. What the provider
has counted of that beginning is known exactly, and only what is new has to be judged by its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codexrun_pod.gate import json_text

# A token is at least one byte of text in every byte-pair encoding. What agents send has more: with
# o200k_base, as JSON, 3.8 of Markdown and of diffs, 4.3 of Python, 5.8 of Chinese, 1.5 of base64.
BYTES_PER_TOKEN = 3
# An image costs by its pixels and not by its bytes: 14,364 tokens for 12 megapixels, 2,448 for a
# screen of 1920x1080. https://huggingface.co/datasets/JOHNISKING/image-token-cost
IMAGE_AT_MOST = 20_000
IMAGE_ESTIMATE = 2_500
# Keys of a request that are not shown to the model, and may differ from one request to the next.
NOT_SHOWN = frozenset(
    {
        "input",
        "client_metadata",
        "include",
        "max_output_tokens",
        "prompt_cache_key",
        "service_tier",
        "store",
        "stream",
    }
)
MAX_COUNTED = 16  # beginnings that are remembered; a conversation without branches needs one

# Digest of a beginning, and the input tokens that the provider counted for it.
Counted = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Beginning:
    """The first items of a request's input, and all that stands before them, such as instructions
    and tools. text_bytes: of their JSON in UTF-8, without images."""

    digest: str
    text_bytes: int
    images: int


@dataclass(frozen=True)
class InputSize:
    """Tokens: the most that the input can have, and about how many it has. digest: of the whole
    input."""

    at_most: int
    estimate: int
    digest: str = ""


NO_BEGINNING = Beginning("", 0, 0)


def beginnings(body: Mapping[str, Any]) -> tuple[Beginning, ...]:
    """Return every beginning of a request's input, the shortest first; the last is all of it.

    Raises:
        RecursionError: it is nested too deeply.
    """
    return tuple(_beginnings(body))


def input_size(beginnings: Sequence[Beginning], counted: Counted) -> InputSize:
    """Judge an input by the longest beginning that the provider has counted."""
    tokens_of = dict(counted)
    whole = beginnings[-1]
    known = NO_BEGINNING
    for beginning in reversed(beginnings):
        if beginning.digest in tokens_of:
            known = beginning
            break
    tokens = tokens_of.get(known.digest, 0)
    new_bytes = whole.text_bytes - known.text_bytes
    new_images = whole.images - known.images
    return InputSize(
        at_most=tokens + new_bytes + new_images * IMAGE_AT_MOST,
        estimate=tokens + text_tokens(new_bytes) + new_images * IMAGE_ESTIMATE,
        digest=whole.digest,
    )


def remember(counted: Counted, digest: str, tokens: int) -> Counted:
    """Remember what the provider counted for an input; the oldest are forgotten."""
    others = [entry for entry in counted if entry[0] != digest]
    return (*others, (digest, tokens))[-MAX_COUNTED:]


def text_tokens(text_bytes: int) -> int:
    """Estimate the tokens of a text."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def _beginnings(body: Mapping[str, Any]) -> Iterator[Beginning]:
    head = {key: value for key, value in body.items() if key not in NOT_SHOWN}
    items = body.get("input")
    digest = hashlib.sha256()
    beginning = _longer(NO_BEGINNING, digest, head, ())
    yield beginning
    for item in items if isinstance(items, list) else [items]:
        beginning = _longer(beginning, digest, item, tuple(_images(item)))
        yield beginning


def _longer(
    before: Beginning, digest: hashlib._Hash, part: Any, image_urls: Sequence[str]
) -> Beginning:
    """Return the beginning that ends with `part`; `digest` takes it in."""
    text_bytes = 0
    for piece in json_text.pieces(part):
        digest.update(piece)
        text_bytes += len(piece)
    digest.update(b"\n")  # JSON has no bare one, so that no two lists of parts are alike
    url_bytes = sum(map(json_text.size, image_urls))
    return Beginning(
        digest.copy().hexdigest()[:32],
        before.text_bytes + text_bytes - url_bytes,
        before.images + len(image_urls),
    )


def _images(item: Any) -> Iterator[str]:
    """Iterate over the URLs of the images that an item shows; elsewhere the same keys are text."""
    for key in ("content", "output"):
        parts = item.get(key) if isinstance(item, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") == "input_image":
                url = part.get("image_url")
                yield url if isinstance(url, str) else ""
