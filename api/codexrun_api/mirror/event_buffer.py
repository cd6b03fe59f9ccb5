"""The last changes in the order they were seen, for streams that follow them and resume.

An event's id is the object's resourceVersion: it outlives this process. A stream whose last id is
no longer in memory gets the newest state of every run that has changed since instead
(level-triggered, like a watch after a new list).
"""

import asyncio
from collections import deque
from dataclasses import dataclass

MAX_EVENTS = 4096


@dataclass(frozen=True)
class Event:
    id: str
    kind: str  # run.phase, run.usage, run.deleted
    run_id: str
    job_type: str
    data: str


class Lagged(Exception):
    """The reader is so far behind that events it has not seen are gone."""


class EventBuffer:
    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._events: deque[Event] = deque(maxlen=max_events)
        self._end = 0  # how many there ever were
        self._published = asyncio.Event()
        self.waiting = 0  # readers that have seen everything

    @property
    def end(self) -> int:
        return self._end

    def publish(self, event: Event) -> None:
        self._events.append(event)
        self._end += 1
        self._published.set()
        self._published = asyncio.Event()

    def after(self, event_id: str) -> int | None:
        """Return the position behind the event of that id; None if it is not in memory."""
        begin = self._end - len(self._events)
        for offset in range(len(self._events) - 1, -1, -1):
            if self._events[offset].id == event_id:
                return begin + offset + 1
        return None

    def since(self, position: int) -> list[Event]:
        """Return all events from `position` on.

        Raises:
            Lagged: some of it is gone.
        """
        begin = self._end - len(self._events)
        if position < begin:
            raise Lagged
        return [self._events[i] for i in range(position - begin, len(self._events))]

    async def wait_for_events(self, position: int) -> None:
        """Return when there is an event at `position`."""
        self.waiting += 1
        try:
            while self._end <= position:
                await self._published.wait()
        finally:
            self.waiting -= 1
