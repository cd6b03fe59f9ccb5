"""Every way a run was seen to end, and the class it gets: the one list that tests check and
docs/failure-classes.md shows.

`python dev/ways_to_end.py` writes the tables into that page.
"""

import base64
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
PAGE = Path(__file__).resolve().parents[1] / "docs/failure-classes.md"
OK = "succeeded"

AUTH = {"class": "auth", "status": 401, "message": "HTTP 401: Incorrect API key provided"}
LIMITED = {"class": "rate_limit", "status": 429, "message": "HTTP 429: Rate limit reached"}
QUOTA = {"class": "quota", "message": "insufficient_quota: Quota exceeded"}


def broke(message: str) -> Json:
    return {"lastError": {"class": "model_error", "message": message}}


@dataclass(frozen=True)
class Recorded:
    """Codex's own output, recorded; what the gate saw beside it, and how Codex's process ended."""

    name: str
    title: str
    class_: str
    code: int = 0
    gate: Json = field(default_factory=dict)
    stop: tuple[str, str] | None = None


RECORDED = [
    Recorded("hi", "one message", OK),
    Recorded("reason", "reasoning, then a message", OK),
    Recorded("shell_yolo", "a command", OK),
    Recorded("shell_ww", "a command in Codex's sandbox", OK),
    Recorded("dfa_false", "a command that fails", OK),
    Recorded("bg_yield", "a command that still runs when the turn ends", OK),
    Recorded("ro_denied_fast", "a command that Codex's sandbox stops", OK),
    Recorded("shell_ro", "the same, without an event about it", OK),
    Recorded("patch", "a patch", OK),
    Recorded("cm", "a command from a script in code mode", OK),
    Recorded("mcp_call", "a call of an MCP server that nobody approved", OK),
    Recorded("mcp_call_appr", "a call of an MCP server", OK),
    Recorded("subagent", "a sub-agent, which no job type allows", "guardrail"),
    Recorded("resume", "an earlier thread, continued", OK),
    Recorded("resume_last_othercwd", "a new thread", OK),
    Recorded("huge", "usage of 9,000,000,000,000 tokens", OK),
    Recorded("huge_loop", "compaction during the run", OK),
    Recorded("nousage", "no usage: an estimate is charged", OK, gate={"complete": False}),
    Recorded("h429_recover", "HTTP 429 twice, then an answer", OK),
    Recorded("http401", "HTTP 401", "auth", 1, {"lastError": AUTH}),
    Recorded("http429", "HTTP 429 without Retry-After", "rate_limit", 1, {"lastError": LIMITED}),
    Recorded("ra", "HTTP 429 with Retry-After, each time", "rate_limit", 1, {"lastError": LIMITED}),
    Recorded("failed_rl", "rate limit inside the stream", "rate_limit", 1, {"lastError": LIMITED}),
    Recorded("failed_quota", "quota used up", "quota", 1, {"lastError": QUOTA}),
    Recorded(
        "http400", "HTTP 400 of the provider", "model_error", 1, broke("HTTP 400: fake error 400")
    ),
    Recorded("http500", "HTTP 500", "model_error", 1, broke("HTTP 500: The server had an error")),
    Recorded("http503", "HTTP 503", "model_error", 1, broke("HTTP 503: overloaded")),
    Recorded(
        "cut",
        "the stream is cut, each time",
        "model_error",
        1,
        broke("the stream ended before response.completed"),
    ),
    Recorded(
        "failed_ctx",
        "the context window is full",
        "model_error",
        1,
        broke("context_length_exceeded: too long"),
    ),
    Recorded(
        "incomplete",
        "the answer is cut at what remains of the budget",
        "budget",
        1,
        {"stop": {"class": "budget", "message": "the response was cut (limits.maxTokens)"}},
    ),
    Recorded("rb1", "a token budget of Codex's own (codexrun sets none)", "agent_error", 1),
    Recorded("huge2", "usage that Codex cannot read", "agent_error", 1),
    Recorded("badkey", "Codex lacks a key (codexrun gives it none to hold)", "agent_error", 1),
    Recorded("refused_nounb", "the gate is gone for good", "agent_error", 1),
    Recorded("refused_zero_nounb", "the gate is gone, without retries", "agent_error", 1),
    Recorded(
        "refused",
        "Codex waits for a network for ever",
        "stall",
        1,
        stop=("stall", "no event and no byte"),
    ),
    Recorded("stall_idle", "Codex gives up a silent stream before stallSeconds", "agent_error", 1),
    Recorded("resume_missing", "the thread to continue is not there", "agent_error", 1),
    Recorded("no_repository", "Codex refuses to start", "agent_error", 1),
]


@dataclass(frozen=True)
class Live:
    """A scenario of the demo model, played by the real Codex; gate, runner: what their settings
    change."""

    scenario: str
    title: str
    class_: str
    gate: Json = field(default_factory=dict)
    runner: Json = field(default_factory=dict)
    prompt: str = ""


SOON = {"stall": 3}
TYPED = {
    "CODEXRUN_OUTPUT_SCHEMA": (
        base64.b64encode(b'{"type": "object", "required": ["verdict"]}').decode()
    )
}
SHELL = (
    '{"type": "function_call", "id": "fc_1", "name": "exec_command", "arguments": "{\\"cmd\\":'
    ' \\"ls\\"}"}'
)
SEARCHING = {"allowedTools": ["shell", "web_search"]}
LOOKING = {"allowedTools": ["shell", "view_image"]}
LIVE = [
    Live("hello", "writes a file and greets", OK),
    Live("message", "one message", OK),
    Live("shell", "a command", OK),
    Live("several-turns", "three commands", OK),
    Live("code-mode", "a command from a script", OK, runner={"model": "gpt-6-sol"}),
    Live("echo", "one message", OK),
    Live("sleep-2", "a command that is silent for a while", OK),
    Live("slow-2", "an answer that drips", OK),
    Live("big-output-1", "a command with much output", OK),
    Live("env-probe", "a command that looks for the key, in vain", OK),
    Live("code-review", "a review of an empty workspace", OK),
    Live("fix-failing-test", "a fix without a hint: it says so", OK),
    Live("release-notes", "notes of an empty workspace", OK),
    Live("reasoning", "encrypted reasoning before a command", OK),
    Live("web-search", "a search that the provider has run", OK, gate=SEARCHING, runner=SEARCHING),
    Live("view-image", "a look at an image", OK, gate=LOOKING, runner=LOOKING),
    Live("compaction", "a full context, which Codex compacts", OK),
    Live("resume", "half of the work", OK),
    Live("tool-search", "a search for tools where there are none", OK),
    Live("429-wait-1", "HTTP 429 with Retry-After once, then an answer", OK),
    Live("429-recovers", "HTTP 429 with Retry-After twice, then an answer", OK),
    Live("no-usage", "no usage: an estimate is charged", OK),
    Live("401", "HTTP 401", "auth"),
    Live(
        "429",
        "HTTP 429 with a time in words, each time, maxWaitSeconds 2",
        "rate_limit",
        gate={"maxWaitSeconds": 2},
    ),
    Live(
        "429-retry-after",
        "HTTP 429 with Retry-After, each time, maxWaitSeconds 2",
        "rate_limit",
        gate={"maxWaitSeconds": 2},
    ),
    Live("failed-rate-limit", "rate limit inside the stream", "rate_limit"),
    Live("quota", "HTTP 429 with insufficient_quota", "quota"),
    Live("failed-quota", "quota used up, inside the stream", "quota"),
    Live("500", "HTTP 500, each time", "model_error"),
    Live("503", "HTTP 503, each time", "model_error"),
    Live("failed", "response.failed, each time", "model_error"),
    Live("incomplete", "response.incomplete: the content filter", "policy"),
    Live("cut", "the stream is cut, each time", "model_error"),
    Live(
        "message",
        "the model's host refuses connections",
        "model_error",
        gate={"upstream": "http://127.0.0.1:9/v1"},
    ),
    Live("runaway", "a loop without end, maxTokens 5,000", "budget", gate={"max_tokens": 5000}),
    Live(
        "runaway", "the same, maxCostCents 1", "budget", gate={"maxCostCents": 1, "prices": "real"}
    ),
    Live("sleep-300", "a command for 300 s, timeoutSeconds 4", "timeout", runner={"timeout": 4}),
    Live("stall", "silence in the stream, stallSeconds 3", "stall", runner=SOON),
    Live("no-headers", "no answer at all, stallSeconds 3", "stall", runner=SOON),
    Live("write-disk", "the workspace fills up", "storage", runner={"workspaceBytes": 100_000_000}),
    Live(
        "message",
        "a model that the job type does not allow",
        "guardrail",
        gate={"models": ["gpt-5.5"]},
        runner={"model": "gpt-6-sol"},
    ),
    Live(
        "call-1",
        "a tool that the job type does not allow",
        "guardrail",
        gate={"allowedTools": []},
        runner={"allowedTools": []},
        prompt=f"call: {SHELL}",
    ),
    Live("web-search", "a search that the job type does not allow", "guardrail"),
    Live("image-output", "an image that the provider has made", "guardrail"),
    Live(
        "message",
        "sandbox: codex where it cannot work",
        "config",
        runner={"sandbox": "codex", "without_bwrap": True},
    ),
    Live(
        "code-review-misfit",
        "an answer that does not fit the outputSchema",
        "agent_error",
        gate={"environment": TYPED},
        runner={"env": TYPED},
    ),
    Live("no-message", "Codex ends well without a message", "silent_death"),
]


def tables() -> str:
    """Markdown."""
    recorded = "".join(f"| {way.title} | `{way.class_}` |\n" for way in RECORDED)
    live = "".join(f"| `{way.scenario}` | {way.title} | `{way.class_}` |\n" for way in LIVE)
    return (
        f"{BEGIN}\n\nWith the demo model and the real Codex, in every test run:\n\n"
        f"| scenario | what happens | ends as |\n|---|---|---|\n{live}\n"
        "From recordings of Codex 0.169.0, together with what the gate saw:\n\n"
        f"| what happened | ends as |\n|---|---|\n{recorded}\n{END}"
    )


BEGIN = "<!-- written by dev/ways_to_end.py from here -->"
END = "<!-- to here -->"


def page(text: str) -> str:
    """The page with its tables made anew."""
    head, _, rest = text.partition(BEGIN)
    return head + tables() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    sys.stdout.write(f"wrote {PAGE.name}\n")
