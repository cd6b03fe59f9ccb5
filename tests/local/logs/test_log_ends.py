"""A log without its end gets one when the run is over, and says why; one that has ended is left
alone."""

import asyncio
import errno
import json

import manifests
import pytest
from prometheus_client import REGISTRY

from codexrun_api.archive import archive as archive_module
from codexrun_api.archive.notifier import LogNotifier
from codexrun_api.logs.sealing import LogSealer
from codexrun_core.errors import Unavailable
from codexrun_core.resources import CodexRun
from codexrun_core.runs.lifecycle_hooks import transition_between
from codexrun_core.runs.record import record_of

RUN = "11111111-2222-3333-4444-555555555555"


STARTED = {"startedAt": "2026-01-01T00:00:00Z"}


def seen(phase, **status):
    body = manifests.run("hello-1")
    body["metadata"]["uid"] = RUN
    body["status"] = {"phase": phase, "attempt": 1, **status}
    return record_of(CodexRun.model_validate(body))


def moved(phase, **status):
    return transition_between(None, seen(phase, **{**STARTED, **status}))


@pytest.fixture
def told():
    return []


@pytest.fixture
def ends(archive, told):
    async def on_log(*about):
        told.append(about)

    return LogSealer(archive, on_log, LogNotifier(), wait=0.0)


def cut_off():
    return REGISTRY.get_sample_value("codexrun_logs_cut_off_total")


async def settle(ends):
    await asyncio.gather(*ends.tasks.values())


async def test_an_evicted_pods_log_says_where_and_why_it_ends(archive, ends, told):
    before = cut_off()
    archive.append_attempt(RUN, 1, 0, b'{"ts":"x","text":"one"}\nhalf')
    ends(moved("Failed", failure={"class": "evicted", "message": "memory", "retryable": True}))
    await settle(ends)
    *_, half, last = archive.read(RUN, 0, 10_000).splitlines()
    assert half == b"half"
    said = json.loads(last)
    assert (said["src"], said["text"], said["attempt"]) == ("api", "log.cut_off", 1)
    assert "evicted" in said["reason"]
    assert told == [(RUN, f"runs/{RUN}/logs.txt", archive.size(RUN), False, said["reason"])]
    assert cut_off() == before + 1


async def test_a_log_that_is_told_of_twice_is_ended_once(archive, ends, told):
    """By the start of a process, and by a transition that the one before left pending."""
    before = cut_off()
    archive.append_attempt(RUN, 1, 0, b"one\n")
    ended = moved("Failed", failure={"class": "evicted", "message": "memory", "retryable": True})
    ends.catch_up([ended.run])
    ends(ended)
    await settle(ends)
    assert len(told) == 1
    assert cut_off() == before + 1


@pytest.mark.parametrize("phase", ["Running", "Stopping", "Queued"])
async def test_a_run_that_goes_on_keeps_its_log_open(archive, ends, phase):
    archive.append_attempt(RUN, 1, 0, b"one\n")
    ends(moved(phase))
    await settle(ends)
    assert archive.open_attempt(RUN) == 1


async def test_a_log_that_has_ended_and_one_that_never_began_are_left_alone(archive, ends, told):
    before = cut_off()
    ends(moved("Rejected", startedAt=None))
    await settle(ends)
    archive.append_attempt(RUN, 1, 0, b"one\n")
    archive.seal(RUN, 1, complete=True)
    ends(moved("Succeeded"))
    await settle(ends)
    assert archive.read(RUN, 0, 100) == b"one\n"
    assert told == [(RUN, f"runs/{RUN}/logs.txt", 4, True, None)], (
        "once more: the registry may have been away at its end"
    )
    assert cut_off() == before


async def test_a_registry_that_is_away_is_told_later(archive, monkeypatch):
    answers = [Unavailable("away"), None]

    async def on_log(*_):
        if answer := answers.pop(0):
            raise answer

    monkeypatch.setattr("codexrun_api.logs.sealing.RETRY_SECONDS", 0.0)
    archive.append_attempt(RUN, 1, 0, b"one\n")
    ends = LogSealer(archive, on_log, LogNotifier(), wait=0.0)
    ends(moved("Cancelled"))
    await settle(ends)
    assert answers == []
    assert archive.log(RUN).complete is False


async def test_a_log_is_ended_once_there_is_room_again_and_by_one_line(
    archive, ends, told, monkeypatch, caplog
):
    """It stayed open, and nobody was told, until the api began anew."""
    before = cut_off()
    rooms = [False, False, True, True]
    write_whole = archive_module.write_whole

    def full_at_first(*arguments):
        if not rooms.pop(0):
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(*arguments)

    archive.append_attempt(RUN, 1, 0, b"one\n")
    monkeypatch.setattr(archive_module, "write_whole", full_at_first)
    monkeypatch.setattr("codexrun_api.logs.sealing.RETRY_SECONDS", 0.0)
    ends(moved("Failed", failure={"class": "evicted", "message": "memory", "retryable": True}))
    await settle(ends)
    assert (rooms, archive.log(RUN).complete) == ([], False)
    assert archive.read(RUN, 0, 10_000).count(b"log.cut_off") == 1
    assert [about[3] for about in told] == [False]
    assert cut_off() == before + 1
    assert [line.getMessage() for line in caplog.records].count("log.not_ended") == 1


async def test_a_log_whose_row_was_removed_meanwhile_goes_too(archive):
    async def on_log(*_):
        return False

    archive.append_attempt(RUN, 1, 0, b"one\n")
    ends = LogSealer(archive, on_log, LogNotifier(), wait=0.0)
    ends(moved("Failed", failure={"class": "evicted", "message": "memory", "retryable": True}))
    await settle(ends)
    assert not archive.holds(RUN)


async def test_a_started_run_that_shipped_nothing_has_a_log_that_says_so(archive, ends, told):
    ends(moved("Failed", failure={"class": "node_lost", "message": "gone", "retryable": True}))
    await settle(ends)
    (line,) = archive.read(RUN, 0, 10_000).splitlines()
    assert (
        json.loads(line)["reason"]
        == "the pod was gone (node_lost) before any of its log could be uploaded"
    )
    assert told[0][3] is False


async def test_what_an_earlier_process_left_open_is_ended_by_the_next(archive, ends, told):
    """Killed before the gate had its time; the row says that nobody knows."""
    archive.append_attempt(RUN, 1, 0, b"one\n")
    ends.catch_up([seen("Succeeded", **STARTED)])
    await settle(ends)
    assert archive.log(RUN).complete is False
    assert [about[3] for about in told] == [False]


async def test_a_log_that_was_sealed_but_not_noted_is_noted_by_the_next_process(
    archive, ends, told
):
    archive.append_attempt(RUN, 1, 0, b"one\n")
    archive.seal(RUN, 1, complete=True)
    ends.catch_up([seen("Succeeded", **STARTED)])
    await settle(ends)
    assert told == [(RUN, f"runs/{RUN}/logs.txt", 4, True, None)]
