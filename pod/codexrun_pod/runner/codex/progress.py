"""How far Codex is, from its events, and the verdict on how it ended. Pure; unknown events are
ignored."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from codexrun_core.codex import events
from codexrun_core.codex.events import Event, Item
from codexrun_pod import termination

# Items that may run for long without an event.
SILENT_ITEMS = frozenset({events.COMMAND_EXECUTION, events.MCP_TOOL_CALL})
MAX_STDERR_LINES = 5
MAX_TYPE_CHARACTERS = 40  # of an event's or an item's type, in a message
# What Codex puts below an error, and says nothing.
BACKTRACE = re.compile(r"(Stack backtrace:|\d+: <unknown>|)")


@dataclass(frozen=True)
class Progress:
    """What Codex's events add up to so far. open_items: ids of commands that still run;
    final_message: the last one of the newest turn."""

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
        """Whether a turn completed, none failed after it, and there is something to show."""
        return self.turn_completed and not self.turn_failed and bool(self.final_message.strip())


@dataclass(frozen=True)
class Failure:
    """One of the failure classes and a message for people."""

    class_: str
    message: str

    @property
    def json(self) -> dict[str, str]:
        """The failure as the termination message has it."""
        return termination.failure(self.class_, self.message)


@dataclass(frozen=True)
class Stop:
    """Why the runner ends Codex: guardrail, timeout, stall or storage, or signal when Kubernetes
    told it to."""

    reason: str
    message: str

    @property
    def failure(self) -> Failure | None:
        """The run's failure; None for a signal: why that was sent is the operator's to know."""
        return None if self.reason == "signal" else Failure(self.reason, self.message)


@dataclass(frozen=True)
class CodexExit:
    """How Codex's process ended. code: its exit code, minus the signal's number if one killed it,
    None if it lives on.

    stop: why the runner ended it, if it did. out_of_memory: the kernel killed something in this
    container for memory.
    """

    code: int | None
    stop: Stop | None = None
    stderr: tuple[str, ...] = ()
    out_of_memory: bool = False


def fold(progress: Progress, event: Event) -> Progress:
    """Return `progress` with one more event."""
    kind = event.type
    if kind == events.THREAD_STARTED:
        return replace(progress, thread_id=event.thread_id or progress.thread_id)
    if kind == events.TURN_STARTED:
        return replace(progress, turns=progress.turns + 1, final_message="", open_items=frozenset())
    if kind == events.TURN_COMPLETED:
        return replace(progress, turn_completed=True, turn_failed=False, open_items=frozenset())
    if kind == events.TURN_FAILED:
        text = event.message or progress.failure_text
        return replace(progress, turn_failed=True, failure_text=text, open_items=frozenset())
    if kind == events.ERROR:
        return replace(progress, failure_text=event.message)
    item = event.item
    if item is not None and kind in (events.ITEM_STARTED, events.ITEM_COMPLETED):
        return _fold_item(progress, item, started=kind == events.ITEM_STARTED)
    return progress


def is_instructions_cut(event: Event) -> bool:
    """Return whether Codex says that it has not read all of the AGENTS.md files: its warning names
    the setting (0.169 to 0.171)."""
    item = event.item
    return (
        item is not None
        and item.type == events.ERROR
        and "project_doc_max_bytes" in item.display("message")
    )


def describe_event(event: Event) -> str:
    """Return what happened, for people: the event's type, and its item's."""
    kind = event.type[:MAX_TYPE_CHARACTERS]
    item = event.item.type[:MAX_TYPE_CHARACTERS] if event.item else ""
    return f"{kind} of {item}" if item else kind


def find_failure(progress: Progress, codex_exit: CodexExit) -> Failure | None:
    """Return why the run failed, as far as the runner can tell; None if it did not, or if it was
    told to stop (SIGTERM).

    The first rule that fits: a forbidden tool; proof of success, which stands whatever came after
    it; then the runner's own stop, Codex's own words, the way its process ended, and silence.
    """
    code = codex_exit.code
    stop = codex_exit.stop
    if stop is not None and stop.reason == "guardrail":
        return stop.failure
    if code == 0 and progress.proven:
        return None
    if stop is not None:
        return stop.failure
    if progress.turn_failed:
        return Failure("agent_error", unwrap_error(progress.failure_text) or "Codex gave no reason")
    if codex_exit.out_of_memory and code not in (0, 1):
        return Failure(
            "oom",
            "Codex ran out of memory and was killed; raise the job type's resources.limits.memory",
        )
    stderr = "; ".join(codex_exit.stderr[-MAX_STDERR_LINES:])
    details = f": {stderr}" if stderr else ""
    if code is not None and code < 0:
        return Failure("agent_error", f"Codex was killed by signal {-code}{details}")
    if code:
        return Failure(
            "agent_error", f"Codex exited with code {code} before its turn ended{details}"
        )
    missing = (
        f"a {events.TURN_COMPLETED} event" if not progress.turn_completed else "a final message"
    )
    return Failure(
        "silent_death",
        (
            f"Codex exited with code 0 but without {missing}; nothing proves that it finished its"
            " work"
        ),
    )


def exit_code(failed: bool, stopped: str | None) -> int:
    """Return the runner's exit code: 143 after SIGTERM, 1 for a failure, else 0."""
    if stopped == "signal":
        return 143
    return 1 if failed else 0


def unwrap_error(text: str) -> str:
    """Return the message inside a JSON error body, which Codex repeats verbatim; other text as it
    is."""
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    return message if isinstance(message, str) else text


def _fold_item(progress: Progress, item: Item, *, started: bool) -> Progress:
    if item.type == events.AGENT_MESSAGE and not started:
        return replace(progress, final_message=item.text)
    if item.type not in SILENT_ITEMS:
        return progress
    is_new = item.type == events.COMMAND_EXECUTION and item.id not in progress.open_items
    return replace(
        progress,
        commands=progress.commands + is_new,
        open_items=progress.open_items | {item.id} if started else progress.open_items - {item.id},
    )
