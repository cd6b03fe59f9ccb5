"""Follow runs to their end through cuts and restarts: states are polled, log lines come by
themselves, one place shows both.

States are polled because the answer has what no event carries: the place in the queue, and tokens
as they are used.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from codexrun_cli.errors import CommandError, Unreachable
from codexrun_cli.exit_codes import Code
from codexrun_cli.follow.lines import Reader
from codexrun_cli.follow.screen import View
from codexrun_cli.transports import LogEvent, LogRange, Transport
from codexrun_cli.transports.rest.transport import MAX_OUTAGE_SECONDS
from codexrun_cli.transports.schemas import Run
from codexrun_core.resources.phases import ENDED_STATUSES

LAST_LINES_SECONDS = 20.0  # that the log may still come in after the run's end
FIRST_POLL_SECONDS = 0.3
MAX_POLL_SECONDS = 2.0


class TimedOut(Exception):
    """--timeout has passed before the run has ended."""


@dataclass(frozen=True)
class Disconnected:
    """Nobody answers; `reason`, for people."""

    reason: str


Event = Run | Disconnected | LogEvent | BaseException


def poll_states(
    get_run: Callable[[], Run],
    stop: threading.Event,
    sleep: Callable[[float], Any] | None = None,
) -> Iterator[Run | Disconnected]:
    """Yield the run's states until it has ended, also through times when nobody answers.

    Raises:
        Unreachable: for longer than anybody would wait.
    """
    sleep = sleep or stop.wait
    pause = FIRST_POLL_SECONDS
    answered_at = time.monotonic()
    while not stop.is_set():
        try:
            run = get_run()
            answered_at = time.monotonic()
            yield run
            if run["status"] in ENDED_STATUSES:
                return
        except Unreachable as error:
            if time.monotonic() - answered_at > MAX_OUTAGE_SECONDS:
                raise
            yield Disconnected(error.detail)
        except CommandError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            # Its object, or its row, is gone: nobody knows how it ended.
            yield cast(Run, {"status": "deleted"})
            return
        sleep(pause)
        pause = min(MAX_POLL_SECONDS, pause * 1.3)


def follow(
    transport: Transport,
    run: Run,
    view: View,
    *,
    log: bool,
    reader: Reader,
    seconds: float | None = None,
) -> Run:
    """Show a run until it has ended; returns its last state.

    Raises:
        TimedOut: `seconds` have passed first.
        KeyboardInterrupt: the user has seen enough; the run goes on.
    """
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    stop = threading.Event()

    def feed(source: Callable[[], Iterator[Event]]) -> None:
        try:
            for event in source():
                events.put(event)
        except BaseException as error:
            events.put(error)

    def log_events() -> Iterator[Event]:
        yield from transport.follow_log(run, LogRange())

    def run_states() -> Iterator[Event]:
        yield from poll_states(lambda: transport.run(run["run_id"]), stop)

    sources = [run_states, *([log_events] if log else [])]
    for source in sources:
        threading.Thread(target=feed, args=(source,), daemon=True).start()
    try:
        return _show(run, events, view, log=log, reader=reader, seconds=seconds)
    finally:
        stop.set()
        view.close()


def _show(  # noqa: PLR0912 - one match
    run: Run,
    events: "queue.SimpleQueue[Event]",
    view: View,
    *,
    log: bool,
    reader: Reader,
    seconds: float | None,
) -> Run:
    deadline = None if seconds is None else time.monotonic() + seconds
    ended_at: float | None = None
    log_ended = not log
    connected = True
    view.state(run)
    while ended_at is None or not (log_ended or time.monotonic() > ended_at + LAST_LINES_SECONDS):
        if deadline is not None and time.monotonic() > deadline and ended_at is None:
            raise TimedOut
        try:
            event = events.get(timeout=0.15)
        except queue.Empty:
            view.tick()
            continue
        match event:
            case BaseException():
                raise event
            case LogEvent(kind="line", text=text):
                connected = True
                view.lines(reader.read(text))
            case LogEvent(kind="end", text=text):
                log_ended = True
                if text:
                    view.note(f"note: {text.decode('utf-8', 'replace')}")
            case LogEvent() | Disconnected():
                if connected:
                    view.note("connection lost, reconnecting...")
                connected = False
            case dict():
                if not connected:
                    connected = True
                    view.note("connected again")
                run = {**run, **event}
                if run["status"] in ENDED_STATUSES:
                    ended_at = ended_at or time.monotonic()
                    log_ended = log_ended or run["status"] == "deleted"
                else:
                    view.state(run)
    view.state(run)  # behind the last line
    return run
