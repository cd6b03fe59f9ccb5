"""Resume a run where an earlier one stopped: bring its rollout, from the archive by way of the
gate, into CODEX_HOME."""

from __future__ import annotations

import http.client
import json
import re
import time
from typing import Callable  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_pod.runner.codex.progress import Stop
from codexrun_pod.runner.settings import CannotStartError, ConfigError, Settings

# The reviewed prompt is in the rollout already, and is not paid for twice.
PROMPT = b"The run was interrupted before it was done. Go on with the task from where it stopped.\n"
WAIT_SECONDS = 60.0  # for an api that is away
PAUSE_SECONDS = 0.5
ANSWER_SECONDS = 60.0
THREAD = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STARTED = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)")
ADVICE = "create the new run without spec.retryOf.resume"


def prepare(settings: Settings, pause: Callable[[float], Stop | None]) -> str | Stop:
    """Put the rollout where Codex looks for it; return the thread's id, or why the run has to stop
    before it began.

    Raises:
        CannotStartError: config if there is no rollout, or none that is one; internal if nobody
            says.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        status, body = _get_rollout(settings.gate_port)
        if status == 200:
            return _write_rollout(settings, body)
        if status == 404:
            raise ConfigError(_refusal(body))
        if time.monotonic() > deadline:
            raise CannotStartError(
                "internal",
                f"the Codex session file of the earlier run could not be fetched: {body.decode()};"
                " retry",
            )
        if (stop := pause(PAUSE_SECONDS)) is not None:
            return stop


def _get_rollout(port: int) -> tuple[int, bytes]:
    """Request the rollout; return status and body, or 0 and the reason when there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/rollout")
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, body if answer.status in (
            200,
            404,
        ) else f"HTTP {answer.status}".encode()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error or type(error).__name__).encode("utf-8", "replace")
    finally:
        connection.close()


def _refusal(body: bytes) -> str:
    """Return why there is no rollout: the api's words, which name the field. A gate without an api,
    and an older one, give none."""
    try:
        reason = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = None
    if isinstance(reason, str) and reason.startswith("spec."):
        return reason
    return (
        "spec.retryOf.resume: the Codex session file of the earlier run is not stored (the run"
        " ended before the file could be uploaded, the run was cleaned up, or this installation"
        f" has no REST API); {ADVICE}"
    )


def _write_rollout(settings: Settings, rollout: bytes) -> str:
    thread, (year, month, day, *clock) = _head(rollout)
    folder = settings.codex_home / "sessions" / year / month / day
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"rollout-{year}-{month}-{day}T{'-'.join(clock)}-{thread}.jsonl").write_bytes(
            rollout
        )
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from error
    return thread


def _head(rollout: bytes) -> tuple[str, tuple[str, ...]]:
    """Read thread and start from the first line: {"timestamp", "type": "session_meta", "payload":
    {"id"}}."""
    try:
        meta = json.loads(rollout.partition(b"\n")[0])
        thread = meta["payload"]["id"]
        started = STARTED.match(meta["timestamp"])
        if meta["type"] == "session_meta" and THREAD.fullmatch(thread) and started:
            return thread, started.groups()
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ConfigError(
        "spec.retryOf.resume: the file stored for the earlier run is not a Codex session file;"
        f" {ADVICE}"
    )
