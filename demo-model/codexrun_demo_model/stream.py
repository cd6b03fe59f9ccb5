"""A reply as a stream of server-sent events, with its usage. Pure."""

import json
from collections.abc import Iterator
from typing import NamedTuple

from codexrun_demo_model.conversation import Json, ModelRequest
from codexrun_demo_model.replies import Reply, Usage

BYTES_PER_TOKEN = 4  # the rule of thumb for English and code
CACHE_STEP = 128  # prompt caches count in blocks of this many tokens


class Chunk(NamedTuple):
    """One event, and how long to wait before it, in seconds."""

    data: bytes
    after: float = 0.0


def count(model_request: ModelRequest, reply: Reply, cached_before: int) -> Usage | None:
    """Tokens of this response: the scenario's, or counted from the bytes; None when it must carry
    none.

    cached_before: the thread's previous input tokens, which a prompt cache would know.
    """
    if reply.usage == "none":
        return None
    if isinstance(reply.usage, Usage):
        return reply.usage
    said = sum(len(json.dumps(item)) for item in reply.items) + 16 * reply.seconds
    input_tokens = max(1, model_request.body_bytes // BYTES_PER_TOKEN)
    output = said // BYTES_PER_TOKEN + 8
    cached = min(cached_before, input_tokens) // CACHE_STEP * CACHE_STEP
    return Usage(input=input_tokens, output=output, cached=cached, reasoning=output // 3)


def capped(
    model_request: ModelRequest, reply: Reply, usage: Usage | None
) -> tuple[Reply, Usage | None]:
    """Keeps `max_output_tokens` as the API does: output is cut there and the response is
    incomplete."""
    cap = model_request.max_output_tokens
    if cap is None or usage is None or usage.output <= cap or reply.ending != "completed":
        return reply, usage
    cut = Usage(
        input=usage.input, output=cap, cached=usage.cached, reasoning=min(usage.reasoning, cap)
    )
    return Reply(ending="incomplete", error={"reason": "max_output_tokens"}), cut


def events(response_id: str, model: str, reply: Reply, usage: Usage | None) -> Iterator[Chunk]:
    """The reply's events in order; an ending of cut or silence stops without a last one."""
    response: Json = {
        "id": response_id,
        "object": "response",
        "model": model,
        "status": "in_progress",
    }
    yield _event("response.created", response=response)
    for second in range(reply.seconds):
        yield _event("response.output_text.delta", after=1.0, delta=f"chunk {second + 1} ")
    for index, item in enumerate(reply.items):
        yield _event("response.output_item.done", output_index=index, item=item)
    if reply.ending in ("cut", "silence"):
        return
    ended = {**response, "status": reply.ending}
    if usage is not None and reply.ending != "failed":
        ended["usage"] = usage.wire
    if reply.error is not None:
        ended["error" if reply.ending == "failed" else "incomplete_details"] = reply.error
    yield _event(f"response.{reply.ending}", response=ended)


def _event(kind: str, *, after: float = 0.0, **fields: object) -> Chunk:
    return Chunk(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode(), after)
