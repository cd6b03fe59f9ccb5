"""What Codex's events say about the run, and the verdict on it. Pure.

Event shapes: `codex exec --json` of 0.169.0; unknown kinds are ignored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Mapping  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_pod.termination import LONGEST_MESSAGE

COMMAND_KINDS = frozenset(
    {"command_execution", "mcp_tool_call"}
)  # may run for long without an event
STDERR_LINES_KEPT = 5
BACKTRACE = re.compile(
    r"(Stack backtrace:|\d+: <unknown>|)"
)  # what Codex puts below an error, and says nothing


@dataclass(frozen=True)
class Seen:
    """So far: open_items are the ids of commands that still run; final_message is the last one of
    the newest turn."""

    thread_id: str | None = None
    turns: int = 0
    commands: int = 0
    open_items: frozenset[str] = frozenset()
    turn_completed: bool = False
    turn_failed: bool = False
    failure_text: str = ""
    final_message: str = ""

    @property
    def proven(self) -> bool:
        """A turn completed, none failed after it, and there is something to show."""
        return self.turn_completed and not self.turn_failed and bool(self.final_message.strip())


@dataclass(frozen=True)
class Failure:
    """One of the failure classes and a message for people."""

    class_: str
    message: str

    @property
    def json(self) -> dict[str, str]:
        """As the termination message has it."""
        return {"class": self.class_, "message": self.message[:LONGEST_MESSAGE]}


@dataclass(frozen=True)
class Stop:
    """Why the runner ends Codex: guardrail, timeout, stall or storage, or signal when Kubernetes
    told it to."""

    reason: str
    message: str

    @property
    def failure(self) -> Failure | None:
        """None for a signal: why that was sent is the operator's to know."""
        return None if self.reason == "signal" else Failure(self.reason, self.message)


@dataclass(frozen=True)
class Ended:
    """How Codex's process ended. code: its exit code, minus the signal's number if one killed it,
    None if it lives on.

    stop: why the runner ended it, if it did. out_of_memory: the kernel killed something in this
    container for memory.
    """

    code: int | None
    stop: Stop | None = None
    stderr: tuple[str, ...] = ()
    out_of_memory: bool = False


def fold(seen: Seen, event: Mapping[str, Any]) -> Seen:
    """`seen` with one more event."""
    kind = event.get("type")
    if kind == "thread.started":
        return replace(seen, thread_id=_text(event.get("thread_id")) or seen.thread_id)
    if kind == "turn.started":
        return replace(seen, turns=seen.turns + 1, final_message="", open_items=frozenset())
    if kind == "turn.completed":
        return replace(seen, turn_completed=True, turn_failed=False, open_items=frozenset())
    if kind == "turn.failed":
        text = _text(_section(event, "error").get("message")) or seen.failure_text
        return replace(seen, turn_failed=True, failure_text=text, open_items=frozenset())
    if kind == "error":
        return replace(seen, failure_text=_text(event.get("message")))
    if kind in ("item.started", "item.completed"):
        return _item(seen, _section(event, "item"), started=kind == "item.started")
    return seen


def activity(event: Mapping[str, Any]) -> str:
    """What happened, for people: the event's kind, and its item's."""
    kind, item = _text(event.get("type"))[:40], _text(_section(event, "item").get("type"))[:40]
    return f"{kind} of {item}" if item else kind


def verdict(seen: Seen, ended: Ended) -> Failure | None:
    """Why the run failed, as far as the runner can tell; None if it did not, or if it was told to
    stop (SIGTERM).

    The first rule that fits: a forbidden tool; proof of success, which stands whatever came after
    it; then the runner's own stop, Codex's own words, the way its process ended, and silence.
    """
    if ended.stop is not None and ended.stop.reason == "guardrail":
        return ended.stop.failure
    if ended.code == 0 and seen.proven:
        return None
    if ended.stop is not None:
        return ended.stop.failure
    if seen.turn_failed:
        return Failure("agent_error", plain(seen.failure_text) or "Codex gave no reason")
    if ended.out_of_memory and ended.code not in (0, 1):
        return Failure(
            "oom",
            "Codex was killed for want of memory; raise the job type's resources.limits.memory",
        )
    said = "; ".join(ended.stderr[-STDERR_LINES_KEPT:])
    if ended.code is not None and ended.code < 0:
        return Failure("agent_error", f"Codex was killed by signal {-ended.code}: {said}")
    if ended.code:
        return Failure(
            "agent_error", f"Codex exited with {ended.code} before its turn ended: {said}"
        )
    missing = "turn.completed" if not seen.turn_completed else "a final message"
    return Failure(
        "silent_death",
        f"Codex exited with 0 but without {missing}; nothing proves that it did its work",
    )


def exit_code(failed: bool, stopped: str | None) -> int:
    """The runner's: 143 after SIGTERM, 1 for a failure, else 0."""
    if stopped == "signal":
        return 143
    return 1 if failed else 0


def plain(text: str) -> str:
    """The message inside a JSON error body, which Codex repeats verbatim; other text as it is."""
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    return message if isinstance(message, str) else text


def _item(seen: Seen, item: Mapping[str, Any], started: bool) -> Seen:
    kind, identity = item.get("type"), _text(item.get("id"))
    if kind == "agent_message" and not started:
        return replace(seen, final_message=_text(item.get("text")))
    if kind not in COMMAND_KINDS:
        return seen
    first_sight = kind == "command_execution" and identity not in seen.open_items
    known = seen.open_items | {identity} if started else seen.open_items - {identity}
    return replace(seen, commands=seen.commands + first_sight, open_items=known)


def _section(event: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = event.get(key)
    return section if isinstance(section, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
