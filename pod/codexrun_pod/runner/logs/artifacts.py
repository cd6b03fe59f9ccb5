"""The artifacts of a run, kept besides its log: the final message, the patch of the workspace,
Codex's rollout."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator, Mapping  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.pod_contract import FINAL_MESSAGE, MAX_ARTIFACT_BYTES, PATCH, ROLLOUT
from codexrun_pod.runner.codex.progress import Progress
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.settings import Settings

ANSWER_SECONDS = 10.0
# The repository is the agent's: whatever its configuration would have run is left out, as far as
# git allows.
NOTHING: Mapping[str, str] = {}
GIT = (
    "git",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "safe.directory=*",
)


def checked_out(settings: Settings) -> str | None:
    """Return the commit in the workspace before the agent began; None without Git."""
    return (
        _git(settings, "rev-parse", "--verify", "HEAD").decode().strip() or None
        if settings.git
        else None
    )


def upload(settings: Settings, log: Log, progress: Progress, commit: str | None) -> None:
    """Upload each artifact that there is to the gate. One that is too large or fails is noted in
    the log; nothing raises."""
    for name, content in _artifacts(settings, log, progress, commit):
        if len(content) > MAX_ARTIFACT_BYTES[name]:
            _log_left_out(
                log, name, f"{len(content)} bytes are above the limit of {MAX_ARTIFACT_BYTES[name]}"
            )
        elif content:
            try:
                _put(settings.gate_port, name, content)
            except (OSError, http.client.HTTPException) as error:
                _log_left_out(
                    log, name, f"the gate did not take it: {error or type(error).__name__}"
                )


def rollout_path(settings: Settings, thread_id: str | None) -> Path | None:
    """Return the path of Codex's record of the thread."""
    names = f"*/*/*/rollout-*-{thread_id}.jsonl"
    return max((settings.codex_home / "sessions").glob(names), default=None) if thread_id else None


def _artifacts(
    settings: Settings, log: Log, progress: Progress, commit: str | None
) -> Iterator[tuple[str, bytes]]:
    final = log.mask.text(progress.final_message).encode("utf-8", "replace")
    yield FINAL_MESSAGE, final[: MAX_ARTIFACT_BYTES[FINAL_MESSAGE]]
    if commit:
        try:
            yield PATCH, log.mask.raw(patch(settings, commit))
        except (OSError, subprocess.SubprocessError) as error:
            _log_left_out(log, PATCH, f"git made none: {error}")
    with contextlib.suppress(OSError):
        if path := rollout_path(settings, progress.thread_id):
            yield ROLLOUT, log.mask.raw(_read(path, MAX_ARTIFACT_BYTES[ROLLOUT]))


def patch(settings: Settings, commit: str) -> bytes:
    """Return a patch of everything that differs from `commit`, committed or not, new files too,
    ignored ones not.

    Git works on a copy of the index and writes its objects elsewhere, so that the workspace stays
    as the agent left it.

    Raises:
        OSError, SubprocessError: no repository any more, or not enough room.
    """
    repository = settings.workspace / ".git"
    with tempfile.TemporaryDirectory(dir=str(settings.tmp)) as scratch:
        index = Path(scratch, "index")
        objects = Path(scratch, "objects")
        objects.mkdir()
        if (repository / "index").is_file():
            # With its time: Git compares contents only where a file is as young as the index that
            # knows it.
            shutil.copy2(str(repository / "index"), str(index))
        environment = {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(repository / "objects"),
        }
        _git(settings, "add", "--all", "--ignore-errors", environ=environment)
        options = ("--binary", "--no-ext-diff", "--no-textconv", "--no-color")
        return _git(
            settings, "diff", "--cached", *options, commit, "--", must=True, environ=environment
        )


def _git(
    settings: Settings, *arguments: str, must: bool = False, environ: Mapping[str, str] = NOTHING
) -> bytes:
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(settings.home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
    }
    result = subprocess.run(
        [*GIT, *arguments],
        cwd=str(settings.workspace),
        env={**environment, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=must,
    )
    return result.stdout if result.returncode == 0 else b""


def _read(path: Path, limit: int) -> bytes:
    """Read one byte more than the limit at most, so that a larger file is recognised."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _put(port: int, name: str, content: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("PUT", f"/artifacts/{name}", body=content)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"HTTP {status}")


def _log_left_out(log: Log, name: str, reason: str) -> None:
    log.write_own(
        "artifact.left_out", status="running", phase="report", artifact=name, reason=reason
    )
