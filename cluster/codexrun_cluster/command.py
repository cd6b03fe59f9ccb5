"""Run other programs: their output goes to the step's log, their failure names that log."""

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from codexrun_cluster.errors import LauncherError

_children: set["subprocess.Popen[bytes]"] = set()
_lock = threading.Lock()


class Log:
    """The log of one step, and the way to run programs that write into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def say(self, text: str) -> None:
        with self.path.open("a") as log:
            log.write(text.rstrip("\n") + "\n")

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        hint: str = "",
    ) -> None:
        """Run a program to its end.

        Raises:
            LauncherError: it could not be started, or ended with another code than 0.
        """
        words = [str(a) for a in argv]
        self.say("$ " + shlex.join(words))
        with self.path.open("ab") as log:
            code = _wait(words, log.fileno(), log.fileno(), cwd, env, stdin)
        if code:
            raise LauncherError(f"{words[0]} ended with code {code}", hint, self.path)

    def read(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> str:
        """Run a program and return what it printed; its errors go to the log.

        Raises:
            LauncherError: as for `run`.
        """
        words = [str(a) for a in argv]
        self.say("$ " + shlex.join(words))
        reading, writing = os.pipe()
        output: list[bytes] = []

        def collect() -> None:
            with os.fdopen(reading, "rb") as pipe:
                output.append(pipe.read())

        reader = threading.Thread(target=collect)
        reader.start()
        try:
            with self.path.open("ab") as log:
                code = _wait(words, writing, log.fileno(), cwd, env, stdin)
        finally:
            os.close(writing)
            reader.join()
        if code:
            raise LauncherError(f"{words[0]} ended with code {code}", "", self.path)
        return output[0].decode(errors="replace")


def capture(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 60,
) -> "subprocess.CompletedProcess[str]":
    """Run a short program and return what it answered, whatever that is; code 127 when it cannot be
    started or hangs."""
    words = [str(a) for a in argv]
    try:
        return subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


def _wait(  # noqa: PLR0917 - everything a child needs, in one place
    words: list[str],
    out: int,
    err: int,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    stdin: str | None,
) -> int:
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise LauncherError(f"cannot start {words[0]}: {error.strerror}") from error
    with _lock:
        _children.add(child)
    try:
        child.communicate(stdin.encode() if stdin is not None else None)
    finally:
        with _lock:
            _children.discard(child)
    return child.returncode


def stop_children() -> None:
    """End what steps are still running (their whole process groups), after a failure or Ctrl-C."""
    with _lock:
        for child in _children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
