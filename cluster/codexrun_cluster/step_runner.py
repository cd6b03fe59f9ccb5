"""Run steps side by side, each as soon as those before it are done."""

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.command import Log, stop_children
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.progress import REDRAW_SECONDS, Progress

INSTANT_SECONDS = 0.4  # what ends sooner needs no line for its start


@dataclass(frozen=True)
class Step:
    """One piece of work. `do` returns a note for people (or None); `seconds` is what to expect on
    two cold cores.

    `state` says how far it is from the text of its log; "" where only time tells.
    """

    name: str
    seconds: int
    do: Callable[[Log], str | None]
    after: tuple[str, ...] = ()
    state: Callable[[str], str] | None = None


def run_steps(steps: Iterable[Step], logs: Path, progress: Progress) -> None:
    """Run all steps; the first failure starts nothing more and ends what still runs.

    Raises:
        LauncherError: a step failed; the first one's.
    """
    waiting = {step.name: step for step in steps}
    check_order(waiting.values())
    done: set[str] = set()
    running: dict[str, tuple[Step, float, threading.Thread]] = {}
    announced: set[str] = set()
    ended: list[tuple[Step, str | None, BaseException | None]] = []
    wake = threading.Condition()

    def work(step: Step) -> None:
        note: str | None = None
        error: BaseException | None = None
        log = Log(_log_path(logs, step))
        try:
            note = step.do(log)
        except BaseException as raised:  # handed to the caller's thread, which raises it
            error = raised
            if isinstance(raised, LauncherError) and raised.log is None:
                raised.log = log.path
        with wake:
            ended.append((step, note, error))
            wake.notify()

    try:
        while waiting or running:
            for step in [s for s in waiting.values() if done.issuperset(s.after)]:
                del waiting[step.name]
                thread = threading.Thread(target=work, args=(step,), daemon=True)
                running[step.name] = (step, time.monotonic(), thread)
                thread.start()
            with wake:
                if not ended:
                    wake.wait(REDRAW_SECONDS)
                finished = list(ended)
                ended.clear()
            for step, note, error in finished:
                seconds = time.monotonic() - running.pop(step.name)[1]
                if error is not None:
                    progress.line(
                        f"[{progress.elapsed():5.0f}s] FAILED {step.name} after {seconds:.1f}s"
                    )
                    raise error
                done.add(step.name)
                progress.line(
                    f"[{progress.elapsed():5.0f}s] done: {step.name} in {seconds:.1f}s"
                    + (f" - {note}" if note else "")
                )
            now = time.monotonic()
            for step, start, _ in running.values():
                if step.name not in announced and now - start > INSTANT_SECONDS:
                    announced.add(step.name)
                    progress.line(
                        f"[{progress.elapsed():5.0f}s] {step.name} (up to ~{step.seconds}s)"
                    )
            progress.running(
                [(_described(logs, s), now - start, s.seconds) for s, start, _ in running.values()]
            )
    except BaseException:
        stop_children()
        raise


def check_order(steps: Iterable[Step]) -> None:
    """Check that every step waits only for steps that exist and, in the end, not for itself.

    Raises:
        ValueError: the plan itself is wrong.
    """
    after = {step.name: set(step.after) for step in steps}
    done: set[str] = set()
    while len(done) < len(after):
        ready = {name for name, before in after.items() if name not in done and before <= done}
        if not ready:
            raise ValueError(
                f"these steps wait for each other or for nothing: {sorted(set(after) - done)}"
            )
        done |= ready


def _described(logs: Path, step: Step) -> str:
    path = _log_path(logs, step)
    state = step.state(path.read_text(errors="replace")) if step.state and path.exists() else ""
    return f"{step.name} ({state})" if state else step.name


def _log_path(logs: Path, step: Step) -> Path:
    return logs / f"step-{_file_name(step.name)}.log"


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
