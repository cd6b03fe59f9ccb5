"""What real models do beside messages and commands: encrypted reasoning, hosted search, images,
tool search, conversations that are compacted or resumed. Pure.

Each says at its end what came back of it in the conversation, so that a test sees it.
"""

import base64
import json
from typing import Any

from codexrun_demo_model.conversation import Json, ModelRequest
from codexrun_demo_model.replies import Reply, Usage, message, run, say, tool_call

ENCRYPTED = base64.b64encode(b"nobody but the provider can read this").decode()
# A black pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
# Above what Codex takes a conversation of any of today's models to, before it compacts.
FULL_CONTEXT = Usage(input=2_000_000, output=100)
STEPS_UNTIL_FULL = 2


def reasoning(model_request: ModelRequest, _: int) -> Reply:
    """Thinks before a command, and says whether Codex has kept the thought."""
    if model_request.step == 0:
        return _after(_thought(), run(model_request, "echo thought > thought.txt"))
    kept = any(
        item.get("encrypted_content") == ENCRYPTED for item in _of(model_request, "reasoning")
    )
    return say(f"The encrypted reasoning {'came back' if kept else 'was lost'}.")


def web_search(model_request: ModelRequest, _: int) -> Reply:
    """A search that the provider has run, a command, and a message with a citation."""
    if model_request.step == 0:
        search = {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "codex", "queries": ["codex"]},
        }
        return _after(search, run(model_request, "echo searched > searched.txt"))
    searches = len(_of(model_request, "web_search_call"))
    text = f"{searches} search in the conversation."
    citation = {
        "type": "url_citation",
        "url": "https://example.com/",
        "title": "Example",
        "start_index": 0,
        "end_index": 1,
    }
    said = message(text)
    said["content"][0]["annotations"] = [citation]
    return Reply(items=(said,))


def tool_search(model_request: ModelRequest, _: int) -> Reply:
    """Looks for a tool among those that Codex has not shown, and says how many were found."""
    if model_request.step == 0:
        search = {
            "type": "tool_search_call",
            "id": "tsc_1",
            "call_id": f"call_{model_request.step}_{model_request.attempt}",
            "execution": "client",
            "status": "completed",
            "arguments": {"query": "alpha", "limit": 4},
        }
        return Reply(items=(search,))
    outputs = _of(model_request, "tool_search_output")
    found = sum(len(output.get("tools") or ()) for output in outputs)
    return say(f"{len(outputs)} answers with {found} tools.")


def view_image(model_request: ModelRequest, _: int) -> Reply:
    """Makes an image, looks at it, and says how many it has seen."""
    if model_request.step == 0:
        return run(model_request, f"echo {PNG} | base64 -d > pixel.png")
    if model_request.step == 1:
        return Reply(items=(tool_call(model_request, "view_image", {"path": "pixel.png"}),))
    texts = json.dumps(model_request.items)
    return say(f"{texts.count('data:image/png;base64,')} image in the conversation.")


def image_output(_asked: ModelRequest, _: int) -> Reply:
    """An image that the provider has made, unasked."""
    image = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "revised_prompt": "a black pixel",
        "result": PNG,
    }
    return Reply(items=(image, message("Here is an image.")))


def compaction(model_request: ModelRequest, _: int) -> Reply:
    """Commands until the context is full, then one more after Codex has compacted it."""
    if model_request.step < STEPS_UNTIL_FULL:
        full = model_request.step == STEPS_UNTIL_FULL - 1
        used = FULL_CONTEXT if full else None
        return run(model_request, f"echo {model_request.step} >> steps.txt", usage=used)
    if model_request.step == STEPS_UNTIL_FULL:
        return run(model_request, "echo compacted >> steps.txt")
    return say("Went on after the compaction.")


def resume(model_request: ModelRequest, _: int) -> Reply:
    """Does half of its work; a run that resumes this one has it do the other half."""
    answers = [item for item in model_request.items if item.get("role") == "assistant"]
    half = "other" if answers else "first"
    results = sum(str(item.get("type")).endswith("_output") for item in model_request.items)
    if model_request.step == 0:
        return _after(_thought(), run(model_request, f"echo {half} >> halves.txt"))
    return say(f"The {half} half is done; {results} results and {len(answers)} answers came back.")


def _thought() -> Json:
    summary = [{"type": "summary_text", "text": "**Thinking** hard"}]
    return {
        "type": "reasoning",
        "id": "rs_1",
        "summary": summary,
        "encrypted_content": ENCRYPTED,
    }


def _after(item: Json, reply: Reply) -> Reply:
    return Reply(items=(item, *reply.items))


def _of(model_request: ModelRequest, kind: str) -> list[dict[str, Any]]:
    return [item for item in model_request.items if item.get("type") == kind]
