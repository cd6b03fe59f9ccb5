"""GET /events: what is told, and how it resumes."""

import asyncio
import json

import httpx
import pytest
from apistand import Stand

from codexrun_api.mirror.event_buffer import Event, EventBuffer, Lagged


def events(text: str) -> list[tuple[str, str, dict]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(
            line.split(": ", 1)
            for line in block.split("\n")
            if ": " in line and not line.startswith(":")
        )
        if "event" in lines:
            found.append((lines["event"], lines.get("id", ""), json.loads(lines["data"])))
    return found


async def stream(stand: Stand, query: str = "", **headers: str) -> asyncio.Task[httpx.Response]:
    """An open stream; it ends when the process is told to stop."""
    task = asyncio.create_task(stand.http.get(f"/events{query}", headers=headers))
    feed = stand.services.event_buffer
    before = stand.services.event_buffer.waiting

    async def listening() -> bool:
        return feed.waiting > before

    await stand.settle(listening)
    return task


async def ended(stand: Stand, task: asyncio.Task[httpx.Response]) -> list[tuple[str, str, dict]]:
    stand.services.stop.set()
    answer = await asyncio.wait_for(task, 20)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    return events(answer.text)


async def test_every_phase_is_an_event_and_the_end_says_reconnect(stand: Stand) -> None:
    following = await stream(stand)
    run = (await stand.start()).json()
    stand.kube.status(run["name"], "Running", startedAt="2026-01-31T12:00:00Z")
    await stand.finish(run["name"])
    seen = await ended(stand, following)
    assert [(kind, data.get("status")) for kind, _, data in seen] == [
        ("run.phase", "starting"),
        ("run.phase", "running"),
        ("run.phase", "succeeded"),
        ("reconnect", None),
    ]


async def test_it_resumes_behind_the_last_id(stand: Stand) -> None:
    following = await stream(stand)
    run = (await stand.start()).json()
    await stand.finish(run["name"])
    first, second, *_ = await ended(stand, following)
    stand.services.stop.clear()
    again = await stream(stand, **{"Last-Event-ID": first[1]})
    assert [e[1] for e in await ended(stand, again)] == [second[1], ""]


async def test_it_resumes_when_the_id_is_of_an_earlier_process(stand: Stand) -> None:
    first, second = [(await stand.start()).json() for _ in range(2)]
    await stand.finish(first["name"])
    await stand.mirrored()
    stand.services.event_buffer._events.clear()  # as after a restart
    version = stand.kube.run(second["name"])["metadata"]["resourceVersion"]
    seen = await ended(stand, await stream(stand, f"?after={version}"))
    assert [(e[2].get("run_id"), e[2].get("status")) for e in seen] == [
        (first["run_id"], "succeeded"),
        (None, None),
    ]


async def test_only_what_was_asked_for(stand: Stand) -> None:
    wanted = (await stand.start()).json()
    following = await stream(stand, f"?run_id={wanted['run_id']}")
    await stand.start()
    await stand.finish(wanted["name"])
    assert [e[2].get("run_id") for e in await ended(stand, following)] == [wanted["run_id"], None]


async def test_a_refused_start_is_no_event(stand: Stand) -> None:
    stand.operator.limit = 0
    following = await stream(stand)
    assert (await stand.start()).status_code == 429
    await stand.mirrored()
    assert [kind for kind, *_ in await ended(stand, following)] == ["reconnect"]


def test_a_reader_that_lags_is_told() -> None:
    feed = EventBuffer(max_events=2)
    for number in range(3):
        feed.publish(Event(str(number), "run.phase", "r", "t", "{}"))
    assert [e.id for e in feed.since(1)] == ["1", "2"]
    assert feed.after("0") is None
    with pytest.raises(Lagged):
        feed.since(0)
