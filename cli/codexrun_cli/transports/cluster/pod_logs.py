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

from codexrun_cli.times import moment
from codexrun_cli.transports import Heard, LogRange
from codexrun_core.kube.client import Kube, NotFound, Refused, Unavailable
from codexrun_core.line_cutter import LineCutter

Json = dict[str, Any]

SILENCE = 3600.0  # seconds: a log may be still as long as a command runs
LOOK = 0.5
RUN_LABEL = "codexrun.dev/run-uid"


class Seen:
    """How far a log was read: the time of the last line, and how many lines had that very time."""

    def __init__(self) -> None:
        self.time, self.count = "", 0
        self._skip = 0

    def resume(self) -> dict[str, str]:
        """What to ask for; the lines of that second come again and are dropped."""
        self._skip = self.count
        return {"sinceTime": _fine(self.time)[0] + "Z"} if self.time else {}

    def new(self, stamp: str) -> bool:
        """Whether a line of this time was not there before; lines come in the order of their
        times."""
        if not self.time or _fine(stamp) > _fine(self.time):
            self.time, self.count, self._skip = stamp, 1, 0
            return True
        if _fine(stamp) < _fine(self.time):
            return False
        if self._skip:
            self._skip -= 1
            return False
        self.count += 1
        return True


def _fine(stamp: str) -> tuple[str, str]:
    """A time of the kubelet (in its node's zone) as UTC seconds, and nanoseconds with the zeros
    that it leaves out."""
    whole, rest = stamp[:19], stamp[19:]
    fraction, zone = rest.rstrip("Z"), ""
    for sign in "+-":
        before, found, after = fraction.partition(sign)
        if found:
            fraction, zone = before, sign + after
    utc = datetime.fromisoformat(whole + (zone or "+00:00")).astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S"), fraction.removeprefix(".").ljust(9, "0")


async def pod_of(kube: Kube, run_id: str) -> Json | None:
    """The newest pod of the run."""
    pods = [
        pod
        async for page in kube.pages(kube.pods, labelSelector=f"{RUN_LABEL}={run_id}")
        for pod in page["items"]
    ]
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def path(kube: Kube, pod: Json, wish: LogRange, now: datetime, **more: str) -> str:
    query = {"container": "agent", **more}
    if wish.tail is not None:
        query["tailLines"] = str(wish.tail)
    if wish.since:
        query["sinceTime"] = (
            moment(wish.since, now).isoformat(timespec="seconds").replace("+00:00", "Z")
        )
    return f"{kube.pods}/{pod['metadata']['name']}/log?{urlencode(query)}"


async def follow(  # noqa: PLR0912 - one loop, and what can happen in it
    kube: Kube,
    run_id: str,
    wish: LogRange,
    over: Callable[[], Awaitable[bool]],
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncGenerator[Heard, None]:
    """To the end of the agent's container. over: whether the run has ended."""
    seen, fruitless, had_pod = Seen(), 0, False
    while True:
        try:
            finished = await over()
            pod = await pod_of(kube, run_id)
            if pod is None:
                if finished or had_pod:
                    yield Heard("end")
                    return
                await sleep(LOOK)
                continue
            had_pod = True
            ask = LogRange() if seen.time else wish
            where = path(
                kube, pod, ask, datetime.now(UTC), follow="true", timestamps="true", **seen.resume()
            )
            lines = LineCutter()
            async for piece in kube.stream(where, silence=SILENCE):
                for line in lines.feed(piece):
                    fruitless = 0
                    stamp, _, text = line.text.partition(b" ")
                    if seen.new(stamp.decode("ascii", "replace")):
                        yield Heard("line", text)
            if _ended(pod) or finished:
                last = lines.last()
                stamp, space, text = last.text.partition(b" ") if last else (b"", b"", b"")
                if space and seen.new(stamp.decode("ascii", "replace")):
                    yield Heard("line", text, newline=False)
                yield Heard("end")
                return
            await sleep(LOOK)
        except NotFound:
            await sleep(LOOK)
        except Refused as refused:
            if refused.status != 400:  # 400: the container has not started yet
                raise
            if await over():
                yield Heard("end")
                return
            await sleep(LOOK)
        except Unavailable as away:
            yield Heard("cut", str(away).encode())
            await sleep(min(10.0, 0.2 * 2**fruitless) * (0.5 + random.random()))  # noqa: S311 - jitter
            fruitless += 1


def _ended(pod: Json) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any(
        "terminated" in (status.get("state") or {})
        for status in statuses
        if status.get("name") == "agent"
    )


async def pause(seconds: float) -> None:
    await asyncio.sleep(seconds)
