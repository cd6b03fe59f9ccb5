"""The log of a live pod, from the kubelet: as it is, or followed through cuts without a lost or
doubled line.

The kubelet resumes by time only (whole seconds), so every line is asked for with its time, and what
was read before is dropped.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from codexrun_cli.transports import LogEvent, LogRange
from codexrun_core.errors import NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.line_cutter import LineCutter
from codexrun_core.runs.label_keys import RUN_UID_LABEL
from codexrun_core.times import moment

Json = dict[str, Any]

READ_TIMEOUT_SECONDS = 3600.0  # a log may be still as long as a command runs
POLL_SECONDS = 0.5


class LogCursor:
    """How far a log was read: the time of the last line, and how many lines had that very time."""

    def __init__(self) -> None:
        self.time = ""
        self.count = 0
        self._skip = 0

    def resume(self) -> dict[str, str]:
        """Return what to ask for; the lines of that second come again and are dropped."""
        self._skip = self.count
        return {"sinceTime": _utc(self.time)[0] + "Z"} if self.time else {}

    def is_new(self, timestamp: str) -> bool:
        """Return whether a line of this time was not there before; lines come in the order of their
        times."""
        if not self.time or _utc(timestamp) > _utc(self.time):
            self.time = timestamp
            self.count = 1
            self._skip = 0
            return True
        if _utc(timestamp) < _utc(self.time):
            return False
        if self._skip:
            self._skip -= 1
            return False
        self.count += 1
        return True


def _utc(timestamp: str) -> tuple[str, str]:
    """Return a time of the kubelet (in its node's zone) as UTC seconds, and nanoseconds with the
    zeros that it leaves out."""
    whole = timestamp[:19]
    fraction = timestamp[19:].rstrip("Z")
    zone = ""
    for sign in "+-":
        before, present, after = fraction.partition(sign)
        if present:
            fraction = before
            zone = sign + after
    utc = datetime.fromisoformat(whole + (zone or "+00:00")).astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S"), fraction.removeprefix(".").ljust(9, "0")


async def pod_of(kube: Kube, run_id: str) -> Json | None:
    """Return the newest pod of the run."""
    pods = [
        pod
        async for page in kube.pages(kube.pods, labelSelector=f"{RUN_UID_LABEL}={run_id}")
        for pod in page["items"]
    ]
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def path(kube: Kube, pod: Json, log_range: LogRange, now: datetime, **options: str) -> str:
    query = {"container": "agent", **options}
    if log_range.tail is not None:
        query["tailLines"] = str(log_range.tail)
    if log_range.since:
        since = moment(log_range.since, now).isoformat(timespec="seconds")
        query["sinceTime"] = since.replace("+00:00", "Z")
    return f"{kube.pods}/{pod['metadata']['name']}/log?{urlencode(query)}"


async def follow(  # noqa: PLR0912 - one loop, and what can happen in it
    kube: Kube,
    run_id: str,
    log_range: LogRange,
    has_ended: Callable[[], Awaitable[bool]],
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncGenerator[LogEvent, None]:
    """Yield lines to the end of the agent's container. has_ended: whether the run has."""
    cursor = LogCursor()
    failures = 0
    had_pod = False
    while True:
        try:
            run_ended = await has_ended()
            pod = await pod_of(kube, run_id)
            if pod is None:
                if run_ended or had_pod:
                    yield LogEvent("end")
                    return
                await sleep(POLL_SECONDS)
                continue
            had_pod = True
            log_path = path(
                kube,
                pod,
                LogRange() if cursor.time else log_range,
                datetime.now(UTC),
                follow="true",
                timestamps="true",
                **cursor.resume(),
            )
            lines = LineCutter()
            async for chunk in kube.stream(log_path, silence=READ_TIMEOUT_SECONDS):
                for line in lines.feed(chunk):
                    failures = 0
                    timestamp, _, text = line.text.partition(b" ")
                    if cursor.is_new(timestamp.decode("ascii", "replace")):
                        yield LogEvent("line", text)
            if _ended(pod) or run_ended:
                last = lines.last()
                timestamp, space, text = last.text.partition(b" ") if last else (b"", b"", b"")
                if space and cursor.is_new(timestamp.decode("ascii", "replace")):
                    yield LogEvent("line", text, newline=False)
                yield LogEvent("end")
                return
            await sleep(POLL_SECONDS)
        except NotFound:
            await sleep(POLL_SECONDS)
        except Refused as error:
            if error.status != 400:  # 400: the container has not started yet
                raise
            if await has_ended():
                yield LogEvent("end")
                return
            await sleep(POLL_SECONDS)
        except Unavailable as error:
            yield LogEvent("disconnected", str(error).encode())
            jitter = 0.5 + random.random()  # noqa: S311
            await sleep(min(10.0, 0.2 * 2**failures) * jitter)
            failures += 1


def _ended(pod: Json) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any(
        "terminated" in (status.get("state") or {})
        for status in statuses
        if status.get("name") == "agent"
    )


async def pause(seconds: float) -> None:
    await asyncio.sleep(seconds)
