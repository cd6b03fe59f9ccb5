"""Follow runs to their end through cuts and restarts: states are asked for, log lines come by
themselves, one place shows both.

States are polled because the answer has what no event carries: the place in the queue, and tokens
as they are used.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from codexrun_cli.errors import Away, Trouble
from codexrun_cli.exit_codes import Code
from codexrun_cli.follow.lines import Reader, wanted
from codexrun_cli.follow.screen import View
from codexrun_cli.statuses import is_terminal
from codexrun_cli.transports import Heard, Json, LogRange, Transport
from codexrun_cli.transports.rest.transport import GIVE_UP

LAST_WORDS = 20.0  # seconds that the log may still come in after the run's end
LATEST, SOONEST = 2.0, 0.3  # seconds between two looks


class TimeUp(Exception):
    """--timeout has passed; `runs` are those that have not ended."""

    def __init__(self, runs: list[Json]) -> None:
        super().__init__()
        self.runs = runs


@dataclass(frozen=True)
class Cut:
    """Nobody answers; `why`, for people."""

    why: str


def states(
    look: Callable[[], Json], over: threading.Event, sleep: Callable[[float], Any] | None = None
) -> Iterator[Json | Cut]:
    """The run's states until it has ended, each as it is found; also through times when nobody
    answers.

    Raises:
        Away: for longer than anybody would wait.
    """
    sleep = sleep or over.wait
    pause, reached = SOONEST, time.monotonic()
    while not over.is_set():
        try:
            run = look()
            reached = time.monotonic()
            yield run
            if is_terminal(run["status"]):
                return
        except Away as away:
            if time.monotonic() - reached > GIVE_UP:
                raise
            yield Cut(away.detail)
        except Trouble as trouble:
            if trouble.code is not Code.NOT_FOUND:
                raise
            yield {
                "status": "deleted"
            }  # its object, or its row, is gone: nobody knows how it ended
            return
        sleep(pause)
        pause = min(LATEST, pause * 1.3)


def follow(
    transport: Transport,
    run: Json,
    view: View,
    *,
    log: bool,
    reader: Reader | None = None,
    seconds: float | None = None,
    level: str | None = None,
    wish: LogRange | None = None,
) -> Json:
    """Show a run until it has ended; returns its last state.

    Raises:
        TimeUp: `seconds` have passed first.
        KeyboardInterrupt: the user has seen enough; the run goes on.
    """
    heard: queue.SimpleQueue[Json | Cut | Heard | BaseException] = queue.SimpleQueue()
    over = threading.Event()

    def feed(source: Callable[[], Iterator[Json | Cut | Heard]]) -> None:
        try:
            for one in source():
                heard.put(one)
        except BaseException as error:
            heard.put(error)

    def log_lines() -> Iterator[Json | Cut | Heard]:
        yield from transport.follow_log(run, wish or LogRange())

    def run_states() -> Iterator[Json | Cut | Heard]:
        yield from states(lambda: transport.run(run["run_id"]), over)

    sources = [run_states, *([log_lines] if log else [])]
    for source in sources:
        threading.Thread(target=feed, args=(source,), daemon=True).start()
    try:
        return _show(
            run, heard, view, log=log, reader=reader or Reader(), seconds=seconds, level=level
        )
    finally:
        over.set()
        view.close()


def _show(  # noqa: PLR0912 - one match
    run: Json,
    heard: "queue.SimpleQueue[Json | Cut | Heard | BaseException]",
    view: View,
    *,
    log: bool,
    reader: Reader,
    seconds: float | None,
    level: str | None,
) -> Json:
    deadline = None if seconds is None else time.monotonic() + seconds
    last, done_at, log_over, cut = run, None, not log, False
    view.state(run)
    while done_at is None or not (log_over or time.monotonic() > done_at + LAST_WORDS):
        if deadline is not None and time.monotonic() > deadline and done_at is None:
            raise TimeUp([last])
        try:
            one = heard.get(timeout=0.15)
        except queue.Empty:
            view.tick()
            continue
        match one:
            case BaseException():
                raise one
            case Heard(kind="line", text=text):
                cut = False
                view.lines([said for said in reader.read(text) if wanted(said, level)])
            case Heard(kind="end", text=text):
                log_over = True
                if text:
                    view.word(f"note: {text.decode('utf-8', 'replace')}")
            case Heard() | Cut():
                if not cut:
                    view.word("connection lost, reconnecting...")
                cut = True
            case dict():
                if cut:
                    cut = False
                    view.word("connected again")
                last = {**last, **one}
                if is_terminal(last["status"]):
                    done_at = done_at or time.monotonic()
                    log_over = log_over or last["status"] == "deleted"
                else:
                    view.state(last)
    view.state(last)  # behind the last line
    return last
